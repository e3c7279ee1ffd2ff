"""Options on the command line that commands and scripts share.

Offers `add_training_options` (a flag for every configuration field), `config_first` and
`given_options` for what trains a model, and `add_study_options` for what trains many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser

from textvae.config import DataConfig, ModelConfig, TrainingConfig

__all__ = ["add_study_options", "add_training_options", "config_first", "given_options"]

GROUPS = {"model": ModelConfig, "data": DataConfig, "training": TrainingConfig}


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


def add_study_options(parser: ArgumentParser) -> None:
    """Add `--data-dir`, `--seeds`, `--jobs`, `--runs-dir` and `--results-dir`."""
    add = parser.add_argument
    add("--data-dir", type=str | None, help="Penn Treebank, or another corpus")
    add("--seeds", type=list[int], default=[0, 1, 2], help="as in [0,1,2]")
    add("--jobs", type=int | None, help="runs at a time (default: one per core)")
    add("--runs-dir", type=str, default="runs/experiments", help="where runs are kept")
    add("--results-dir", type=str, default="results", help="where results are written")


def given_options(
    parser: ArgumentParser, arguments: Sequence[str], command: str | None = None
) -> dict[str, Any]:
    """The configuration fields that flags or a YAML file set, without any defaults."""
    parsed = parser.parse_args(list(arguments), defaults=False)
    given = vars(parsed[command] if command else parsed)
    fields = {field.name for config in GROUPS.values() for field in dataclasses.fields(config)}
    return {name: value for name, value in given.items() if name in fields}
