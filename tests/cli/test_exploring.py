"""Tests of `textvae explore`: what it passes on, and how it ends."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import call
from textvae import cli, explore


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the room was asked for; nothing is loaded or shown, and Ctrl-C comes at once."""
    found: dict[str, Any] = {}

    def check(host: str, port: int) -> None:
        found["address"] = (host, port)

    def opened(run: str, corpus: str | None, **options: Any) -> str:
        found["opened"] = (run, corpus, options)
        return "session"

    def serve(session: Any, *, on_ready: Any, **options: Any) -> None:
        found["served"] = (session, options)
        on_ready("http://here/")
        raise KeyboardInterrupt

    monkeypatch.setattr(explore, "check_address", check)
    monkeypatch.setattr(explore, "open_session", opened)
    monkeypatch.setattr(explore, "serve", serve)
    return found


@pytest.mark.parametrize(
    ("options", "corpus", "opened", "served"),
    [
        (
            [],
            None,
            {"data_dir": None, "num_sentences": 2000},
            {"host": "127.0.0.1", "port": 7860},
        ),
        (
            ["--corpus=c", "--data-dir=d", "--host=h", "--port=1", "--num-sentences=9"],
            "c",
            {"data_dir": "d", "num_sentences": 9},
            {"host": "h", "port": 1},
        ),
    ],
    ids=["default", "given"],
)
def test_every_option_is_passed_on(
    asked: dict[str, Any], options: list[str], corpus: Any, opened: Any, served: Any
) -> None:
    assert call("explore", "run", *options) == (
        130,
        "",
        "textvae: the page is at http://here/ (Ctrl-C ends it)\n",
    )
    assert asked == {
        "address": (served["host"], served["port"]),
        "opened": ("run", corpus, opened),
        "served": ("session", served),
    }


def test_wrong_input_is_one_plain_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(explore.page, "_gradio", lambda: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["explore", "r", f"--port={port}"]) == 2
    assert cli.main(["explore", "r", "--port=70000"]) == 2
    assert cli.main(["explore", str(tmp_path / "none"), f"--port={port}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"textvae: error: can't listen at 127.0.0.1, port {port}: address ")
    assert lines[1] == "textvae: error: port must be from 1 to 65535, got 70000"
    assert lines[2].startswith("textvae: error: no ")


def test_the_extra_is_named_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    assert cli.main(["explore", "no-such-run"]) == 2
    assert capsys.readouterr().err == (
        'textvae: error: the page needs gradio: pip install "textvae[demo]"\n'
    )
