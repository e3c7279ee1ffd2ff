"""The commands: `textvae train | evaluate | sample | reconstruct | interpolate`.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 training
failed, 2 wrong input, 130 interrupted.

Also offers what scripts share with it: `add_training_options`, `config_first`, `given_options`,
`train`, `new_directory`, `latest_directory` and `exit_code_of`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser, Namespace

from textvae.config import DataConfig, ModelConfig, TrainingConfig

if TYPE_CHECKING:
    from textvae.data import Corpus
    from textvae.model import SentenceVAE

__all__ = [
    "add_training_options",
    "config_first",
    "exit_code_of",
    "given_options",
    "latest_directory",
    "main",
    "new_directory",
    "train",
]

NO_DATA = "DATA is missing: a file, a directory, grammar, ptb, or a hub id"

GROUPS = {"model": ModelConfig, "data": DataConfig, "training": TrainingConfig}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: As on the command line, without the program's name; its own by default.

    Returns:
        Exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser, commands = _parser()
    command = arguments[:1]
    arguments = command + config_first(arguments[1:])
    options = parser.parse_args(arguments)
    chosen = options[options.subcommand]
    if options.subcommand == "train":
        chosen.given = given_options(parser, arguments, "train")
    return exit_code_of(lambda: commands[options.subcommand](chosen))


def exit_code_of(command: Callable[[], None]) -> int:
    """Run a command, and turn what it raises into one plain line and an exit code."""
    from textvae.training import TrainingError

    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has enough, as in `textvae sample … | head`. Nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        _say(f"error: {error}", *getattr(error, "ways", ()))
        return 2
    except TrainingError as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def config_first(arguments: list[str]) -> list[str]:
    """Move `-c FILE` to the front, so that flags win over the file wherever it is named."""
    for i, argument in enumerate(arguments):
        if argument in ("-c", "--config"):
            return arguments[i : i + 2] + config_first(arguments[:i] + arguments[i + 2 :])
        if argument.startswith("--config="):
            return [argument, *config_first(arguments[:i] + arguments[i + 1 :])]
    return arguments


def add_training_options(parser: ArgumentParser, defaults: dict[str, Any] | None = None) -> None:
    """Add `--output-dir`, `--resume`, `-c FILE` and a flag for every configuration field.

    Args:
        parser: Where to add them.
        defaults: What the help shows in place of the fields' own defaults.
    """
    parser.add_argument("-c", "--config", action="config", help="YAML file of options; flags win")
    parser.add_argument(
        "--output-dir", type=str | None, help="directory of the run (default: runs/CORPUS-N)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run (default: the latest one)"
    )
    for title, config in GROUPS.items():
        group = parser.add_argument_group(f"{title} options")
        types = get_type_hints(config)
        for field in dataclasses.fields(config):
            kind: dict[str, Any] = {"type": types[field.name]}
            if types[field.name] is bool:
                kind = {"action": ActionYesNo(no_prefix="no-")}
            default = (defaults or {}).get(field.name, field.default)
            flag = "--" + field.name.replace("_", "-")
            group.add_argument(flag, default=default, help=field.metadata["help"], **kind)


def given_options(
    parser: ArgumentParser, arguments: Sequence[str], command: str | None = None
) -> dict[str, Any]:
    """The configuration fields that flags or a YAML file set, without any defaults."""
    parsed = parser.parse_args(list(arguments), defaults=False)
    given = vars(parsed[command] if command else parsed)
    fields = {field.name for config in GROUPS.values() for field in dataclasses.fields(config)}
    return {name: value for name, value in given.items() if name in fields}


def train(corpus: Corpus | None, options: dict[str, Any], directory: Path, *, command: str) -> None:
    """Train, measure on the test split, and print what a person wants to see.

    Args:
        corpus: The corpus of a new run; None resumes the run in `directory`.
        options: Configuration fields that differ from the defaults.
        directory: Of the run.
        command: What to type, but for options, to resume.

    Raises:
        KeyboardInterrupt: After Ctrl-C, with the training state saved.
    """
    from textvae import recipes, report

    try:
        for trainer in recipes.phases(corpus, options, directory):
            _say(*report.run_heading(trainer, corpus).split("\n"))
            _say(f"training ended: {trainer.fit()}")
    except KeyboardInterrupt:
        where = shlex.quote(str(directory))
        _say(f"interrupted; to go on: {command} --output-dir {where} --resume")
        raise
    print(report.closing(*recipes.finish(directory), directory))


def new_directory(name: str) -> Path:
    """The first of `runs/NAME-1`, `runs/NAME-2`, … that is not taken."""
    return Path("runs") / f"{name}-{max(_taken(name), default=0) + 1}"


def latest_directory(name: str) -> Path:
    """The last run of that name.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not _taken(name):
        raise FileNotFoundError(f"no run to resume at runs/{name}-N: name one with --output-dir")
    return Path("runs") / f"{name}-{max(_taken(name))}"


def _taken(name: str) -> list[int]:
    numbers = (path.name.removeprefix(f"{name}-") for path in Path("runs").glob(f"{name}-*"))
    return [int(number) for number in numbers if number.isdecimal()]


def _train(options: Namespace) -> None:
    from textvae import recipes
    from textvae.config import RunConfig

    if options.data is None and options.output_dir is None:
        raise ValueError(NO_DATA)
    name = Path(str(options.data)).name.split(".")[0].removeprefix("ptb:")
    corpus, directory = None, Path(options.output_dir) if options.output_dir else None
    if options.data is not None:
        config = RunConfig.from_flat("", options.given)
        corpus = recipes.open_corpus(options.data, config.data)
    if options.resume:
        directory = directory or latest_directory(name)
        recipes.refuse_other_corpus(directory, corpus)
        corpus = None
    elif corpus is None:
        raise ValueError(NO_DATA)
    directory = directory or new_directory(name)
    command = f"textvae train {shlex.quote(options.data) if options.data else ''}".rstrip()
    train(corpus, options.given, directory, command=command)


def _evaluate(options: Namespace) -> None:
    from textvae import recipes, report

    measured = recipes.evaluate_run(
        options.run, options.split, data_dir=options.data_dir, seed=options.seed
    )
    if options.json:
        print(json.dumps(measured.evaluation.to_dict()))
    else:
        print(report.evaluation(measured))


def _sample(options: Namespace) -> None:
    from textvae.generation import sample

    model = _load(options.run)
    texts = sample(
        model,
        options.num_sentences,
        seed=options.seed,
        strategy=options.strategy,
        temperature=options.temperature,
        max_length=options.max_length,
    )
    _print_lines(texts)


def _reconstruct(options: Namespace) -> None:
    from textvae.generation import reconstruct

    model = _load(options.run)
    _tell_unknown_words(model, options.texts)
    _print_lines(reconstruct(model, options.texts, max_length=options.max_length))


def _interpolate(options: Namespace) -> None:
    from textvae.generation import interpolate

    model = _load(options.run)
    _tell_unknown_words(model, [options.first, options.second])
    texts = interpolate(
        model, options.first, options.second, steps=options.steps, max_length=options.max_length
    )
    _print_lines(texts)


def _print_lines(texts: Sequence[str]) -> None:
    """One sentence a line, even where a model of bytes (bpe) put a line break into one."""
    for text in texts:
        print(" ".join(text.splitlines()))


def _parser() -> tuple[ArgumentParser, dict[str, Callable[[Namespace], None]]]:
    from textvae import __version__

    parser = ArgumentParser(
        prog="textvae",
        description="Train text VAEs, see whether they collapsed, and write with them.",
        version=__version__,
    )
    commands = parser.add_subcommands(required=True)

    def add(name: str, help: str) -> ArgumentParser:
        command = ArgumentParser(description=help)
        commands.add_subcommand(name, command, help=help)
        return command

    command = add("train", "train a sentence VAE on a corpus")
    command.add_argument(
        "data", nargs="?", type=str | None, help="file, directory, grammar, ptb, or hub id"
    )
    add_training_options(command)

    command = add("evaluate", "measure a run: true ELBO, KL, active units")
    _add_run(command)
    command.add_argument("--split", default="test", type=str, help="train, valid or test")
    command.add_argument(
        "--data-dir", type=str | None, help="where the corpus is now (default: where it was)"
    )
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    command.add_argument("--seed", type=int, default=0, help="seed of the posterior noise")

    command = add("sample", "sentences from the prior, one a line")
    _add_run(command)
    command.add_argument("-n", "--num-sentences", type=int, default=10, help="how many")
    command.add_argument("--seed", type=int, default=0, help="the same seed, the same sentences")
    command.add_argument("--strategy", type=str, default="sample", help="sample or greedy")
    command.add_argument("--temperature", type=float, default=1.0, help="of sampling, above 0")
    _add_max_length(command)

    command = add("reconstruct", "what comes back of sentences sent through the latent space")
    _add_run(command)
    command.add_argument("texts", nargs="+", type=str, help="sentences")
    _add_max_length(command)

    command = add("interpolate", "sentences on the way from one to another")
    _add_run(command)
    command.add_argument("first", type=str, help="sentence at one end")
    command.add_argument("second", type=str, help="sentence at the other end")
    command.add_argument("--steps", type=int, default=5, help="sentences, both ends included")
    _add_max_length(command)

    return parser, {
        "train": _train,
        "evaluate": _evaluate,
        "sample": _sample,
        "reconstruct": _reconstruct,
        "interpolate": _interpolate,
    }


def _add_run(command: ArgumentParser) -> None:
    command.add_argument("run", type=str, help="run directory or hub id")


def _add_max_length(command: ArgumentParser) -> None:
    command.add_argument("--max-length", type=int, default=200, help="most tokens of a sentence")


def _load(run: str) -> SentenceVAE:
    from textvae.model import SentenceVAE

    return SentenceVAE.from_pretrained(run)


def _tell_unknown_words(model: SentenceVAE, texts: Sequence[str]) -> None:
    tokenizer = model.tokenizer
    unknown = (
        [word for text in texts for word in tokenizer.unknown_words(text)] if tokenizer else []
    )
    if unknown:
        _say(f"not in the vocabulary, read as <unk>: {' '.join(dict.fromkeys(unknown))}")


def _say(*lines: str) -> None:
    for line in lines:
        print(f"textvae: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
