"""Tests of `textvae explore`: what it passes on, and how it ends."""

import sys
from typing import Any
from unittest import mock
from unittest.mock import ANY, Mock

import pytest

from tests.cli.calling import call
from textvae import explore


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stands for the room: nothing is loaded or shown, and Ctrl-C comes at once."""

    def serve(session: Any, *, on_ready: Any, **options: Any) -> None:
        on_ready("http://here/")
        raise KeyboardInterrupt

    room = Mock(**{"open_session.return_value": "session", "serve.side_effect": serve})
    for name in ("check_address", "open_session", "serve"):
        monkeypatch.setattr(explore, name, getattr(room, name))
    return room


def test_every_option_is_passed_on(room):
    said = call("explore", "run")
    assert said == (130, "", "textvae: the page is at http://here/ (Ctrl-C ends it)\n")
    options = ("--data-dir=d", "--host=h", "--port=1", "--num-sentences=9", "--data-changed")
    call("explore", "r", "--corpus=c", *options)
    default = {"data_dir": None, "num_sentences": 2000, "data_changed": False}
    given = {"data_dir": "d", "num_sentences": 9, "data_changed": True}
    assert room.mock_calls == [
        mock.call.check_address("127.0.0.1", 7860),
        mock.call.open_session("run", None, **default),
        mock.call.serve("session", host="127.0.0.1", port=7860, on_ready=ANY),
        mock.call.check_address("h", 1),
        mock.call.open_session("r", "c", **given),
        mock.call.serve("session", host="h", port=1, on_ready=ANY),
    ]


def test_the_extra_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    said = call("explore", "no-such-run")
    expected = 'textvae: error: the page needs gradio: pip install "textvae[demo]"\n'
    assert (said.code, said.err) == (2, expected)
