"""Tests of `textvae.report.text`: what is said of a run before and after its training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.conftest import SIZES
from textvae import recipes, report
from textvae.corpus import Corpus
from textvae.diagnostics import Evaluation
from textvae.recipes import LoadedRun

TERMS = Evaluation(98.5, 4.25, -102.75, 119.0, 1.5, 7.6, 2, 3, [4.0, 0.25, 0.0], 3761, 82430)
RESULTS = {"beta": 1.0, "epochs": 3, "best_epoch": 2, "minutes": 0.5}


def test_the_heading_says_what_was_left_out(corpus: Corpus, tmp_path: Path) -> None:
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
def test_an_evaluation_is_marked_with_its_corpus(
    diagnosed: LoadedRun, name: str, shown: str
) -> None:
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


def test_the_closing_ends_with_commands_that_can_be_pasted(diagnosed: LoadedRun) -> None:
    run = of_texts(
        diagnosed, "it 's a $ N; profit for the company", "prices fell again at the end of it"
    )
    text = report.closing(run, RESULTS, recipes.examples_of(run), "my runs/1")
    assert "3 (best 2)" in text
    assert text.split("\n")[-5:] == [
        "the run is in my runs/1; go on with",
        "  textvae diagnose 'my runs/1'",
        "  textvae sample 'my runs/1' -n 10 --seed 1",
        "  textvae reconstruct 'my runs/1' 'it '\"'\"'s a $ N; profit for the company'",
        "  textvae interpolate 'my runs/1' 'it '\"'\"'s a $ N; profit for the company' "
        "'prices fell again at the end of it'",
    ]


@pytest.mark.parametrize("text", ["hm", "a sentence that would fit a line"])
def test_a_closing_needs_no_more_than_one_sentence(diagnosed: LoadedRun, text: str) -> None:
    run = of_texts(diagnosed, text)
    assert report.closing(run, RESULTS, recipes.examples_of(run), "run").count(text) >= 4
