"""What a command is (`Command`), how it ends (`exit_code_of`), and where it speaks (`say`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from textvae.runtime import ElsewhereError, is_first

if TYPE_CHECKING:
    from textvae.model import SentenceVAE

__all__ = [
    "Command",
    "add_data",
    "add_run",
    "exit_code_of",
    "load",
    "print_lines",
    "say",
    "tell_unknown_words",
]


class Command(NamedTuple):
    """One of the commands.

    Attributes:
        name: What is typed.
        help: What it does, in a line.
        add_arguments: Adds its arguments to its parser.
        run: Does it, with the arguments parsed.
    """

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]


def exit_code_of(command: Callable[[], None]) -> int:
    """Run a command, and turn what it raises into one plain line and an exit code.

    Of several processes the one that something failed in says so.
    """
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has enough, as in `textvae sample … | head`. Nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        _tell(f"error: {error}", *getattr(error, "ways", ()))
        return 2
    except ElsewhereError:
        return 2
    except RuntimeError as error:
        from textvae.training import TrainingError

        if not isinstance(error, TrainingError):
            raise
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def print_lines(texts: Sequence[str]) -> None:
    """One sentence a line, even where a model of bytes (bpe) put a line break into one."""
    for text in texts:
        print(" ".join(text.splitlines()))


def add_run(parser: ArgumentParser) -> None:
    """Add the argument that names a run."""
    parser.add_argument("run", type=str, help="run directory or hub id")


def add_data(parser: ArgumentParser) -> None:
    """Add the arguments that say which sentences a run is measured on."""
    parser.add_argument("--split", default="test", type=str, help="train, valid or test")
    parser.add_argument(
        "--data-dir", type=str | None, help="where the corpus is now (default: where it was)"
    )


def load(run: str) -> SentenceVAE:
    """The model of a run."""
    from textvae.model import SentenceVAE

    return SentenceVAE.from_pretrained(run)


def tell_unknown_words(model: SentenceVAE, texts: Sequence[str]) -> None:
    """Say which words of the texts the model has never seen."""
    tokenizer = model.tokenizer
    unknown = (
        [word for text in texts for word in tokenizer.unknown_words(text)] if tokenizer else []
    )
    if unknown:
        say(f"not in the vocabulary, read as <unk>: {' '.join(dict.fromkeys(unknown))}")


def say(*lines: str) -> None:
    """To standard error: standard output is for results. Of several processes the first speaks."""
    if is_first():
        _tell(*lines)


def _tell(*lines: str) -> None:
    for line in lines:
        print(f"textvae: {line}", file=sys.stderr)
