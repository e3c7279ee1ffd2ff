"""Norms of gradients, whole and by part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from textvae.batches import Batch
from textvae.diagnostics import gradient_norm, gradient_norms
from textvae.model import SentenceVAE


@pytest.fixture
def trained(
    make_model: Callable[..., SentenceVAE], make_batch: Callable[..., Batch]
) -> Callable[..., SentenceVAE]:
    def backward(**arguments: Any) -> SentenceVAE:
        model = make_model(**arguments)
        out = model(make_batch([[5, 6, 7], [8, 9], [10]]))
        (out.terms["rec"].sum() + out.posterior.kl().sum()).backward()
        return model

    return backward


@pytest.mark.parametrize(
    "arguments", [{}, {"tied_embeddings": True}, {"bidirectional": True, "decoder_num_layers": 2}]
)
def test_the_parts_make_up_the_whole(trained: Any, arguments: dict[str, Any]) -> None:
    model = trained(**arguments)
    total, encoder, decoder = gradient_norms(model)
    assert all(norm.ndim == 0 and norm > 0 for norm in (total, encoder, decoder))
    torch.testing.assert_close(total**2, encoder**2 + decoder**2)
    torch.testing.assert_close(gradient_norm(model), total)
    of_decoder = [p.grad for p in model.decoder.parameters() if p.grad is not None]
    torch.testing.assert_close(decoder, get_total_norm(of_decoder))
    torch.testing.assert_close(clip_grad_norm_(model.parameters(), 1.0), total)
    assert gradient_norm(model).item() == pytest.approx(1, rel=1e-4)


def test_a_part_without_gradients_counts_as_nothing(trained: Any, make_model: Any) -> None:
    total, encoder, decoder = gradient_norms(trained(latent_dim=0))
    assert (encoder, total) == (0, decoder)
    assert [float(norm) for norm in gradient_norms(make_model())] == [0, 0, 0]
    assert float(gradient_norm(nn.Linear(2, 2))) == 0


def test_what_is_not_finite_shows_in_the_whole(trained: Any) -> None:
    model = trained()
    next(model.encoder.parameters()).grad.view(-1)[0] = torch.inf
    assert not torch.isfinite(gradient_norms(model).total)
