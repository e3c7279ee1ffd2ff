"""Tests of the pages in a browser: Chromium, where it and the extra `browser` are installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import chromium
from textvae import recipes, report
from textvae.recipes import LoadedRun

pytest.importorskip("playwright.sync_api", reason="the extra `browser` is missing")

pytestmark = chromium.needed

WIDTHS = {"phone": 390, "desktop": 1280}

# Elements that stick out of the screen, but for those in a box of their own that scrolls.
STICKING_OUT = """[...document.querySelectorAll("body *")].filter(element =>
    element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".scroll, svg")
).map(element => element.outerHTML.slice(0, 80))"""

PICTURES = """[...document.querySelectorAll("figure img")].map(picture => {
    const box = picture.getBoundingClientRect();
    return [picture.naturalWidth, box.width, box.height];
})"""

LUMINANCE = """name => {
    const [r, g, b] = getComputedStyle(document.body)[name].match(/[\\d.]+/g).map(Number);
    return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.launched() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(runs: list[LoadedRun], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("pages")
    paths = {name: directory / f"{name}.html" for name in ("diagnosis", "floor", "comparison")}
    report.write_page(runs[0], recipes.examples_of(runs[0]), paths["diagnosis"])
    report.write_page(runs[2], recipes.examples_of(runs[2]), paths["floor"])
    report.write_comparison(runs, paths["comparison"])
    return paths


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", ["diagnosis", "floor", "comparison"])
def test_a_page_in_a_browser(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    said, asked = chromium.watched(page)
    address = pages[name].as_uri()
    page.goto(address)
    for summary in page.locator("summary").all():
        summary.click()

    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(STICKING_OUT) == []
    drawn = page.evaluate(PICTURES)
    assert len(drawn) >= 2
    for natural, wide, high in drawn:
        assert natural > 0  # it could be read
        assert wide >= 200
        assert high >= 100
    paper, ink = (page.evaluate(LUMINANCE, name) for name in ("backgroundColor", "color"))
    dark, light = (ink, paper) if scheme == "light" else (paper, ink)
    assert dark < 0.2
    assert light > 0.8
    context.close()
