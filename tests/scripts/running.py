"""What a script, run in this process, has said."""

from pathlib import Path
from typing import NamedTuple

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
