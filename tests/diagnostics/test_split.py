"""What all that goes through a split has in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.diagnostics.models import ablated
from textvae.batches import Batch
from textvae.diagnostics import diagnose, evaluate, importance_nll, posteriors
from textvae.model import SentenceVAE

ESTIMATORS: list[Callable[..., Any]] = [
    evaluate,
    posteriors,
    lambda model, batches, size: ablated(model, list(batches), size),
    lambda model, batches, num_sentences: importance_nll(model, batches, num_samples=2),
    lambda model, batches, num_sentences: diagnose(model, batches, num_sentences, num_samples=2),
]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_measuring_leaves_no_trace(
    estimate: Any, make_model: Callable[..., SentenceVAE], batches: Callable[..., list[Batch]]
) -> None:
    model = make_model(word_dropout=0.5)
    state = torch.random.get_rng_state()
    for mode in (True, False):
        model.train(mode)
        estimate(model, iter(batches([[0, 1, 2, 3], [4, 5, 6, 7]])), 8)
        assert {module.training for module in model.modules()} == {mode}
    assert torch.random.get_rng_state().equal(state), "training would depend on evaluation"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_the_mode_is_restored_after_an_interruption(
    estimate: Any,
    make_model: Callable[..., SentenceVAE],
    batches: Callable[..., list[Batch]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_model().train()

    def interrupt(batch: Batch) -> None:
        assert not model.training
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "encode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        estimate(model, batches(), 8)
    assert model.training
