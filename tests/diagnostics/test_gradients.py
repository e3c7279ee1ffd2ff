"""Tests of `textvae.diagnostics.gradients`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import get_total_norm

from textvae.batches import Batch
from textvae.diagnostics import gradient_norms
from textvae.diagnostics.gradients import gradient_norm
from textvae.losses import objective
from textvae.model import SentenceVAE

SHAPES: list[dict[str, Any]] = [
    {},
    {"tied_embeddings": True},
    {"encoder_num_layers": 2, "bidirectional": True, "decoder_num_layers": 2},
    {"encoder_cell": "lstm", "decoder_cell": "gru", "latent_to": "state"},
]


def with_gradients(
    make_model: Callable[..., SentenceVAE], make_batch: Callable[..., Batch], **arguments: Any
) -> SentenceVAE:
    model = make_model(**arguments)
    out = model(make_batch([[5, 6, 7], [8, 9], [10]]))
    terms = objective(out.terms, out.posterior.kl())
    (terms.rec + terms.kl_objective).backward()
    return model


@pytest.mark.parametrize("arguments", SHAPES)
def test_the_parts_make_up_the_whole(
    make_model: Callable[..., SentenceVAE],
    make_batch: Callable[..., Batch],
    arguments: dict[str, Any],
) -> None:
    model = with_gradients(make_model, make_batch, **arguments)
    total, encoder, decoder = gradient_norms(model)
    assert all(norm.ndim == 0 and norm > 0 for norm in (total, encoder, decoder))
    torch.testing.assert_close(total**2, encoder**2 + decoder**2)

    def expected(is_wanted: Callable[[str], bool]) -> torch.Tensor:
        return get_total_norm(
            [p.grad for n, p in model.named_parameters() if is_wanted(n) and p.grad is not None]
        )

    torch.testing.assert_close(total, expected(lambda name: True))
    torch.testing.assert_close(decoder, expected(lambda name: name.split(".")[0] == "decoder"))
    torch.testing.assert_close(encoder, expected(lambda name: name.split(".")[0] != "decoder"))
    torch.testing.assert_close(gradient_norm(model), total)


def test_a_language_model_has_no_encoder(
    make_model: Callable[..., SentenceVAE], make_batch: Callable[..., Batch]
) -> None:
    total, encoder, decoder = gradient_norms(with_gradients(make_model, make_batch, latent_dim=0))
    assert encoder == 0
    assert total == decoder > 0


def test_a_frozen_part_counts_as_nothing(
    make_model: Callable[..., SentenceVAE], make_batch: Callable[..., Batch]
) -> None:
    model = with_gradients(make_model, make_batch)
    model.decoder.zero_grad()
    total, encoder, decoder = gradient_norms(model)
    assert decoder == 0
    assert total == encoder > 0


def test_without_gradients_all_are_0(make_model: Callable[..., SentenceVAE]) -> None:
    assert [float(norm) for norm in gradient_norms(make_model())] == [0, 0, 0]
    assert float(gradient_norm(nn.Linear(2, 2))) == 0


def test_a_norm_by_hand() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[2.0, 3.0]]), torch.tensor([6.0])
    assert float(gradient_norm(layer)) == 7  # √(4 + 9 + 36)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_what_is_not_finite_shows_in_the_whole(
    make_model: Callable[..., SentenceVAE], make_batch: Callable[..., Batch], part: str
) -> None:
    model = with_gradients(make_model, make_batch)
    parameter = next(getattr(model, part).parameters())
    assert parameter.grad is not None
    parameter.grad.view(-1)[0] = torch.inf
    assert not torch.isfinite(gradient_norms(model).total)
