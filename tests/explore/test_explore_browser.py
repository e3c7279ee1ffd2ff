"""Tests of the page in a browser: Chromium, where it and both extras are installed.

The command runs in a process of its own, on a tiny run whose corpus has a hostile sentence.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import chromium

playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is missing")

pytestmark = [
    pytest.mark.slow,
    chromium.needed,
    pytest.mark.skipif(
        importlib.util.find_spec("gradio") is None, reason="the extra `demo` is missing"
    ),
]

HOSTILE = "<img src=x onerror=alert(1)> ${1} {{value}}"
PATIENCE = 60_000
"""Milliseconds: a busy machine is no fault of the page."""


class Opened(NamedTuple):
    """The page in a browser, and what it did that it should not."""

    page: Any
    address: str
    said: list[str]
    asked: list[str]


@pytest.fixture(scope="module")
def address(run: Path, corpus_file: Path) -> Iterator[str]:
    """Where the command shows the page; ended by Ctrl-C."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "textvae.cli", "explore", str(run), f"--port={port}"]
    server = subprocess.Popen(
        [*command, f"--corpus={corpus_file}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell may have told its background jobs to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = threading.Timer(300, server.kill)
    deadline.start()
    assert server.stderr is not None
    said = []
    for line in server.stderr:
        said.append(line)
        if "the page is at" in line:
            break
    try:
        assert said, "the command ended without a word"
        assert f"http://127.0.0.1:{port}/" in said[-1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
        deadline.cancel()
    assert (server.returncode, out, err) == (130, "", "")


@pytest.fixture(scope="module")
def opened(address: str) -> Iterator[Opened]:
    with chromium.launched() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(PATIENCE)
        said, asked = chromium.watched(page)
        page.goto(address)
        page.wait_for_selector("#between .sentence")
        yield Opened(page, address, said, asked)


@pytest.fixture(autouse=True)
def _nothing_else_happened(opened: Opened) -> Iterator[None]:
    yield
    assert opened.said == []
    foreign = [url for url in opened.asked if not url.startswith((opened.address, "data:"))]
    assert foreign == []


def wait_for(opened: Opened, selector: str, words: str) -> None:
    """Until an element says something."""
    playwright.expect(opened.page.locator(selector)).to_contain_text(words, timeout=PATIENCE)


def go_to(opened: Opened, name: str) -> None:
    opened.page.get_by_role("tab", name=name).click()


def test_two_sentences_and_the_way_between(opened: Opened, run: Path, corpus_file: Path) -> None:
    from textvae.explore import open_session

    session = open_session(str(run), str(corpus_file))
    first, second = "the dog eats a mouse 7", "cat"
    opened.page.get_by_label("First sentence").fill(first)
    opened.page.get_by_label("Second sentence").fill(second)
    way = session.way(first, second)
    for share in (0.0, 0.5, 1.0):
        opened.page.locator("#between").wait_for()
        opened.page.locator("input[type=range]:visible").first.fill(str(share))
        wait_for(opened, "#between .here .number", f"{share:.2f}")
        shown = opened.page.locator("#between .sentence").inner_text()
        assert shown == (session.between(first, second, share) or "(an empty sentence)")
    for text in filter(None, way):
        wait_for(opened, "#between .way", text)
    opened.page.get_by_label("First sentence").fill("the zebra")
    wait_for(opened, "#between", "read as <unk>: zebra")
    opened.page.get_by_label("First sentence").fill("")
    wait_for(opened, "#between .fault", "the first sentence is empty: type one")


def test_dimensions(opened: Opened) -> None:
    go_to(opened, "Dimensions")
    sliders = opened.page.locator("input[type=range]:visible")
    assert sliders.count() == 3
    # Key by key, as a person would: the first one can come before the tab is ready to listen.
    opened.page.get_by_label("Sentence", exact=True).press_sequentially("  zebras")
    wait_for(opened, "#moved", "zebras")
    wait_for(opened, "#moved", "read as <unk>: ")
    began = sliders.first.input_value()
    sliders.first.fill("-3")
    opened.page.get_by_label("Sentence", exact=True).fill("")
    wait_for(opened, "#moved .fault", "the sentence is empty: type one")
    opened.page.get_by_label("Sentence", exact=True).fill("the dog eats zebras")
    wait_for(opened, "#moved", "read as <unk>: zebras")
    playwright.expect(sliders.first).to_have_value(began, timeout=PATIENCE)


def test_the_map(opened: Opened) -> None:
    go_to(opened, "Map")
    canvas = opened.page.locator("#map canvas")
    canvas.focus()
    opened.page.keyboard.press("ArrowLeft")  # from before the first to the last one
    wait_for(opened, "#map .tip", HOSTILE)
    opened.page.keyboard.press("Enter")
    wait_for(opened, "#near .asked", HOSTILE)
    assert opened.page.locator("#near li").count() == 8
    opened.page.get_by_role("button", name="length").click()
    wait_for(opened, "#map .legend", "6")
    opened.page.get_by_label("Or type a sentence").fill("the cat sees")
    opened.page.get_by_label("Or type a sentence").press("Enter")
    wait_for(opened, "#near .asked", "the cat sees")
    assert find_a_point(opened) in opened.page.locator("#near .asked").inner_text()


def find_a_point(opened: Opened) -> str:
    """Move over the map until a sentence shows, click, and wait for its neighbours."""
    box = opened.page.locator("#map canvas").bounding_box()
    for y in range(10, int(box["height"]), 15):
        for x in range(10, int(box["width"]), 15):
            opened.page.mouse.move(box["x"] + x, box["y"] + y)
            if opened.page.locator("#map .tip").is_visible():
                text: str = opened.page.locator("#map .tip span").first.inner_text()
                opened.page.mouse.click(box["x"] + x, box["y"] + y)
                wait_for(opened, "#near .asked", text)
                return text
    raise AssertionError("there is no sentence on the map")


def test_samples(opened: Opened) -> None:
    go_to(opened, "Samples")
    assert opened.page.locator("#samples li").count() == 10
    opened.page.get_by_label("greedy").check()
    opened.page.get_by_label("number input for How many").fill("3")
    opened.page.get_by_role("button", name="Draw from the prior").click()
    playwright.expect(opened.page.locator("#samples li")).to_have_count(3, timeout=PATIENCE)


def test_the_diagnosis(opened: Opened) -> None:
    go_to(opened, "Diagnosis")
    opened.page.get_by_role("button", name="Measure").click()
    wait_for(opened, "#diagnosis .verdict", "Next: ")
    assert opened.page.locator("#diagnosis .bars li").count() == 3


@pytest.mark.parametrize("name", ["Between", "Dimensions", "Map", "Samples", "Diagnosis"])
@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_sticks_out(opened: Opened, width: int, name: str) -> None:
    # A narrow screen moves tabs into a menu, some time after it has become narrow.
    opened.page.set_viewport_size({"width": 1200, "height": 844})
    go_to(opened, name)
    opened.page.set_viewport_size({"width": width, "height": 844})
    opened.page.wait_for_function(
        "width => document.documentElement.scrollWidth <= width", arg=width
    )
    assert opened.page.evaluate("innerWidth") == width
