"""Scripts, run in this process as python would run them."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


class Answer(NamedTuple):
    code: int | str | None
    out: str
    err: str


def assert_refused(answer: Answer, named: str) -> None:
    """Wrong input: an error in plain words that name something, exit code 2, no output."""
    assert (answer.code, answer.out) == (2, "")
    assert "error: " in answer.err
    assert named in answer.err
    assert "Traceback" not in answer.err


def run_script(name: str, *arguments: str) -> Answer:
    """The script of that name, which ends with an exit code."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    assert isinstance(stop.value.code, int)
    return Answer(stop.value.code, out.getvalue(), err.getvalue())
