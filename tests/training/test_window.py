"""Tests of `textvae.training.window`."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from textvae.batches import Batch
from textvae.diagnostics import GradientNorms
from textvae.losses import ELBOTerms
from textvae.training.shares import Share
from textvae.training.window import Means, Window

MakeBatch = Callable[..., Batch]


def add(
    window: Window,
    make_batch: MakeBatch,
    step: int,
    *,
    sentences: int = 2,
    rec: float = 1.0,
    kl: float = 1.0,
    loss: float = 2.0,
    norm: float = 1.0,
) -> None:
    batch = make_batch([[5, 6]] * sentences)  # and EOS: three tokens each
    share = Share(batch, sentences, batch.num_sentences, batch.num_tokens)
    terms = ELBOTerms(*(torch.tensor(float(value), requires_grad=True) for value in (rec, kl, kl)))
    window.add(
        step,
        share,
        torch.tensor(loss, requires_grad=True),
        terms,
        GradientNorms(*torch.tensor([norm, 3 * norm, 0.0])),
    )


def test_means_are_over_sentences_and_norms_over_steps(make_batch: MakeBatch) -> None:
    window = Window(torch.device("cpu"))
    add(window, make_batch, 1, sentences=3, rec=10, kl=1, norm=2)
    add(window, make_batch, 2, sentences=1, rec=30, kl=5, norm=4)
    assert window.read() == Means(15, 2, 3, 9, 0, num_tokens=12)


def test_reading_begins_anew(make_batch: MakeBatch) -> None:
    window = Window(torch.device("cpu"))
    add(window, make_batch, 1, rec=100)
    window.read()
    add(window, make_batch, 2, rec=7)
    assert window.read() == Means(7, 1, 1, 3, 0, num_tokens=6)


@pytest.mark.parametrize("broken", ["loss", "norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_step_that_is_not_finite(
    make_batch: MakeBatch, broken: str, value: float
) -> None:
    window = Window(torch.device("cpu"))
    add(window, make_batch, 1)
    assert window.first_bad_step is None
    add(window, make_batch, 2, **{broken: value})
    add(window, make_batch, 3, loss=math.nan)
    add(window, make_batch, 4)
    assert window.first_bad_step == 2
    window.read()
    assert window.first_bad_step == 2  # reading does not forgive


def test_continued_from_its_state_it_reads_the_same(make_batch: MakeBatch) -> None:
    window, resumed = Window(torch.device("cpu")), Window(torch.device("cpu"))
    add(window, make_batch, 1, sentences=3, rec=0.1, kl=0.3, norm=0.7)
    state = window.state_dict()
    resumed.load_state_dict({**state, "sums": [s.clone() for s in state["sums"]]})
    for each in (window, resumed):
        add(each, make_batch, 2, rec=0.2)
    assert resumed.read() == window.read()
