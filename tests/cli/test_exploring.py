"""Tests of `textvae explore`: what it passes on, and how it ends."""

import sys
from typing import Any

import pytest

from tests.cli.calling import call
from textvae import explore


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


def test_every_option_is_passed_on(asked):
    said = call("explore", "run")
    assert said == (130, "", "textvae: the page is at http://here/ (Ctrl-C ends it)\n")
    assert asked == {
        "address": ("127.0.0.1", 7860),
        "opened": ("run", None, {"data_dir": None, "num_sentences": 2000, "data_changed": False}),
        "served": ("session", {"host": "127.0.0.1", "port": 7860}),
    }
    options = ("--data-dir=d", "--host=h", "--port=1", "--num-sentences=9", "--data-changed")
    call("explore", "r", "--corpus=c", *options)
    assert asked == {
        "address": ("h", 1),
        "opened": ("r", "c", {"data_dir": "d", "num_sentences": 9, "data_changed": True}),
        "served": ("session", {"host": "h", "port": 1}),
    }


def test_the_extra_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    said = call("explore", "no-such-run")
    expected = 'textvae: error: the page needs gradio: pip install "textvae[demo]"\n'
    assert (said.code, said.err) == (2, expected)
