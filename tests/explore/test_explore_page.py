"""Tests of `textvae.explore.page`: the widgets without a browser, and where they may be shown."""

from __future__ import annotations

import asyncio
import builtins
import json
import socket
import warnings
from typing import Any

import pytest

from textvae.explore import Session, check_address, page

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what gradio's own dependencies have to say
    gradio = pytest.importorskip("gradio", reason="the extra `demo` is missing")


@pytest.fixture(scope="module")
def blocks(session: Session) -> Any:
    async def build() -> Any:
        return page.build(session)

    # Where no loop runs, gradio makes some and leaves them open.
    return asyncio.run(build())


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_visitors_are_served_in_turn_and_no_one_else(blocks: Any) -> None:
    events = list(blocks.fns.values())
    assert len(events) == 13
    for event in events:
        assert event.queue
        assert (event.concurrency_id, event.concurrency_limit) == ("model", 1)
        assert event.api_visibility == "private"


def test_nothing_is_told_to_anyone_and_nothing_fetched(blocks: Any) -> None:
    assert blocks.analytics_enabled is False
    assert page._theme()._stylesheets == []
    assert "http" not in page._asset("page.css") + page._asset("map.js") + page._asset("map.html")


def test_what_the_page_begins_with(blocks: Any, session: Session, texts: list[str]) -> None:
    said = json.dumps(blocks.get_config_file()["components"])
    assert "lively" in said
    assert "6 sentences of six sentences" in said
    assert session.reconstructed(texts[0]) in said
    for dimension in session.dimensions:
        assert f"Dimension {dimension.index}: {dimension.kl:.2f} nats" in said


def call(blocks: Any, at: int, *inputs: Any) -> Any:
    return list(blocks.fns.values())[at].fn(*inputs)


def test_a_fault_is_said_in_place(blocks: Any, texts: list[str]) -> None:
    assert "the first sentence is empty" in call(blocks, 0, "", texts[0], 0.5)
    assert "share must be from 0 to 1, got None" in call(blocks, 2, texts[0], texts[1], None)
    assert "must be from" in call(blocks, 3, texts[0], 99, 0, 0)
    begun = call(blocks, 6, " ")
    assert "is empty" in begun[0]
    assert "is empty" in call(blocks, 9, "")[0]
    assert "got 1000" in call(blocks, 10, 1000, "sample", 1.0, 0)


@pytest.mark.parametrize("position", [-1, 6, None, "0", 1.5, True])
def test_a_click_beside_the_map(blocks: Any, position: Any) -> None:
    click = gradio.EventData(None, {"position": position})
    found, _ = call(blocks, 8, click)
    assert ("no such sentence" in found) == (position is not True)


def test_a_click_on_the_map(blocks: Any, session: Session, texts: list[str]) -> None:
    found, change = call(blocks, 8, gradio.EventData(None, {"position": 2}))
    near = session.near(texts[2])
    assert texts[2] in found
    assert near[0].text in found
    assert change.props["near"] == [each.position for each in near]


def test_sliders_left_alone_leave_the_sentence_alone(
    blocks: Any, session: Session, texts: list[str]
) -> None:
    for text in texts:
        shown, *values = call(blocks, 6, text)
        assert session.reconstructed(text) in shown
        assert call(blocks, 3, text, *values) == shown
        low = session.dimensions[0].low
        moved = session.moved(text, {session.dimensions[0].index: low})
        words = call(blocks, 3, text, low, *values[1:])
        assert moved == words.replace("<mark>", "").replace("</mark>", "")[20 : 20 + len(moved)]


def test_a_collapsed_model_is_called_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page._notice(session) == ""
    monkeypatch.setattr(session, "kl", 0.05)
    monkeypatch.setattr(session, "notice", "The corpus can't be had: gone.")
    assert page._notice(session).startswith(f"{session.notice} This model has collapsed: ")


def test_a_free_port_is_fine(free_port: int) -> None:
    check_address("127.0.0.1", free_port)
    check_address("localhost", free_port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_such_port(port: int) -> None:
    with pytest.raises(ValueError, match=f"port must be from 1 to 65535, got {port}"):
        check_address("127.0.0.1", port)


def test_a_port_that_is_taken(free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        with pytest.raises(
            OSError, match=f"^can't listen at 127.0.0.1, port {free_port}: .*in use"
        ):
            check_address("127.0.0.1", free_port)


def test_a_host_that_is_not_ours(free_port: int) -> None:
    with pytest.raises(OSError, match=r"^can't listen at 192\.0\.2\.1, port "):
        check_address("192.0.2.1", free_port)


def test_without_gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "gradio":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'needs gradio: pip install "textvae\[demo\]"'):
        check_address("127.0.0.1", 7860)
