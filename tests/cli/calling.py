"""Commands, called in this process."""

import contextlib
import io
import json
from typing import Any, NamedTuple
from unittest import mock

from tests.sizes import TINY, flags
from textvae import cli

SIZES = flags({**TINY, "log_every": 2})


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def call(*arguments: str, stdin: str = "") -> Said:
    """One command, in this process, with what comes from standard input."""
    out, err = io.StringIO(), io.StringIO()
    given = mock.patch("sys.stdin", io.StringIO(stdin))
    with given, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(arguments)
        except SystemExit as stop:  # the parser's
            code = int(stop.code or 0)
    return Said(code, out.getvalue(), err.getvalue())


def done(*arguments: str, **options: str) -> Said:
    """A command that must end well."""
    said = call(*arguments, **options)
    assert said.code == 0, said.err
    return said
