"""Tests of `textvae.report.text`: what the terminal says of a run and of its diagnosis."""

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.report.conftest import SIZES
from textvae import recipes, report
from textvae.corpus import Corpus
from textvae.diagnostics import Ablation, Diagnosis, Evaluation, Verdict
from textvae.quality import ReconstructionFigures, TextFigures
from textvae.recipes import Examples, LoadedRun, Perplexities, Quality

TERMS = Evaluation(98.5, 4.25, -102.75, 119.0, 1.5, 7.6, 2, 3, [4.0, 0.25, 0.0], 3761, 82430)
RESULTS = {"beta": 1.0, "epochs": 3, "best_epoch": 2, "minutes": 0.5}


def changed(diagnosed: LoadedRun, **fields: Any) -> LoadedRun:
    return replace(diagnosed, diagnosis=replace(diagnosed.diagnosis, **fields))


@pytest.fixture
def known(diagnosed: LoadedRun) -> LoadedRun:
    """A diagnosis with figures that can be told from each other."""
    found = diagnosed.diagnosis
    return changed(
        diagnosed,
        elbo=Evaluation(20.125, 2.5, -22.625, 4.0, 0, 0, 1, 2, [0.5, 2.0, 0.0], 12, 70),
        nll=replace(found.nll, nll=22.0, se=0.25, ppl=3.5, effective_samples=2.5),
        mi=found.mi._replace(mi=1.75, mi_max=math.log(12)),
        au_curve={0.0001: 3, 0.01: 1, 1.0: 0},
        ablation=Ablation(own=20.125, shuffled=23.125, prior=22.125, zero=21.0),
    )


def test_the_text_of_a_diagnosis(known, monkeypatch):
    monkeypatch.setattr(Diagnosis, "verdict", Verdict("healthy", "It says something.", "Go on."))
    lines = report.diagnosis_text(known).split("\n")
    assert lines[0] == "animals, test split: 12 sentences of 70 tokens, nats per sentence"
    assert " ".join(lines[1].split()) == "rec KL −ELBO ELBO-PPL NLL PPL MI AU active dims"
    shown = " ".join(lines[2].split())
    assert shown == "20.12 2.50 22.62 4.00 22.00 ± 0.25 3.50 1.75 1/3 2/3"
    assert lines[4].startswith("NLL ± standard error, 3 importance samples (2.50 effective); ")
    assert lines[4].endswith("; MI can be at most log N = 2.48")
    assert lines[6] == "KL per dimension │█▂ │ 3 dimensions, largest 2.000 nats"
    assert [line.split() for line in lines[9:11]] == [["0.0001", "0.01", "1"], ["3", "1", "0"]]
    ablation = ["20.12 +0.00", "23.12 +3.00", "22.12 +2.00", "21.00 +0.88"]
    assert [" ".join(line.split()[-2:]) for line in lines[14:18]] == ablation
    assert [line.split()[0] for line in lines[21:23]] == ["animal", "deed"]
    assert lines[-3:] == ["verdict: healthy", "It says something.", "next: Go on."]


@pytest.mark.parametrize(
    ("interrupted", "se", "nll", "ppl"),
    [
        (False, 0.25, "22.00 ± 0.25", "3.50"),
        (True, 0.25, "22.00 ± 0.25*", "3.50*"),
        # One batch can't tell its own spread.
        (True, math.inf, "22.00*", "3.50*"),
        # Cut short before the first batch.
        (True, None, "–*", "–*"),
    ],
)
def test_an_nll_that_was_cut_short(known, interrupted, se, nll, ppl):
    estimate = None if se is None else replace(known.diagnosis.nll, se=se)
    found = changed(known, interrupted=interrupted, nll=estimate)
    row = report.text.figures_row(found.diagnosis)
    assert (row["NLL"], row["PPL"]) == (nll, ppl)
    assert ("* cut short: NLL" in report.diagnosis_text(found)) == ("*" in nll)
    assert ("* cut short: NLL" in report.comparison_text([known, found])) == ("*" in nll)


def test_a_language_model_has_nothing_to_say_of_z(runs):
    text = report.diagnosis_text(runs[2])
    assert "a language model: its NLL is exact" in text
    assert "verdict: language model" in text or "verdict: never trained" in text
    for word in ("active units", "what the decoder takes", "log N", "linear probe"):
        assert word not in text
    assert report.text.figures_row(runs[2].diagnosis)["AU"] == "–"


def test_runs_side_by_side(runs):
    lines = report.comparison_text(runs).split("\n")
    assert lines[0].startswith("animals, test split: 12 sentences")
    assert lines[1].split()[0] == "run"
    assert [line.split()[0] for line in lines[2:5]] == ["annealed", "plain", "floor"]
    for line, run in zip(lines[2:5], runs, strict=True):
        assert line.endswith(run.diagnosis.verdict.verdict)
        assert f"{run.diagnosis.nll.nll:.2f} ± {run.diagnosis.nll.se:.2f}" in line
    assert lines[5:7] == ["", "KL per dimension"]
    assert [line.split()[0] for line in lines[7:]] == ["annealed", "plain", "floor"]
    # Those of one name are told apart by their paths.
    assert report.text.run_names([runs[0]] * 2) == [str(runs[0].run.path)] * 2


def test_a_table_is_aligned_to_the_right():
    first = {"rec": 101.2345, "AU": "3/32", "note": "collapsed"}
    rows = [first, {"rec": 5.0, "AU": 12, "note": "β"}]
    assert report.text.table(rows).split("\n") == [
        "   rec    AU       note",
        "101.23  3/32  collapsed",
        "  5.00    12          β",
    ]
    assert report.text.table([{"active dimensions": 3}]) == "active dimensions\n                3"
    assert report.text.table([]) == ""
    untrained = {"ELBO-PPL": 468062866686355648.0, "less": 999999.0, "none": math.inf}
    row = report.text.table([untrained]).split("\n")[1]
    assert row.split() == ["4.7e+17", "999999.00", "inf"]


def test_an_nll_with_a_fitted_prior_has_a_column(known):
    nll = replace(known.diagnosis.nll, fitted=replace(known.diagnosis.nll, nll=17.25))
    for run, shown in ((known, None), (changed(known, nll=nll), "17.25")):
        assert report.text.figures_row(run.diagnosis).get("NLL, fitted prior") == shown


@pytest.mark.parametrize(
    ("kl_per_dim", "bars"),
    [
        ([0.0, 0.0], "│  │ 2 dimensions, largest 0.000 nats"),  # collapsed: nothing to see
        ([0.0009, 0.0], "│  │ 2 dimensions, largest 0.001 nats"),
        ([0.001], "│█│ 1 dimensions, largest 0.001 nats"),
        ([0.5, 2.0, 1.0], "│█▄▂│ 3 dimensions, largest 2.000 nats"),  # the busiest first
        ([0.002, 3.0], "│█▁│ 2 dimensions, largest 3.000 nats"),  # little is not nothing
        ([1.0, 1.0, 0.0], "│██ │ 3 dimensions, largest 1.000 nats"),
        ([], "no latent dimensions (a language model)"),
    ],
)
def test_kl_bars(kl_per_dim, bars):
    assert report.text.kl_bars(kl_per_dim) == bars


def test_examples():
    pairs = [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")]
    assert report.text.examples_text(Examples(["s", "t"], pairs, ["A", "M", "D"])).split("\n") == [
        "samples from the prior",
        *("  s", "  t"),
        "",
        "reconstructions (through the posterior mean, greedy)",
        *("  a", "  → A", "  b", "  → B", "  c", "  → C"),
        "",
        "interpolation between “a” and “d”",
        *("  A", "  M", "  D"),
    ]
    endless = report.text.examples_text(Examples(["may " * 100, "x" * 200], [], []))
    assert endless.split("\n") == ["samples from the prior", f"  {'may ' * 50} …", f"  {'x' * 200}"]
    only_samples = report.text.examples_text(Examples(["s"], [], []))
    assert only_samples == "samples from the prior\n  s"


def test_the_heading_says_what_was_left_out(corpus, tmp_path):
    whole = recipes.start(corpus, SIZES, tmp_path / "whole")
    heading = report.run_heading(whole, replace(corpus, skipped={"train": 2, "test": 1}))
    parameters = sum(p.numel() for p in whole.model.parameters())
    assert heading.split("\n") == [
        f"{tmp_path / 'whole'}: animals, 24 sentences of {whole.train.num_tokens:,} tokens to "
        "train on, 3 empty lines skipped",
        f"z of 3, vocabulary {whole.model.vocab_size:,}, {parameters:,} parameters, float32 on cpu",
    ]
    assert "skipped" not in report.run_heading(whole)
    for way, said in (("cut", ", 23 sentences cut"), ("drop", ", 23 sentences dropped")):
        options = {**SIZES, "max_length": 4, "too_long": way, "latent_dim": 0}
        heading = report.run_heading(recipes.start(corpus, options, tmp_path / way))
        assert f" to train on{said}\nlanguage model, " in heading


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mine", "mine, "),
        ("ptb", "Penn Treebank, "),
        ("grammar", "EMBEDDED CORPUS (made by a grammar, no real text), "),
    ],
)
def test_an_evaluation_is_marked_with_its_corpus(diagnosed, name, shown):
    run = replace(diagnosed, corpus=replace(diagnosed.corpus, name=name), evaluation=TERMS)
    assert report.evaluation(run, β=1.0).split("\n") == [
        f"{shown}test split: 3,761 sentences of 82,430 tokens, nats per sentence",
        "  rec    KL   −ELBO  ELBO-PPL   AU  active dims     β",
        "98.50  4.25  102.75    119.00  2/3            3  1.00",
        "KL per dimension │█▁ │ 3 dimensions, largest 4.000 nats",
    ]


def of_texts(run: LoadedRun, *texts: str) -> LoadedRun:
    splits = {"test": {"text": list(texts)}}
    return replace(run, corpus=Corpus("mine", splits, "source", {}), evaluation=TERMS)


FOUND = Verdict("healthy", "All is well.", "Go on.")


def test_the_closing_ends_with_commands_that_can_be_pasted(diagnosed):
    texts = "it 's a $ N; profit for the company", "prices fell again at the end of it"
    run = of_texts(diagnosed, *texts)
    text = report.closing(run, RESULTS, recipes.examples_of(run), "my runs/1", FOUND)
    assert "\n\nverdict: healthy\nAll is well.\nnext: Go on.\n\n" in text
    assert "3 (best 2)" in text
    assert text.split("\n")[-5:] == [
        "the run is in my runs/1; go on with",
        "  textvae diagnose 'my runs/1'",
        "  textvae sample 'my runs/1' -n 10 --seed 1",
        "  textvae reconstruct 'my runs/1' 'it '\"'\"'s a $ N; profit for the company'",
        "  textvae interpolate 'my runs/1' 'it '\"'\"'s a $ N; profit for the company' "
        "'prices fell again at the end of it'",
    ]
    run = of_texts(diagnosed, " ".join(["word"] * 15), "prices")
    closing = report.closing(run, RESULTS, recipes.examples_of(run), "run", FOUND)
    assert closing.endswith(f"  textvae interpolate run '{'word ' * 9}word' prices")
    for only in ("hm", "a sentence that would fit a line"):  # one sentence is enough
        run = of_texts(diagnosed, only)
        closing = report.closing(run, RESULTS, recipes.examples_of(run), "run", FOUND)
        assert closing.count(only) >= 4


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.0, 3.0], "2.00 ± 1.41"),  # √2: n − 1, not n
        ([5], "5.0"),  # of one there is no deviation
        ([0.01, 0.03], "0.020 ± 0.014"),  # a small KL has more digits
        ([-0.01, -0.03], "-0.020 ± 0.014"),
        ([0.1], "0.10"),
        ([0.0], "0.000"),
        ([3.0, None, 5.0], "4.00 ± 1.41"),  # what is not known does not count
        ([None, None], ""),
    ],
)
def test_a_spread(values, shown):
    assert report.text.spread(values) == shown


def test_a_summary_has_a_line_for_each_configuration_and_is_a_table_in_markdown():
    rows = [
        {"name": "linear", "kl": 2.0, "au": 3},
        {"name": "none", "kl": 0.0, "au": None},
        {"name": "linear", "kl": 4.0, "au": 4},
    ]
    lines = report.text.summary(rows, {"KL": "kl", "units": "au"})
    assert lines == [
        {"": "linear", "seeds": "2", "KL": "3.00 ± 1.41", "units": "3.5 ± 0.7"},
        {"": "none", "seeds": "1", "KL": "0.000", "units": ""},
    ]
    assert report.text.markdown(lines).split("\n") == [
        "|  | seeds | KL | units |",
        "| --- | --- | --- | --- |",
        "| linear | 2 | 3.00 ± 1.41 | 3.5 ± 0.7 |",
        "| none | 1 | 0.000 |  |",
    ]
    assert report.text.markdown(report.text.summary([], {"KL": "kl"})) == ""


SAMPLES = TextFigures(
    *(1000, 61.234, (0.0512, 0.3, 0.5, 0.75), 0.002, 0.998, 0.25),
    *(17.125, 1.5, 0.0625),  # of lengths
)
REAL = replace(SAMPLES, self_bleu=58.5, distinct=(0.06, 0.31, 0.52, 1.0), duplicates=0.0)
QUALITY = Quality(
    *("runs/mine-1", "grammar", "test", 3, 0.9, SAMPLES, REAL),
    ReconstructionFigures(1000, 34.567, 0.0125),
    Perplexities("runs/lm", 3.95, 4.251),
    0.875,
)


def test_the_text_of_a_quality():
    lines = report.text.quality_text(QUALITY).split("\n")
    assert lines[0].startswith("runs/mine-1: EMBEDDED CORPUS (made by a grammar, no real text), ")
    assert lines[0].endswith("), test split, temperature 0.9, seed 3")
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
    for line in lines[2:17]:
        assert any(word in line for word in ("best", "better", "below real", "above real")), line
        assert len(line) <= 120
    assert len(lines) == 17


def test_the_parts_of_a_quality_that_may_be_missing():
    bare = replace(QUALITY, corpus="mine", reconstruction=None, perplexities=None, grammatical=None)
    lines = report.text.quality_text(bare).split("\n")
    assert lines[0].startswith("runs/mine-1: mine, test split")
    assert (len(lines), lines[-1][:15]) == (13, "length distance")
    text = report.text.quality_text(QUALITY)
    few = report.text.quality_text(replace(QUALITY, real=replace(REAL, num_sentences=20)))
    warning = "The split has fewer sentences than there are samples"
    assert (warning in few, warning in text) == (True, False)
