"""A command made of a typed function: its arguments, how it ends, and where it speaks.

The function's docstring is the command's help. Its parameters are the arguments, those by keyword
alone are options. Each is of a type `Annotated[T, "help"]`, or of a dataclass whose fields are
options, or `Given`.
"""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, asdict, fields, replace
from inspect import Parameter, getdoc, signature
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from textvae.checks import InputError, NotInstalledError
from textvae.config import DataConfig, ModelConfig, TrainingConfig
from textvae.runtime import ElsewhereError, is_first

Run = Annotated[str, "run directory or hub id"]
Split = Annotated[str, "train, valid or test"]
DataDir = Annotated[str | None, "where the corpus is now (default: where it was)"]
Seed = Annotated[int, "of all noise: the same seed, the same results"]
Json = Annotated[bool, "JSON on standard output, with all that is known"]

SHORT = {"num_sentences": "-n", "num_samples": "-n"}

PARTS: Mapping[str, type] = {"model": ModelConfig, "data": DataConfig, "training": TrainingConfig}

Given = Annotated[dict[str, Any], "given"]
"""The options of `PARTS` that flags or a YAML file set; a default is what the help shows."""


def parser_of(command: Callable[..., None]) -> ArgumentParser:
    """The parser of a command's arguments."""
    description, _, epilog = (getdoc(command) or "").partition("\n\n")
    parser = ArgumentParser(description=description, epilog=epilog)
    types = get_type_hints(command, include_extras=True)
    for name, parameter in signature(command).parameters.items():
        kind: Any = types[name]
        if kind == Given:
            _add_training_options(parser, parameter.default)
        elif isinstance(kind, type):
            _add_flags(parser, name, kind, asdict(parameter.default))
        else:
            _add_argument(parser, parameter, *get_args(kind))
    return parser


def call(command: Callable[..., None], options: Namespace) -> None:
    """Call a command with the arguments that its parser has read."""
    values: dict[str, Any] = {}
    types = get_type_hints(command, include_extras=True)
    for name, parameter in signature(command).parameters.items():
        kind: Any = types[name]
        if kind == Given:
            values[name] = _given(options, *PARTS.values())
        elif isinstance(kind, type):
            values[name] = replace(parameter.default, **_given(options, kind))
        elif name in options:
            values[name] = options[name]
    command(**values)


def run(command: Callable[..., None]) -> int:
    """A command that is a program of its own: parse what was typed, call it; gives an exit code."""
    options = parser_of(command).parse_args(config_first(sys.argv[1:]))
    return exit_code_of(lambda: call(command, options))


def config_first(arguments: list[str]) -> list[str]:
    """Move `-c FILE` to the front, so that flags win over the file wherever it is named."""
    for i, argument in enumerate(arguments):
        if argument in ("-c", "--config"):
            return arguments[i : i + 2] + config_first(arguments[:i] + arguments[i + 2 :])
        if argument.startswith("--config="):
            return [argument, *config_first(arguments[:i] + arguments[i + 1 :])]
    return arguments


def add_study_options(parser: ArgumentParser) -> None:
    """Add `--data-dir`, `--seeds`, `--jobs`, `--runs-dir` and `--results-dir`."""
    add = parser.add_argument
    add("--data-dir", type=str | None, help="Penn Treebank, or another corpus")
    add("--seeds", type=list[int], default=[0, 1, 2], help="as in [0,1,2]")
    add("--jobs", type=int | None, help="runs at a time (default: one per core)")
    add("--runs-dir", type=str, default="runs/experiments", help="where runs are kept")
    add("--results-dir", type=str, default="results", help="where results are written")


def _add_argument(parser: ArgumentParser, parameter: Parameter, kind: Any, text: str) -> None:
    name, is_required = parameter.name, parameter.default is Parameter.empty
    settings: dict[str, Any] = {"type": kind, "help": text}
    if not is_required:
        settings["default"] = parameter.default
    names = [name]
    if parameter.kind is Parameter.KEYWORD_ONLY:
        names = [*filter(None, [SHORT.get(name)]), _flag(name)]
        if kind is bool:
            settings = {"action": "store_true", "help": text}
    elif get_origin(kind) is Sequence:
        # Not nargs="*": with that, no text could follow an option.
        settings |= {"type": get_args(kind)[0], "nargs": "+", "default": SUPPRESS}
        settings["metavar"] = name.removesuffix("s").upper()
    elif not is_required:
        settings["nargs"] = "?"
    parser.add_argument(*names, **settings).required = is_required


def _add_training_options(parser: ArgumentParser, defaults: Any) -> None:
    shown = {} if defaults is Parameter.empty else defaults
    parser.add_argument("-c", "--config", action="config", help="YAML file of options; flags win")
    for title, part in PARTS.items():
        _add_flags(parser, title, part, {**asdict(part()), **shown})


def _add_flags(
    parser: ArgumentParser, title: str, config: type, defaults: Mapping[str, Any]
) -> None:
    """A flag for each field of a dataclass; what is not given is left out of what is read."""
    group = parser.add_argument_group(f"{title} options")
    types = get_type_hints(config)
    for field in _flags(config):
        default, kind = defaults[field.name], types[field.name]
        shown = "" if default is None else f" (default: {default})"
        way = {"action": ActionYesNo(no_prefix="no-")} if kind is bool else {"type": kind}
        text = field.metadata["help"] + shown
        group.add_argument(_flag(field.name), default=SUPPRESS, help=text, **way)


def _given(options: Namespace, *configs: type) -> dict[str, Any]:
    names = [field.name for config in configs for field in _flags(config)]
    return {name: options[name] for name in names if name in options}


def _flags(config: type) -> Iterator[Field[Any]]:
    """The fields that who types can set: not ids of tokens."""
    return (field for field in fields(config) if field.name != "forbidden")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}"


def exit_code_of(command: Callable[[], None]) -> int:
    """Run a command, and turn what a user can mend into one plain line and an exit code.

    Whatever else it raises is a mistake of ours, and passes. Of several processes the one that
    something failed in says so.
    """
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has enough, as in `textvae sample … | head`. Nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (InputError, OSError, NotInstalledError) as error:
        _print_to_stderr(f"error: {error}", *getattr(error, "ways", ()))
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


def say(*lines: str) -> None:
    """To standard error: standard output is for results. Of several processes the first speaks."""
    if is_first():
        _print_to_stderr(*lines)


def _print_to_stderr(*lines: str) -> None:
    for line in lines:
        print(f"textvae: {line}", file=sys.stderr)
