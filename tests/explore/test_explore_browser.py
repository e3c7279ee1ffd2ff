"""Tests of the page in a browser: Chromium, where it and both extras are installed.

The command runs in a process of its own, on a tiny run whose corpus has a hostile sentence.
"""

import importlib.util
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import chromium
from textvae.explore import open_session

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
    command = [sys.executable, "-m", "textvae", "explore", run, "--corpus", corpus_file]
    server = subprocess.Popen(
        [*map(str, command), f"--port={port}"],
        stderr=subprocess.PIPE,
        text=True,
        # A shell may have told its background jobs to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert server.stderr is not None
    try:
        assert any("the page is at" in line for line in server.stderr)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=60)
    assert (server.returncode, err) == (130, "")


@pytest.fixture(scope="module")
def opened(address: str) -> Iterator[Opened]:
    with chromium.launched() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(PATIENCE)
        said, asked = chromium.watched(page)
        page.goto(address)
        page.wait_for_selector("#between .token")
        yield Opened(page, address, said, asked)


@pytest.fixture(autouse=True)
def _nothing_else_happened(opened: Opened) -> Iterator[None]:
    yield
    # Gradio's own components warn of what they do themselves.
    assert [words for words in opened.said if not re.match(r"WARN |\[svelte-i18n\]", words)] == []
    foreign = [url for url in opened.asked if not url.startswith((opened.address, "data:"))]
    assert foreign == []


def wait_for(opened: Opened, selector: str, words: str) -> None:
    """Until an element says something."""
    found = opened.page.locator(selector)
    playwright.expect(found).to_contain_text(words, timeout=PATIENCE, use_inner_text=True)


def go_to(opened: Opened, name: str) -> None:
    opened.page.get_by_role("tab", name=name).click()


def test_two_sentences_and_dimensions(opened, run, corpus_file):
    session = open_session(str(run), str(corpus_file))
    opened.page.get_by_label("First sentence").fill("the zebra <b>")
    wait_for(opened, "#between", "(read as <unk>: zebra <b>)")
    opened.page.get_by_label("First sentence").fill("")
    wait_for(opened, "body", "the first sentence is empty: type one")
    go_to(opened, "Dimensions")
    sliders, text = opened.page.locator("input[type=range]:visible"), "the dog eats zebras"
    assert sliders.count() == 3
    opened.page.get_by_label("Sentence", exact=True).first.fill(text)
    wait_for(opened, "#moved", session.reconstructed(text))
    sliders.first.fill("3")
    wait_for(opened, "#moved", session.moved(text, [3, *session.sliders(text)[1:]]))


def test_the_map(opened):
    go_to(opened, "Map")
    opened.page.get_by_label("Sentence: press Enter").fill(HOSTILE)
    opened.page.get_by_label("Sentence: press Enter").press("Enter")
    legend = opened.page.locator("#map svg").get_by_text("asked")
    playwright.expect(legend).to_be_visible(timeout=PATIENCE)
    box = opened.page.locator("#map svg").first.bounding_box()
    opened.page.mouse.move(box["x"] + 60, box["y"] + 150)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 160, steps=5)
    opened.page.mouse.up()
    listed = opened.page.get_by_text("a mouse").filter(visible=True).last
    text = listed.inner_text()
    listed.click()
    box = opened.page.get_by_label("Sentence: press Enter")
    playwright.expect(box).to_have_value(text.strip(), timeout=PATIENCE)


def test_samples_and_diagnosis(opened):
    go_to(opened, "Samples")
    opened.page.get_by_role("button", name="Draw from the prior").click()
    go_to(opened, "Diagnosis")
    wait_for(opened, "#diagnosis", "Next: ")
    figures = opened.page.locator("#diagnosis tbody tr").all_inner_texts()
    assert [figure.split()[0] for figure in figures][:3] == ["rec", "KL", "−ELBO"]
