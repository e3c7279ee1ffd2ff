"""What the decoder takes from z."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from tests.diagnostics.models import Listener, ablated
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.diagnostics import Ablation, evaluate
from textvae.model import SentenceVAE

MakeModel = Callable[..., SentenceVAE]
Batches = Callable[..., list[Batch]]


def means(sentences: int) -> Tensor:
    return torch.arange(float(sentences))[:, None] * torch.tensor([1.0, -2.0]) + 1


def heard(model: Listener) -> Tensor:
    """The four z that each sentence was decoded with, (4, M, Z)."""
    return torch.stack([model.heard[i] for i in range(len(model.nll))], 1)


def test_figures_by_hand(batches: Batches) -> None:
    # Two sentences can only exchange their z: (1, 1) and (2, -1) lie √5 apart.
    model = Listener(torch.tensor([[1.0, 1.0], [2.0, -1.0]]))
    result = ablated(model, batches([[0], [1]]), 2)
    assert result.own == pytest.approx(0, abs=1e-6)
    assert result.shuffled == pytest.approx(5)
    assert result.zero == pytest.approx((2 + 5) / 2)
    assert result.used == result.shuffled - result.own
    drawn = heard(model)[2]
    assert result.prior == pytest.approx(
        (drawn - model.posterior.mean).square().sum(-1).mean().item()
    )


@pytest.mark.parametrize("sentences", [2, 3, 8, 200])
def test_everyone_is_given_the_z_of_one_other(
    make_batch: Callable[..., Batch], sentences: int
) -> None:
    for seed in range(10):
        model = Listener(means(sentences))
        cut = [make_batch([[4]], indices=[i]) for i in range(sentences)]
        ablated(model, cut, sentences, seed=seed)
        own, shuffled = heard(model)[:2]
        nearest = torch.cdist(shuffled, own).argmin(1)
        torch.testing.assert_close(shuffled, own[nearest])
        assert (nearest != torch.arange(sentences)).all(), "nobody keeps their own"
        assert nearest.sort().values.tolist() == list(range(sentences)), "each is given once"


def test_draws_from_the_prior_are_standard_normal(make_batch: Callable[..., Batch]) -> None:
    model = Listener(torch.zeros(2000, 2))
    ablated(model, [make_batch([[4]] * 2000)], 2000)
    own, _, prior, zero = heard(model)
    torch.testing.assert_close(prior.std(0), torch.ones(2), atol=0.1, rtol=0)
    assert (prior * own / own.std(0)).mean(0).abs().max() < 0.1, "other draws than z's own"
    assert prior.mean(0).abs().max() < 0.1
    assert zero.eq(0).all()


def test_own_is_the_rec_of_an_evaluation(make_model: MakeModel, batches: Batches) -> None:
    model = make_model()  # 8 · 3 draws: no multiple of 16, at which the generator works
    for seed in (0, 3):
        result = ablated(model, batches([[0, 3], [1, 2, 5], [4, 6, 7]]), 8, seed=seed)
        assert result.own == pytest.approx(evaluate(model, batches(), 8, seed=seed).rec, rel=1e-6)


def test_neither_batch_size_nor_order_matter(
    make_model: MakeModel, batches: Batches, cut: list[list[int]]
) -> None:
    model = make_model(word_dropout=0.5, embedding_dropout=0.5, output_dropout=0.5).train()
    once = ablated(model, batches(), 8)
    assert len({once.own, once.shuffled, once.prior, once.zero}) == 4
    assert asdict(ablated(model, batches(cut), 8)) == pytest.approx(asdict(once), abs=1e-4)
    assert ablated(model, batches(), 8, seed=1) != once


def test_a_decoder_without_z_takes_nothing_from_it(make_model: MakeModel, batches: Batches) -> None:
    deaf = make_model(latent_to="state")
    assert abs(ablated(deaf, batches(), 8).used) > 0.01
    with torch.no_grad():
        deaf.decoder.latent_to_cell.weight.zero_()
    for model in (deaf, make_model(latent_dim=0)):
        result = ablated(model, batches(), 8)
        assert result == Ablation(result.own, result.own, result.own, result.own)


def test_one_sentence_has_no_other(batches: Batches) -> None:
    with pytest.raises(InputError, match="num_sentences must be at least 2, got 1"):
        ablated(Listener(means(1)), batches([[0]]), 1)
