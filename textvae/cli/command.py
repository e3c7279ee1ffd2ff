"""A command made of a typed function: its arguments, how it ends, and where it prints.

The function's docstring is the command's help; its parameters are the arguments, those by keyword
alone are options. A parameter has one of these types: `Annotated[T, "help"]`; a class, whose own
parameters are arguments too; a dataclass of `config`, whose fields are options; `Given`.
"""

import difflib
import json
import os
import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from inspect import Parameter, getdoc, signature
from typing import Annotated, Any, NoReturn, TextIO, get_args, get_origin, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from textvae.checks import InputError, NotInstalledError, TrainingError
from textvae.config import DataConfig, ModelConfig, Options, TrainingConfig
from textvae.files import DISK_FULL
from textvae.runtime import ElsewhereError, is_first

Run = Annotated[str, "run directory, hub id, or demo"]
Json = Annotated[bool, "JSON on standard output, with all that is known"]

PARTS: Mapping[str, type] = {"model": ModelConfig, "data": DataConfig, "training": TrainingConfig}

Given = Annotated[dict[str, Any], "given"]
"""The options of `PARTS` that flags or a YAML file set; a default is what the help shows."""

SHORT = {"num_sentences": "-n", "num_samples": "-n"}

NO_FLAGS = ("forbidden", "classes")  # ids mean nothing to who types; classes are a corpus'

PLAINLY = {  # what the parser says, and what we do
    r'Parser key "(\w+)": ': r"\1: ",
    r"Expected an? <class 'collections.abc.Sequence'>. Got value: ": "must be a list, [1,2], got ",
    r"Expected an? <class '(\w+)'>. Got value: ": r"must be of type \1, got ",
    r"Expected an? typing.Literal\[(.*?)\]. Got value: ": r"must be one of \1, got ",
    r"Does not validate .*?- Expected a <class '(\w+)'> .* value: ": r"must be of type \1, got ",
    r"Unexpected config:.*": "the file of --config must hold lines such as latent_dim: 8",
    r"(are required: |required but not set: )(\w+)\.(\w+)": r"\1\3 of textvae \2",
}


class Parser(ArgumentParser):
    """Tells a fault in one line, with the nearest right name."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with code 2."""
        parser = getattr(ex, "subcommand_parser", None) or self
        said, program = " ".join(message.split()), parser.prog.replace(" [options]", "")
        for pattern, ours in PLAINLY.items():
            said = re.sub(pattern, ours, said)
        names = [*parser._option_string_actions]
        names += [str(name) for action in parser._actions for name in (action.choices or ())]
        if typed := re.search(r"unrecognized arguments: (--[^\s=]+)|invalid choice: '(\S+)'", said):
            wrong = (typed[1] or typed[2]).replace("_", "-")
            near = difflib.get_close_matches(wrong, names, 1)
            said = said.split(" (choose")[0] + "".join(f": did you mean {name}?" for name in near)
        self.exit(2, f"textvae: error: {said} ({program} --help lists what there is)\n")


def parser_of(command: Callable[..., None]) -> ArgumentParser:
    """The parser of a command's arguments."""
    description, _, epilog = (getdoc(command) or "").partition("\n\n")
    parser = Parser(description=description, epilog=epilog, allow_abbrev=False)
    _add_arguments(parser, command)
    return parser


def call(function: Callable[..., Any], options: Namespace) -> Any:
    """Call a function with the arguments that the parser has read."""
    values: dict[str, Any] = {}
    for name, parameter, kind in _parameters(function):
        if kind == Given:
            values[name] = _given(options, *PARTS.values())
        elif isinstance(kind, type) and issubclass(kind, Options):
            values[name] = replace(parameter.default, **_given(options, kind))
        elif isinstance(kind, type):
            values[name] = call(kind, options)
        elif (key := name.rstrip("_")) in options:  # from_: Python has a word of this name
            values[name] = options[key]
    return function(**values)


def run(command: Callable[..., None]) -> int:
    """A command that is a program of its own: parse what was typed, call it; gives an exit code."""
    return exit_code_of(
        lambda: call(command, parsed(parser_of(command), config_first(sys.argv[1:])))
    )


def run_one_of(
    commands: Mapping[str, Callable[..., None]],
    parser: Callable[[], ArgumentParser],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a command of several, by these arguments or those that were typed; gives an exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)

    def command() -> None:
        options = parsed(parser(), given[:1] + config_first(given[1:]))
        call(commands[options.subcommand], options[options.subcommand])

    return exit_code_of(command)


def parser_of_several(commands: Mapping[str, Callable[..., None]], **about: Any) -> ArgumentParser:
    """The parser of commands, a subcommand each; `about` says what its help begins with."""
    parser = Parser(**about, allow_abbrev=False)
    subcommands = parser.add_subcommands(required=True)
    for name, command in commands.items():
        own = parser_of(command)
        subcommands.add_subcommand(name, own, help=own.description)
    return parser


def parsed(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """The arguments as the parser reads them; an InputError for a bad --config, or an empty one."""
    _refuse_null_bytes(arguments)
    try:
        found = parser.parse_args(arguments)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file of --config can't be read: {error}") from None
    if empty := [name.split(".")[-1] for name, value in found.items() if value == ""]:
        raise InputError(f"{' and '.join(empty)} must not be empty: leave out what isn't there")
    _refuse_null_bytes(value for _, value in found.items())  # those of a file, too
    return found


def _refuse_null_bytes(values: Iterable[Any]) -> None:
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise InputError("no argument can hold a null byte")


def config_first(arguments: list[str]) -> list[str]:
    """Move `-c FILE` to the front, so that flags win over the file wherever it is named."""
    for i, argument in enumerate(arguments):
        before, after = arguments[:i], arguments[i + 1 :]
        if argument == "--":
            break
        if argument in ("-c", "--config") and after:
            return [argument, after[0], *config_first(before + after[1:])]
        if joined := re.fullmatch("--config=(.*)|-c=?(.+)", argument):
            return [f"--config={joined[1] or joined[2]}", *config_first(before + after)]
    return arguments


def _parameters(function: Callable[..., Any]) -> list[tuple[str, Parameter, Any]]:
    types = get_type_hints(function, include_extras=True)
    return [(name, found, types[name]) for name, found in signature(function).parameters.items()]


def _add_arguments(parser: ArgumentParser, function: Callable[..., Any]) -> None:
    for name, parameter, kind in _parameters(function):
        if kind == Given:
            shown = {} if parameter.default is Parameter.empty else parameter.default
            parser.add_argument("-c", "--config", action="config", help="YAML file; flags win")
            for title, part in PARTS.items():
                _add_flags(parser, title, part, {**asdict(part()), **shown})
        elif isinstance(kind, type) and issubclass(kind, Options):
            _add_flags(parser, name, kind, asdict(parameter.default))
        elif isinstance(kind, type):
            _add_arguments(parser, kind)
        else:
            _add_argument(parser, parameter, *get_args(kind))


def _add_argument(parser: ArgumentParser, parameter: Parameter, kind: Any, text: str) -> None:
    name, is_required = parameter.name, parameter.default is Parameter.empty
    names, settings = [name], {"type": kind, "help": text}
    if not is_required:
        settings["default"] = parameter.default
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


def _add_flags(
    parser: ArgumentParser, title: str, config: type, defaults: Mapping[str, Any]
) -> None:
    """A flag for each field of a dataclass; what is not given is left out of what is read."""
    group, types = parser.add_argument_group(f"{title} options"), get_type_hints(config)
    for field in fields(config):
        if field.name not in NO_FLAGS:
            default, kind = defaults[field.name], types[field.name]
            text = field.metadata["help"] + ("" if default is None else f" (default: {default})")
            way = {"action": ActionYesNo(no_prefix="no-")} if kind is bool else {"type": kind}
            group.add_argument(_flag(field.name), default=SUPPRESS, help=text, **way)


def _given(options: Namespace, *configs: type) -> dict[str, Any]:
    names = [field.name for config in configs for field in fields(config)]
    return {name: options[name] for name in names if name in options}


def _flag(name: str) -> str:
    return f"--{name.rstrip('_').replace('_', '-')}" if len(name) > 1 else f"-{name}"


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
        for line in (f"error: {error}", *getattr(error, "ways", ())):
            print(f"textvae: {shown(line, sys.stderr)}", file=sys.stderr)
        return 1 if getattr(error, "errno", None) in DISK_FULL else 2
    except ElsewhereError:
        return 2
    except TrainingError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def print_result(as_json: bool, content: Any, text: str) -> None:
    """Print what a command found: all of it as an object in a line, or as people read it."""
    written = json.dumps(content, allow_nan=False, ensure_ascii=False) if as_json else text
    print(shown(written, sys.stdout))


def shown(text: str, stream: TextIO) -> str:
    """A text with control characters escaped, which could command a terminal, where one is."""
    if not stream.isatty():
        return text
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], text)


def read_lines(source: str) -> Iterator[str]:
    """The lines of a file in UTF-8, or of standard input if it is called "-"."""
    is_typed = source == "-" and sys.stdin.isatty()
    if is_typed:
        say("sentences, one a line, and Ctrl-D at the end:")
    name, line = "standard input" if source == "-" else source, None
    # utf-8-sig: a byte order mark, as some editors write it, would else belong to the first word.
    with nullcontext(sys.stdin) if source == "-" else open(source, encoding="utf-8-sig") as lines:
        try:
            for line in bar(lines, unit=" sentences", is_hidden=is_typed):
                yield line.removesuffix("\n")
        except UnicodeDecodeError as fault:
            raise InputError(f"{name} is not UTF-8: {fault.reason}") from None
    if line is None:
        raise InputError(f"{name} is empty: it must hold at least one sentence, a line each")


def bar(
    items: Iterable[Any], title: str = "", *, unit: str = " batches", is_hidden: bool = False
) -> Any:
    """The items, with a bar of progress on a terminal: after a second, and gone at the end."""
    from tqdm import tqdm

    return tqdm(items, title, unit=unit, leave=False, delay=1, disable=is_hidden or None)


def say(*lines: str) -> None:
    """To standard error: standard output is for results. Of several processes the first prints."""
    if is_first():
        for line in lines:
            print(f"textvae: {shown(line, sys.stderr)}", file=sys.stderr)
