"""Tests of `textvae.diagnostics.ablation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from textvae.batches import Batch
from textvae.diagnostics import evaluate
from textvae.diagnostics.ablation import Ablation, z_ablation
from textvae.model import Gaussian, Posterior, SentenceVAE

SENTENCES = [[5, 6, 7, 4], [8], [], [9, 4, 4, 9, 5, 6], [6, 5], [7, 7, 7], [4], [12, 11, 10]]

MakeModel = Callable[..., SentenceVAE]
Batches = Callable[..., list[Batch]]


@pytest.fixture
def batches(make_batch: Callable[..., Batch]) -> Batches:
    """Cuts `SENTENCES`, by position, into batches."""

    def cut(positions: Sequence[Sequence[int]] = (range(8),)) -> list[Batch]:
        return [make_batch([SENTENCES[i] for i in part], indices=part) for part in positions]

    return cut


class Listener(nn.Module):
    """−log p(x|z) = ‖z − mu(x)‖², means by hand, next to no variance; notes what z it gets."""

    device = torch.device("cpu")

    def __init__(self, mu: Tensor) -> None:
        super().__init__()
        self.mu, self.latent_dim = mu, mu.shape[1]
        self.heard = torch.full((4, *mu.shape), torch.nan)

    def encode(self, batch: Batch) -> Posterior:
        mu = self.mu[batch.indices]
        return Gaussian(mu, torch.full_like(mu, -40.0))

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        self.heard[:, batch.indices] = z
        return -(z - self.mu[batch.indices]).square().sum(-1)


def means(sentences: int) -> Tensor:
    return torch.arange(float(sentences))[:, None] * torch.tensor([1.0, -2.0]) + 1


def test_figures_by_hand(batches: Batches) -> None:
    # Two sentences can only exchange their z: (1, 1) and (2, -1) lie √5 apart.
    model = Listener(torch.tensor([[1.0, 1.0], [2.0, -1.0]]))
    result = z_ablation(model, batches([[0], [1]]), 2)
    assert result.own == pytest.approx(0, abs=1e-6)
    assert result.shuffled == pytest.approx(5)
    assert result.zero == pytest.approx((2 + 5) / 2)
    assert result.used == result.shuffled - result.own
    drawn = model.heard[2]
    assert result.prior == pytest.approx((drawn - model.mu).square().sum(-1).mean().item())


@pytest.mark.parametrize("sentences", [2, 3, 8, 200])
def test_everyone_is_given_the_z_of_one_other(
    make_batch: Callable[..., Batch], sentences: int
) -> None:
    for seed in range(10):
        model = Listener(means(sentences))
        cut = [make_batch([[4]], indices=[i]) for i in range(sentences)]
        z_ablation(model, cut, sentences, seed=seed)
        own, shuffled = model.heard[:2]
        nearest = torch.cdist(shuffled, own).argmin(1)
        torch.testing.assert_close(shuffled, own[nearest])
        assert (nearest != torch.arange(sentences)).all(), "nobody keeps their own"
        assert nearest.sort().values.tolist() == list(range(sentences)), "each is given once"


def test_draws_from_the_prior_are_standard_normal(make_batch: Callable[..., Batch]) -> None:
    model = Listener(means(2000))
    z_ablation(model, [make_batch([[4]] * 2000)], 2000)
    prior = model.heard[2]
    assert prior.mean(0).abs().max() < 0.1
    torch.testing.assert_close(prior.std(0), torch.ones(2), atol=0.1, rtol=0)
    assert model.heard[3].eq(0).all()


def test_own_is_the_rec_of_an_evaluation(make_model: MakeModel, batches: Batches) -> None:
    model = make_model()  # 8 · 3 draws: no multiple of 16, at which the generator works
    for seed in (0, 3):
        result = z_ablation(model, batches([[0, 3], [1, 2, 5], [4, 6, 7]]), 8, seed=seed)
        assert result.own == pytest.approx(evaluate(model, batches(), 8, seed=seed).rec, rel=1e-6)


def test_zero_equals_a_plain_loop(make_model: MakeModel, batches: Batches) -> None:
    model = make_model()
    single = (model.log_likelihood(batches([[i]])[0], torch.zeros(1, 3)) for i in range(8))
    expected = -sum(value.item() for value in single) / 8
    assert z_ablation(model, batches(), 8).zero == pytest.approx(expected, rel=1e-6)


def test_neither_batch_size_nor_order_matter(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(word_dropout=0.5, embedding_dropout=0.5, output_dropout=0.5).train()
    once = z_ablation(model, batches(), 8)
    assert len({once.own, once.shuffled, once.prior, once.zero}) == 4
    for cut in (
        [[7, 6, 5, 4, 3, 2, 1, 0]],
        [[i] for i in range(8)],
        [[2, 6], [3], [0, 1, 7], [4, 5]],
    ):
        result = z_ablation(model, batches(cut), 8)
        for name in ("own", "shuffled", "prior", "zero"):
            assert getattr(result, name) == pytest.approx(getattr(once, name), abs=1e-4), name
    assert z_ablation(model, batches(), 8, seed=1) != once


def test_a_decoder_deaf_to_z_takes_nothing_from_it(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(latent_to="state")
    assert abs(z_ablation(model, batches(), 8).used) > 0.01
    with torch.no_grad():
        model.decoder.latent_to_cell.weight.zero_()
    result = z_ablation(model, batches(), 8)
    assert result == Ablation(result.own, result.own, result.own, result.own)
    assert result.used == 0


def test_nothing_changes_for_a_language_model(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(latent_dim=0)
    result = z_ablation(model, batches(), 8)
    assert result == Ablation(result.own, result.own, result.own, result.own)
    assert result.own == pytest.approx(evaluate(model, batches(), 8).rec, rel=1e-6)


def test_it_leaves_no_trace(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(word_dropout=0.5)
    state = torch.random.get_rng_state()
    for mode in (True, False):
        model.train(mode)
        z_ablation(model, batches(), 8)
        assert {module.training for module in model.modules()} == {mode}
    assert torch.random.get_rng_state().equal(state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_the_hook_runs_before_every_batch_and_may_interrupt(
    make_model: MakeModel, batches: Batches
) -> None:
    model, calls = make_model().train(), []
    cut = batches([[0, 1], [2], [3, 4, 5, 6, 7]])
    z_ablation(model, iter(cut), 8, before_batch=lambda: calls.append(len(calls)))
    assert calls == [0, 1, 2]

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        z_ablation(model, cut, 8, before_batch=interrupt)
    assert model.training


@pytest.mark.parametrize("num_sentences", [0, 1])
def test_too_few_to_exchange_are_refused(
    make_model: MakeModel, batches: Batches, num_sentences: int
) -> None:
    with pytest.raises(ValueError, match=f"must be at least 2 to exchange z, got {num_sentences}"):
        z_ablation(make_model(), batches([[0]] * num_sentences), num_sentences)


def test_another_number_of_sentences_is_refused(make_model: MakeModel, batches: Batches) -> None:
    with pytest.raises(ValueError, match="batches must hold num_sentences = 9, got 8"):
        z_ablation(make_model(), batches(), 9)
