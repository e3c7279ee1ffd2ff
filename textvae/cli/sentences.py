"""Sentences in, from arguments, files or standard input, and out, one a line."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

from textvae.checks import InputError
from textvae.cli.command import say
from textvae.files import find_pretrained, read_json

if TYPE_CHECKING:
    from textvae.model import SentenceVAE


Sentence = Annotated[Sequence[str], "a sentence"]
Sentences = Annotated[Sequence[str], "sentences"]
Input = Annotated[str | None, "file of texts, one a line (default, and -: standard input)"]

MAX_UNKNOWN = 20
"""Unknown words that are shown."""


def load(run: str) -> SentenceVAE:
    """The model of a run."""
    from textvae.model import SentenceVAE

    return SentenceVAE.from_pretrained(run)


def load_with_texts(
    run: str, texts: Sequence[str], source: str | None, count: int | None = None
) -> tuple[SentenceVAE, list[str]]:
    """The model of a run and the texts given, all fit for it and `count` in number."""
    from textvae.generation import check_texts

    model = load(run)
    found = list(given_texts(texts, source))
    if count is not None and len(found) != count:
        raise InputError(f"texts must be {count} in number, got {len(found)}")
    check_texts(model, found, max_tokens=longest_of(run))
    return model, list(report_unknown_words(model, found))


def given_texts(texts: Sequence[str], source: str | None) -> Iterable[str]:
    """The texts of the arguments, of `--input`, or of standard input."""
    if source is not None and texts:
        raise InputError("texts must be arguments or --input, got both")
    if texts and list(texts) != ["-"]:
        return list(texts)
    return read_lines("-" if source is None else source)


def read_lines(source: str) -> Iterator[str]:
    """The lines of a file in UTF-8, or of standard input if it is called "-"."""
    if source == "-" and sys.stdin.isatty():
        say("sentences, one a line, and Ctrl-D at the end:")
    is_empty = True
    # utf-8-sig: a byte order mark, as some editors write it, would else belong to the first word.
    with nullcontext(sys.stdin) if source == "-" else open(source, encoding="utf-8-sig") as lines:
        try:
            for line in lines:
                is_empty = False
                yield line.removesuffix("\n")
        except UnicodeDecodeError as fault:
            raise InputError(f"{_name(source)} is not UTF-8: {fault.reason}") from None
    if is_empty:
        raise InputError(
            f"{_name(source)} is empty: it must hold at least one sentence, a line each"
        )


def read_corpus(source: str, numbers: list[int] | None = None) -> Iterator[str]:
    """The sentences of a file, empty lines and space around them left out.

    `numbers` takes the number of each sentence's line.
    """
    from tqdm import tqdm

    from textvae.tokenizer import find_reserved

    is_empty = True
    lines = tqdm(read_lines(source), unit=" sentences", leave=False, delay=1, disable=None)
    for number, line in enumerate(lines, start=1):
        reserved = find_reserved(line)
        if reserved is not None:
            raise InputError(
                f"line {number} of {_name(source)} contains the reserved token {reserved}"
            )
        if sentence := line.strip():
            is_empty = False
            if numbers is not None:
                numbers.append(number)
            yield sentence
    if is_empty:
        raise InputError(f"{_name(source)} must hold at least one sentence, got empty lines only")


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


def longest_of(run: str) -> int | None:
    """Most tokens of a sentence that a run was trained on, None if it does not say."""
    config = read_json(find_pretrained(run) / "config.json")
    longest: int | None = config.get("longest_sentence")
    if longest is None:  # saved before runs noted it, or a model alone
        longest = config.get("run", {}).get("data", {}).get("max_length")
    return longest


def show(records: Iterable[dict[str, Any]], json: bool, line: str = "{text}") -> None:
    """Print a line for each record: as JSON, or as `line` has it.

    A model of bytes may have put a line break into a sentence: none is printed.
    """
    for record in records:
        if json:
            print_json(record)
        else:
            print(" ".join(line.format_map(record).splitlines()))


def print_json(content: dict[str, Any]) -> None:
    """Print an object in a line."""
    print(json_format.dumps(content, allow_nan=False, ensure_ascii=False))


def _name(source: str) -> str:
    return "standard input" if source == "-" else source
