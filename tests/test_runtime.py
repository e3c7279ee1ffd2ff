"""Tests of `textvae.runtime` for one process; of several: `tests/training/test_processes.py`."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest
import torch

from textvae.cli import exit_code_of
from textvae.cli.command import say
from textvae.runtime import ALONE, ElsewhereError, Processes, current, is_first, join, leave


def test_without_a_launcher_one_works_alone() -> None:
    assert join() == current() == ALONE
    assert is_first()
    leave()  # nobody to leave


def test_alone_everything_is_one_s_own() -> None:
    rows = torch.ones(3, 2, requires_grad=True)
    gathered = ALONE.gather_rows(rows, 3)
    assert gathered.tolist() == rows.tolist()
    assert not gathered.requires_grad
    assert ALONE.gather("mine") == ["mine"]
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    assert ALONE.first(lambda: 1) == ALONE.in_turn(lambda: 1) == 1
    assert list(ALONE.share(range(3))) == [0, 1, 2]
    ALONE.wait()


@pytest.mark.parametrize("how", ["first", "in_turn"])
def test_alone_an_error_is_what_it_was(how: str) -> None:
    with pytest.raises(ZeroDivisionError):
        getattr(ALONE, how)(lambda: 1 // 0)


def test_shares_are_disjoint_and_all() -> None:
    shares = [list(Processes(rank, 3).share(range(7))) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.parametrize(("rank", "said"), [("0", "textvae: hear\n"), ("1", "")])
def test_the_first_speaks(monkeypatch: pytest.MonkeyPatch, rank: str, said: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with redirect_stderr(io.StringIO()) as heard:
        say("hear")
    assert heard.getvalue() == said


def test_who_failed_says_so_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    def fail(error: Exception) -> None:
        raise error

    with redirect_stderr(io.StringIO()) as heard:
        assert exit_code_of(lambda: fail(ElsewhereError("another process failed: x"))) == 2
        assert heard.getvalue() == ""
        assert exit_code_of(lambda: fail(ValueError("mine alone"))) == 2
    assert heard.getvalue() == "textvae: error: mine alone\n"
