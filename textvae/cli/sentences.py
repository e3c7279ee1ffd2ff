"""Sentences in, from arguments, files or standard input, and out, one a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from textvae.checks import InputError
from textvae.cli.command import Json, Run, say
from textvae.files import find_pretrained, read_json

if TYPE_CHECKING:
    from textvae.model import SentenceVAE

MAX_UNKNOWN = 20
"""Unknown words that are shown."""


@dataclass(frozen=True)
class Texts:
    """A run and texts for its model, and how what comes of them is printed."""

    run: Run
    texts: Annotated[Sequence[str], "without any, or with -, one a line from standard input"] = ()
    _: KW_ONLY
    input: Annotated[str | None, "file of texts, one a line"] = None
    json: Json = False

    def load(self, count: int | None = None) -> tuple[SentenceVAE, list[str]]:
        """The model and the texts, all fit for it and `count` in number."""
        from textvae.generation import check_texts

        model, texts = load(self.run), list(self.read())
        if count is not None and len(texts) != count:
            raise InputError(f"texts must be {count} in number, got {len(texts)}")
        check_texts(model, texts, max_tokens=self.longest)
        return model, list(report_unknown_words(model, texts))

    def read(self) -> Iterable[str]:
        """The texts of the arguments, of `--input`, or of standard input."""
        if self.input is not None and self.texts:
            raise InputError("texts must be arguments or --input, got both")
        if self.texts and list(self.texts) != ["-"]:
            return self.texts
        return read_lines("-" if self.input is None else self.input)

    @property
    def longest(self) -> int | None:
        """Most tokens of a sentence that the run was trained on, None if it does not say."""
        config = read_json(find_pretrained(self.run) / "config.json")
        longest: int | None = config.get("longest_sentence")
        if longest is None:  # saved before runs noted it, or a model alone
            longest = config.get("run", {}).get("data", {}).get("max_length")
        return longest

    def show(self, records: Iterable[dict[str, Any]], line: str = "{text}") -> None:
        """Print the records; see `show`."""
        show(records, self.json, line)


def load(run: str) -> SentenceVAE:
    """The model of a run."""
    from textvae.model import SentenceVAE

    return SentenceVAE.from_pretrained(run)


def read_lines(source: str) -> Iterator[str]:
    """The lines of a file in UTF-8, or of standard input if it is called "-"."""
    if source == "-" and sys.stdin.isatty():
        say("sentences, one a line, and Ctrl-D at the end:")
    name, is_empty = _name(source), True
    # utf-8-sig: a byte order mark, as some editors write it, would else belong to the first word.
    with nullcontext(sys.stdin) if source == "-" else open(source, encoding="utf-8-sig") as lines:
        try:
            for line in lines:
                is_empty = False
                yield line.removesuffix("\n")
        except UnicodeDecodeError as fault:
            raise InputError(f"{name} is not UTF-8: {fault.reason}") from None
    if is_empty:
        raise InputError(f"{name} is empty: it must hold at least one sentence, a line each")


def read_corpus(source: str) -> Iterator[tuple[int, str]]:
    """The sentences of a file and their lines' numbers, without empty lines and space around."""
    from tqdm import tqdm

    from textvae.tokenizer import find_reserved

    name, is_empty = _name(source), True
    lines = tqdm(read_lines(source), unit=" sentences", leave=False, delay=1, disable=None)
    for number, line in enumerate(lines, start=1):
        reserved = find_reserved(line)
        if reserved is not None:
            raise InputError(f"line {number} of {name} contains the reserved token {reserved}")
        if sentence := line.strip():
            is_empty = False
            yield number, sentence
    if is_empty:
        raise InputError(f"{name} must hold at least one sentence, got empty lines only")


def report_unknown_words(model: SentenceVAE, texts: Iterable[str]) -> Iterator[str]:
    """The same texts; when there are no more, says which words the model has never seen."""
    unknown: dict[str, None] = {}
    for text in texts:
        unknown |= dict.fromkeys(model.tokenizer.unknown_words(text))
        yield text
    if unknown:
        say(f"not in the vocabulary, read as <unk>: {' '.join(list(unknown)[:MAX_UNKNOWN])}")
    if len(unknown) > MAX_UNKNOWN:
        say(f"… and {len(unknown) - MAX_UNKNOWN:,} more")


def show(records: Iterable[dict[str, Any]], as_json: bool, line: str = "{text}") -> None:
    """Print each record in a line: as JSON, or as `line` has it.

    No line break is printed that a model of bytes may have put into a sentence.
    """
    for record in records:
        if as_json:
            print_json(record)
        else:
            print(" ".join(line.format_map(record).splitlines()))


def print_json(content: dict[str, Any]) -> None:
    """Print an object in a line."""
    print(json.dumps(content, allow_nan=False, ensure_ascii=False))


def _name(source: str) -> str:
    return "standard input" if source == "-" else source
