"""Tests of `textvae.report.page`: one HTML file, whole and harmless; the files of a study."""

import dataclasses
import html
import json
import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests import chromium
from tests.report.conftest import HOSTILE
from textvae import recipes, report
from textvae.diagnostics import Diagnosis, FactorProbe, Verdict
from textvae.recipes import Examples, LoadedRun
from textvae.report.page import check_study, write_study
from textvae.report.pictures import COLORS
from textvae.run import RunDirectory

EXAMPLES = Examples([HOSTILE], [(HOSTILE, "the cat"), ("a dog", "the dog")], ["the cat", "the dog"])
VOID = {"meta", "link", "br", "img"}


class Outline(HTMLParser):
    """What a page consists of; every element must be closed by its own end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs), "no script in attributes"
        names = ("src", "href", "xlink:href", "action", "data")
        self.addresses += [value for name, value in attrs if name in names]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def written(diagnosed: LoadedRun, directory: Path, examples: Examples = EXAMPLES) -> str:
    report.write_page(diagnosed, examples, directory / "page.html")
    return (directory / "page.html").read_text(encoding="utf-8")


def compared(runs: list[LoadedRun], directory: Path) -> str:
    report.write_comparison(runs, directory / "page.html")
    return (directory / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(runs: list[LoadedRun], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of the first run, of the language model, and of all."""
    path = tmp_path_factory.mktemp("page")
    floor = written(runs[2], path, recipes.examples_of(runs[2]))
    return {"run": written(runs[0], path), "floor": floor, "comparison": compared(runs, path)}


@pytest.fixture
def page(pages: dict[str, str]) -> str:
    """That of the first run."""
    return pages["run"]


def pictures(page: str) -> list[str]:
    return re.findall(r"<figcaption><strong>(.*?)</strong>", page)


def words(page: str) -> str:
    """What a reader reads."""
    body = page[page.index("<body>") :]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_of_a_run(page, diagnosed):
    found, text = diagnosed.diagnosis, words(page)
    assert f"<title>annealed: {found.verdict.verdict}</title>" in page
    assert text.startswith(f"annealed animals, test split: 12 sentences of {found.elbo.num_tokens}")
    assert f"{found.verdict.verdict.capitalize()} {found.verdict.explanation}" in text
    elbo, nll = found.elbo, found.nll
    for value in (elbo.rec, elbo.kl, -elbo.elbo, elbo.elbo_ppl, nll.ppl, found.mi.mi):
        assert f">{value:.2f}</td>" in page
    assert f"{nll.nll:.2f} ± {nll.se:.2f}" in text
    assert f"at most log N = {math.log(12):.2f}" in text
    for heading in ("Samples from the prior", "Reconstructions", "From one sentence to another"):
        assert heading in text
    assert "decoder_hidden_size 6" in text
    assert len(page.encode()) < 1_000_000


def test_the_pictures_of_a_run(page):
    shown = pictures(page)
    assert [title for title in shown if title != "MI"] == [
        *("KL", "KL per dimension", "Aggregate posterior against prior"),  # beside the verdict
        *("β", "rec", "active units", "KL of each dimension", "Active units over the threshold"),
    ]
    assert page.index(shown[2]) < page.index("<h2>Figures")


COMPARED = ["KL", "active units", "MI", "rec"]


def test_a_run_that_watched_less_or_more_has_fewer_or_more_curves(runs, tmp_path):
    run = shutil.copytree(runs[2].run.path, tmp_path / "copy")
    copy = replace(runs[2], run=RunDirectory.open(run))
    record = {"split": "valid", "step": 1, "rec": 3.0, "kl": 1.0}
    for more, curves in (
        ({}, ["rec", "KL"]),
        ({"mi": 0.5, "au": 2, "beta": 1.0}, ["β", "rec", "KL", "active units", "MI"]),
        ({"mi": None}, ["rec", "KL"]),
    ):
        copy.run.metrics_file.unlink(missing_ok=True)
        copy.run.log({**record, **more})
        assert pictures(written(copy, tmp_path)) == []  # a single point is no curve
        copy.run.log({**record, **more, "step": 2})
        assert pictures(written(copy, tmp_path)) == curves
        assert pictures(compared([copy, copy], tmp_path)) == [c for c in COMPARED if c in curves]
    copy.run.metrics_file.unlink()
    assert "Training" not in re.findall("<h2>(.*?)</h2>", written(copy, tmp_path))


@pytest.mark.parametrize("kind", ["run", "floor", "comparison"])
def test_a_page_is_sound_and_asks_for_nothing(kind, pages):
    page = pages[kind]
    outline = Outline(page)
    assert "script" not in outline.tags
    assert all(address.startswith("data:") for address in outline.addresses)
    assert not re.findall(r"url\(|@import", page)
    assert page.count("<style") == 1


def test_text_of_the_corpus_a_verdict_and_a_name_is_text(page, diagnosed, tmp_path, monkeypatch):
    assert HOSTILE not in page
    assert HOSTILE in words(page)
    monkeypatch.setattr(Diagnosis, "verdict", Verdict(HOSTILE, HOSTILE, f"--lr 1 {HOSTILE}"))
    named = replace(diagnosed, name=HOSTILE)
    for page in (written(named, tmp_path), compared([named, diagnosed], tmp_path)):
        assert not {"script", "b"} & set(Outline(page).tags)
        assert "<code>--lr</code> 1 &lt;script&gt;" in page


def test_a_language_model_has_a_page(pages):
    floor = pages["floor"]
    assert "rec" in pictures(floor)
    for heading in ("Latent space", "What the decoder takes", "Reconstructions", "known factors"):
        assert heading not in words(floor)
    assert "exact: this is a language model" in floor


def test_an_nll_that_was_cut_short_is_told(pages, diagnosed, tmp_path):
    assert "cut short" not in "".join(pages.values())
    partial = dataclasses.replace(diagnosed.diagnosis, interrupted=True, nll=None)
    cut = replace(diagnosed, diagnosis=partial)
    assert "was cut short" in written(cut, tmp_path)
    assert "was cut short" in compared([diagnosed, cut], tmp_path)


def test_the_heat_map_shows_the_dimensions_that_tell_most(diagnosed, tmp_path):
    per_dimension: Any = [0.0, 0.25, 0.75], 2, 0.75, [0.5, 0.6, 0.9], [0, 1, 3]
    probes = [
        FactorProbe("topic", 0.75, 0.5, 0.4, 1.0, *per_dimension),
        FactorProbe("tense", 0.5, 0.5, 0.0, 0.0, [0.0, 0.0, 0.0], None, 0.0, [0.5] * 3, [0, 0, 0]),
    ]
    found = dataclasses.replace(diagnosed.diagnosis, factors=probes)
    page = written(replace(diagnosed, diagnosis=found), tmp_path)
    assert re.findall(r"z<sub>(\d)</sub>", page) == ["2", "1", "0"]
    cells = re.findall(r'--share: ([\d.]+)">(.*?)</td>', page)
    assert cells == [("0.750", "0.75"), ("0.250", "0.25"), ("0.000", ""), *[("0.000", "")] * 3]
    assert re.findall(r'<td class="number">(\d+%)</td>', page) == ["75%", "50%", "50%", "50%"]
    # A factor that doesn't vary doesn't count, and of one there is no disentanglement.
    assert "<p>MIG 0.50, SAP 0.30, completeness 0.49, informativeness 0.75</p>" in page


def test_runs_side_by_side(pages, runs):
    comparison = pages["comparison"]
    verdicts = [(run.name, run.diagnosis.verdict.verdict) for run in runs]
    assert re.findall(r"</span>(\w+)</th><td>(.*?)</td>", comparison) == verdicts
    shown = pictures(comparison)
    assert shown[:2] == ["KL", "active units"]
    assert shown[-2:] == ["annealed", "plain"]  # a language model has no dimensions
    assert re.findall(r'background: (#\w+)"', comparison) == list(COLORS[:3])
    for run in runs:
        assert run.diagnosis.verdict.explanation in words(comparison)


def test_a_page_is_written_alike_whole_or_not_at_all(page, diagnosed, tmp_path, monkeypatch):
    assert written(diagnosed, tmp_path) == page
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        report.write_page(diagnosed, Examples([], [], []), tmp_path / "page.html")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("page.html", page)]


def test_where_no_study_can_be_is_known_beforehand(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        check_study(tmp_path / "file" / "beta")
    (tmp_path / "beta.png").mkdir()
    with pytest.raises(IsADirectoryError, match=r"beta\.png must be a file to write to"):
        check_study(tmp_path / "beta")


def test_the_files_of_a_study(tmp_path):
    path = tmp_path / "results" / "corpus" / "beta"
    check_study(path)
    assert list(path.parent.iterdir()) == []
    content = {"runs": [{"kl": 1.5}]}
    said = write_study(path, "β?\n", content, lambda picture: picture.write_text("drawn"))
    assert said == f"β?\n\nwritten: {path}.md, .json, .png"
    texts = {file.name: file.read_text(encoding="utf-8") for file in path.parent.iterdir()}
    assert json.loads(texts.pop("beta.json")) == content
    assert texts == {"beta.md": "β?\n", "beta.png": "drawn"}


@chromium.needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_pages_in_a_browser(pages, tmp_path, width, scheme):
    pytest.importorskip("playwright.sync_api", reason="the extra `browser` is missing")
    view: dict[str, Any] = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
    with chromium.launched() as browser:
        for kind, content in pages.items():
            path = tmp_path / f"{kind}.html"
            path.write_text(content, encoding="utf-8")
            page = browser.new_page(**view)
            said, asked = chromium.watched(page)
            page.goto(path.as_uri())
            for summary in page.locator("summary").all():
                summary.click()
            assert said == []
            assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            drawn = page.evaluate("[...document.images].map(x => [x.naturalWidth, x.width])")
            assert len(drawn) >= 2
            assert all(natural > 0 and wide >= 200 for natural, wide in drawn)  # it could be read
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == {"light": "rgb(253, 253, 252)", "dark": "rgb(21, 24, 28)"}[scheme]
