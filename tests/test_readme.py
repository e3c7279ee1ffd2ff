"""The README's code runs, and its commands and flags exist."""

import re
from functools import partial

import pytest
import remedies

from tests import docs
from textvae import cli, grammar
from textvae.cli.command import parser_of

README = docs.text("README.md")


@pytest.fixture
def _small_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded corpus at a hundredth of its size."""
    small = partial(grammar.splits, train=200, valid=20, test=20)
    monkeypatch.setattr(grammar, "splits", small)


@pytest.mark.usefixtures("_small_grammar")
def test_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    python = docs.blocks(README)
    assert len(python) == 2
    for code in python:
        exec(code.replace("2000", "2").replace("10_000", "100"), {})
    assert (tmp_path / "runs" / "mine" / "model.safetensors").exists()
    assert "[" in capsys.readouterr().out


def test_every_flag_that_the_readme_names_exists(capsys):
    known = docs.text("scripts/train_ptb.py") + parser_of(remedies.run).format_help()
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0
        known += capsys.readouterr().out
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--help"}
    assert "--word-dropout" in known
    assert {flag for flag in named if flag not in known} == set()


def test_every_command_that_the_readme_names_exists():
    named = set(re.findall(r"^textvae ([a-z-]+)|`textvae ([a-z-]+)", README, flags=re.MULTILINE))
    commands = {first or second for first, second in named}
    assert {"train", "diagnose", "score"} <= commands
    assert commands <= set(cli.COMMANDS)


def test_set_up_commands_are_the_ones_that_ci_runs():
    commands = re.findall(r"^pip install -c constraints\.txt -e .*$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("python scripts/train_ptb.py")
    assert commands[1].endswith("pytest")
