"""What the commands that read and write sentences share.

Offers their arguments (`add_texts`, `add_decoding`, `add_json`), what was given with them
(`model_and_texts`, `lines_of`, `corpus_of`, `decoding_of`), and how results are shown (`show`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from textvae.cli.command import add_run, load, print_lines, say, tell_unknown_words
from textvae.files import find_pretrained, read_json

if TYPE_CHECKING:
    from textvae.model import SentenceVAE

__all__ = ["add_decoding", "add_json", "add_texts", "corpus_of", "decoding_of", "given_texts"]
__all__ += ["lines_of", "longest_of", "model_and_texts", "show", "telling"]

DECODING: dict[str, tuple[Any, Any, str]] = {
    "strategy": (str, "greedy", "greedy, sample (draws each word) or beam (searches)"),
    "temperature": (float, 1.0, "sample: below 1 keeps to likely words, above 1 strays"),
    "top_k": (int | None, None, "sample: among so many likeliest words"),
    "top_p": (float | None, None, "sample: among the likeliest words of this probability in all"),
    "typical_p": (float | None, None, "sample: the same among the most typical words"),
    "num_beams": (int | None, None, "beam: width of the search, 5 if not given"),
    "length_penalty": (float, 0.0, "beam: ranks by log p / tokens ** this; 1 favours longer ones"),
    "min_length": (int, 0, "fewest tokens of a sentence"),
    "max_length": (int, 200, "most tokens of a sentence"),
}
"""Type, default and help of the options of decoding; the defaults are those of `Decoding`."""

UNKNOWN_SHOWN = 20


def add_texts(parser: ArgumentParser, help: str) -> None:
    """Add the run, the texts, and `--input`."""
    add_run(parser)
    texts = parser.add_argument(
        "texts",
        nargs="+",
        type=str,
        metavar="TEXT",
        help=f"{help}; without any, or with -, one a line from standard input",
    )
    # Not nargs="*": with that, no text could follow an option.
    texts.required = False
    parser.add_argument("--input", type=str | None, metavar="FILE", help="texts, one a line")


def add_decoding(
    parser: ArgumentParser, *, strategy: str = "greedy", allow_unknown: bool = True
) -> None:
    """Add `--seed` and a flag for each option of decoding."""
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same sentences")
    group = parser.add_argument_group("decoding")
    for name, (kind, default, text) in DECODING.items():
        default = strategy if name == "strategy" else default
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=text)
    group.add_argument(
        "--allow-unknown",
        action=ActionYesNo(no_prefix="no-"),
        default=allow_unknown,
        help="whether <unk> may come",
    )


def add_json(parser: ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="a JSON object a line, with all known")


def decoding_of(options: Namespace) -> dict[str, Any]:
    """What `add_decoding` added, as the functions of `generation` take it."""
    return {name: options[name] for name in (*DECODING, "allow_unknown", "seed")}


def model_and_texts(options: Namespace, count: int | None = None) -> tuple[SentenceVAE, list[str]]:
    """The model and the texts given, all of them fit for it; unknown words are said.

    Args:
        options: With what `add_texts` added.
        count: How many texts there must be; any number if None.

    Raises:
        ValueError: If there is another number of texts, or if one can't be encoded.
        OSError: If there is no such run or file.
    """
    from textvae.generation import check_texts

    model = load(options.run)
    texts = list(given_texts(options))
    if count is not None and len(texts) != count:
        raise ValueError(f"texts must be {count} in number, got {len(texts)}")
    check_texts(model, texts, max_tokens=longest_of(options.run))
    tell_unknown_words(model, texts)
    return model, texts


def given_texts(options: Namespace) -> Iterable[str]:
    """The texts of the arguments, of `--input`, or of standard input.

    Raises:
        ValueError: If texts are given twice over; see also `lines_of`.
    """
    if options.input is not None and options.texts is not None:
        raise ValueError("texts must be arguments or --input, got both")
    if options.texts is not None and options.texts != ["-"]:
        return list(options.texts)
    return lines_of("-" if options.input is None else options.input)


def lines_of(source: str) -> Iterator[str]:
    """The lines of a file in UTF-8, or of standard input if it is called "-".

    Raises:
        ValueError: If there are none, or a line is not UTF-8.
        OSError: If the file can't be read.
    """
    name = _name(source)
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
            raise ValueError(f"{name} is not UTF-8: {fault.reason}") from None
    if is_empty:
        raise ValueError(f"{name} is empty: it must hold at least one sentence, a line each")


def corpus_of(source: str, numbers: list[int] | None = None) -> Iterator[str]:
    """The sentences of a file, empty lines and space around them left out.

    Args:
        source: See `lines_of`.
        numbers: Takes the number of each sentence's line.

    Raises:
        ValueError: If a line contains a reserved token, or all are empty; see also `lines_of`.
    """
    from tqdm import tqdm

    from textvae.tokenizer import find_reserved

    is_empty = True
    lines = tqdm(lines_of(source), unit=" sentences", leave=False, delay=1, disable=None)
    for number, line in enumerate(lines, start=1):
        reserved = find_reserved(line)
        if reserved is not None:
            raise ValueError(
                f"line {number} of {_name(source)} contains the reserved token {reserved}"
            )
        if sentence := line.strip():
            is_empty = False
            if numbers is not None:
                numbers.append(number)
            yield sentence
    if is_empty:
        raise ValueError(f"{_name(source)} must hold at least one sentence, got empty lines only")


def telling(model: SentenceVAE, texts: Iterable[str]) -> Iterator[str]:
    """The same texts; when there are no more, unknown words are said, but not thousands."""
    unknown: dict[str, None] = {}
    for text in texts:
        if model.tokenizer is not None:
            unknown |= dict.fromkeys(model.tokenizer.unknown_words(text))
        yield text
    tell_unknown_words(model, list(unknown)[:UNKNOWN_SHOWN])
    if len(unknown) > UNKNOWN_SHOWN:
        say(f"… and {len(unknown) - UNKNOWN_SHOWN:,} more")


def longest_of(run: str) -> int | None:
    """Most tokens of a sentence that a run was trained on, None if it does not say."""
    config = read_json(find_pretrained(run) / "config.json")
    longest: int | None = config.get("longest_sentence")
    if longest is None:  # saved before runs noted it, or a model alone
        longest = config.get("run", {}).get("data", {}).get("max_length")
    return longest


def show(options: Namespace, records: Sequence[dict[str, Any]], line: str = "{text}") -> None:
    """Print one line for each record: JSON if `--json` was given, else as `line` has it."""
    if not options.json:
        print_lines([line.format_map(record) for record in records])
        return
    for record in records:
        print(json.dumps(record, allow_nan=False, ensure_ascii=False))


def _name(source: str) -> str:
    return "standard input" if source == "-" else source
