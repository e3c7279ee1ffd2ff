"""Tests of `quality_text`: a page written out, and the parts that may be missing."""

from __future__ import annotations

from dataclasses import replace

from textvae.quality import PathStep, ReconstructionFigures, TextFigures
from textvae.recipes import Grammaticality, Perplexities, Quality
from textvae.report.text import quality_text

SAMPLES = TextFigures(
    num_sentences=1000,
    self_bleu=61.234,
    distinct=(0.0512, 0.3, 0.5, 0.75),
    duplicates=0.002,
    novelty=0.998,
    novel_4grams=0.25,
    length_mean=17.125,
    length_sd=1.5,
    length_distance=0.0625,
)
REAL = replace(SAMPLES, self_bleu=58.5, distinct=(0.06, 0.31, 0.52, 1.0), duplicates=0.0)
PATH = (
    PathStep("the shy nurse", True, {}),
    PathStep("the shy shy", False, {}),
    PathStep("the bold nurses", True, {"temper": ("shy", "bold"), "number": ("one", "many")}),
)
QUALITY = Quality(
    run="runs/mine-1",
    corpus="grammar",
    split="test",
    seed=3,
    temperature=0.9,
    samples=SAMPLES,
    real=REAL,
    reconstruction=ReconstructionFigures(1000, 34.567, 0.0125),
    perplexities=Perplexities("runs/lm", 3.95, 4.251),
    grammar=Grammaticality(0.875, PATH),
)


def test_everything() -> None:
    lines = quality_text(QUALITY).split("\n")
    assert lines[0] == (
        "runs/mine-1: EMBEDDED CORPUS (made by a grammar, no real text), test split, "
        "temperature 0.9, seed 3"
    )
    assert lines[1] == "                 1,000 samples  1,000 real"
    figures = {line[:15].strip(): line[15:44].split() for line in lines[2:17]}
    assert figures == {
        "self-BLEU": ["61.23", "58.50"],
        "distinct-1": ["5.1%", "6.0%"],
        "distinct-2": ["30.0%", "31.0%"],
        "distinct-3": ["50.0%", "52.0%"],
        "distinct-4": ["75.0%", "100.0%"],
        "repeated": ["0.2%", "0.0%"],
        "new": ["99.8%", "99.8%"],
        "new 4-grams": ["25.0%", "25.0%"],
        "length": ["17.12", "17.12"],
        "± sd": ["1.50", "1.50"],
        "length distance": ["0.06", "0.06"],
        "grammatical": ["87.5%", "–"],
        "forward PPL": ["4.25", "3.95"],
        "BLEU": ["–", "34.57"],
        "exact": ["–", "1.2%"],
    }
    assert lines[17:] == [
        "",
        "factors along an interpolation (* the grammar can't say it)",
        " 1  the shy nurse",
        " 2* the shy shy",
        " 3  the bold nurses",
        "      temper shy → bold, number one → many",
    ]


def test_every_figure_says_what_is_good_and_fits_a_line() -> None:
    for line in quality_text(QUALITY).split("\n")[2:17]:
        assert any(word in line for word in ("best", "better", "below real", "above real")), line
        assert len(line) <= 120


def test_what_was_not_measured_is_not_shown() -> None:
    bare = replace(QUALITY, corpus="mine", reconstruction=None, perplexities=None, grammar=None)
    lines = quality_text(bare).split("\n")
    assert lines[0].startswith("runs/mine-1: mine, test split")
    assert len(lines) == 13
    assert lines[-1].startswith("length distance")


def test_a_language_model_has_no_path_and_a_small_split_is_told() -> None:
    text = quality_text(replace(QUALITY, grammar=Grammaticality(0.5, None)))
    assert ("grammatical" in text, "interpolation" in text) == (True, False)
    few = quality_text(replace(QUALITY, real=replace(REAL, num_sentences=20)))
    assert "The split has fewer sentences than there are samples" in few
    assert "fewer sentences" not in quality_text(QUALITY)
