"""Tests of `textvae.report`: the parts that need no run; the rest is in `test_recipes.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from textvae import report
from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer


def test_a_table_is_aligned_to_the_right() -> None:
    rows = [
        {"rec": 101.2345, "AU": "3/32", "note": "collapsed"},
        {"rec": 5.0, "AU": 12, "note": "β"},
    ]
    assert report.table(rows).split("\n") == [
        "   rec    AU       note",
        "101.23  3/32  collapsed",
        "  5.00    12          β",
    ]


def test_a_heading_may_be_wider_than_its_column() -> None:
    assert report.table([{"active dimensions": 3}]) == "active dimensions\n                3"


def test_a_table_of_nothing() -> None:
    assert report.table([]) == ""


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
def test_kl_bars(kl_per_dim: list[float], bars: str) -> None:
    assert report.kl_bars(kl_per_dim) == bars


def test_examples(tiny_model: SentenceVAE, texts: list[str]) -> None:
    lines = report.examples(tiny_model, texts[:4], seed=1).split("\n")
    assert lines[0] == "samples from the prior"
    assert lines[6:8] == ["", "reconstructions (through the posterior mean, greedy)"]
    shown = lines[8:14]
    assert shown[::2] == [f"  {text}" for text in texts[:3]]
    assert all(line.startswith("  → ") for line in shown[1::2])
    assert lines[14:16] == ["", f"interpolation between “{texts[0]}” and “{texts[3]}”"]
    assert len(lines[16:]) == 5
    assert lines[16][2:] == lines[9][4:]  # an end of the line is its sentence's reconstruction
    assert lines == report.examples(tiny_model, texts[:4], seed=1).split("\n")
    assert lines[1:6] != report.examples(tiny_model, texts[:4], seed=2).split("\n")[1:6]


def test_a_language_model_has_samples_only(
    make_model: Callable[..., Any], word_tokenizer: Tokenizer, texts: list[str]
) -> None:
    model = make_model(word_tokenizer.vocab_size, tokenizer=word_tokenizer, latent_dim=0)
    assert len(report.examples(model, texts).split("\n")) == 6
