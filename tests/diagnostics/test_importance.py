"""The importance-weighted NLL: exact answers, a plain loop, and what happens if it is cut short."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from tests.diagnostics.models import NUM_TOKENS, LinearGaussian, Written, interrupting
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.diagnostics import evaluate, importance_nll
from textvae.model import Posterior, SentenceVAE

MakeModel = Callable[..., SentenceVAE]
Batches = Callable[..., list[Batch]]


def spread(model: Any, batches: list[Batch], num_samples: int, seeds: int) -> tuple[float, float]:
    """Mean of estimates from so many seeds, and its standard error."""
    found = [
        importance_nll(model, batches, num_samples=num_samples, seed=seed, max_tokens=10**5).nll
        for seed in range(seeds)
    ]
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(seeds))


@pytest.mark.parametrize("num_samples", [1, 2, 7, 500])
def test_the_exact_posterior_gives_the_exact_marginal_with_any_k(
    batches: Batches, num_samples: int
) -> None:
    model = LinearGaussian()
    result = importance_nll(model, batches(), num_samples=num_samples)
    torch.testing.assert_close(result.per_sentence, model.exact, atol=1e-9, rtol=0)
    assert result.nll == pytest.approx(model.exact.mean().item(), abs=1e-9)
    assert result.effective_samples == pytest.approx(num_samples)


@pytest.mark.parametrize("options", [{"shift": 0.3, "widen": 1.3}, {"laplace": True, "widen": 1.2}])
def test_a_wrong_posterior_comes_to_the_exact_marginal(
    batches: Batches, options: dict[str, Any]
) -> None:
    model = LinearGaussian(**options)
    errors = []
    for num_samples in (100, 1600):
        mean, error = spread(model, batches(), num_samples, seeds=40)
        assert abs(mean - model.exact.mean()) < 4 * error + 1 / num_samples
        result = importance_nll(model, batches(), num_samples=num_samples)
        assert 0.3 * num_samples < result.effective_samples < 0.95 * num_samples
        errors.append(error)
    # Sixteen times the samples, a fourth of the error.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.4)


def test_a_decoder_with_its_latent_enumerated(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(latent_dim=1)
    grid = torch.linspace(-12, 12, 2001)
    with torch.no_grad():
        log_p = model.log_likelihood(batches()[0], grid[:, None, None].expand(-1, 8, 1))
    log_joint = log_p.double() + Normal(0.0, 1.0).log_prob(grid.double())[:, None]
    exact = -(log_joint.logsumexp(0) + math.log(24 / 2000))
    mean, error = spread(model, batches(), 1000, seeds=10)
    assert abs(mean - exact.mean()) < 4 * error + 2e-3
    assert mean == pytest.approx(exact.mean().item(), abs=0.05)
    result = importance_nll(model, batches(), num_samples=1000)
    assert result.effective_samples > 20, "else the posterior misses everything"


def test_a_language_model_is_measured_exactly_in_one_pass(
    make_model: MakeModel, batches: Batches
) -> None:
    model = make_model(latent_dim=0)
    evaluation = evaluate(model, batches(), 8)
    result = importance_nll(model, batches(), num_samples=500)
    assert result.nll == pytest.approx(evaluation.rec, rel=1e-6)
    assert result.ppl == pytest.approx(evaluation.elbo_ppl, rel=1e-6)
    assert (result.num_samples, result.effective_samples) == (1, 1)


@pytest.mark.parametrize("num_samples", [1, 5])
@pytest.mark.parametrize("max_tokens", [1, 17, 1000])
def test_it_equals_a_plain_loop(
    make_model: MakeModel, batches: Batches, num_samples: int, max_tokens: int
) -> None:
    model, seed = make_model(), 4
    result = importance_nll(
        model,
        batches([[3, 0, 5], [1, 2], [7, 6, 4]]),
        num_samples=num_samples,
        seed=seed,
        max_tokens=max_tokens,
    )
    prior, nll, effective = Normal(0.0, 1.0), np.zeros(8), []
    for i in range(8):
        batch = batches([[i]])[0]
        stream, weights = np.random.default_rng([seed, 0, i]), []
        for _ in range(num_samples):
            with torch.no_grad():
                posterior = model.encode(batch)
                q = Normal(posterior.mean, posterior.variance.sqrt())
                z = q.mean + q.stddev * torch.tensor(stream.standard_normal(3)).float()
                log_joint = model.log_likelihood(batch, z) + prior.log_prob(z).sum()
            weights.append(math.exp(log_joint.item() - q.log_prob(z).sum().item()))
        nll[i] = -math.log(sum(weights) / num_samples)
        effective.append(sum(weights) ** 2 / sum(w * w for w in weights))

    assert result.per_sentence.tolist() == pytest.approx(nll.tolist(), abs=1e-4)
    assert result.per_sentence.dtype == torch.float64
    assert result.nll == pytest.approx(nll.mean(), abs=1e-4)
    assert result.ppl == pytest.approx(math.exp(nll.sum() / NUM_TOKENS), rel=1e-4)
    assert result.bits_per_token == pytest.approx(math.log2(result.ppl))
    assert result.effective_samples == pytest.approx(np.mean(effective), rel=1e-4)
    assert 1 <= result.effective_samples <= num_samples
    assert result.se == pytest.approx(nll.std(ddof=1) / math.sqrt(8), rel=1e-4)
    assert result.indices.tolist() == list(range(8))
    assert (result.num_samples, result.num_sentences) == (num_samples, 8)
    assert (result.num_tokens, result.is_partial) == (NUM_TOKENS, False)


def test_neither_batches_nor_order_nor_chunks_matter(
    make_model: MakeModel, batches: Batches, cut: list[list[int]]
) -> None:
    model = make_model(word_dropout=0.5, embedding_dropout=0.5, output_dropout=0.5).train()
    once = importance_nll(model, batches(), num_samples=11, max_tokens=10**6)
    for max_tokens in (20, None):
        again = importance_nll(model, batches(cut), num_samples=11, max_tokens=max_tokens)
        assert again.indices.equal(once.indices)
        torch.testing.assert_close(again.per_sentence, once.per_sentence, atol=1e-4, rtol=0)
        assert again.effective_samples == pytest.approx(once.effective_samples, rel=1e-4)
        assert (again.se, again.num_tokens) == (pytest.approx(once.se, rel=1e-4), once.num_tokens)


def test_no_more_tokens_are_decoded_at_once_than_allowed(batches: Batches) -> None:
    longest = batches()[0].input_ids.shape[1]
    for max_tokens in (7, 20, 100, 1000):
        model = LinearGaussian()
        importance_nll(model, batches(), num_samples=30, max_tokens=max_tokens)
        assert max(model.tokens_at_once) <= max_tokens
        assert sum(model.tokens_at_once) == 30 * 8 * longest, "each sample of each sentence once"
    # A sentence alone is longer than allowed: it goes through all the same.
    importance_nll(model := LinearGaussian(), batches(), num_samples=3, max_tokens=1)
    assert model.tokens_at_once == [longest] * 3 * 8


@pytest.mark.parametrize("done", [1, 2, 3])
def test_what_is_cut_short_is_right_of_what_was_measured(
    make_model: MakeModel, batches: Batches, done: int
) -> None:
    model = make_model(word_dropout=0.3).train()
    cut = batches([[2, 6], [3], [0, 1, 7], [4, 5]])
    full = importance_nll(model, cut, num_samples=9, seed=3)
    partial = importance_nll(model, cut, num_samples=9, seed=3, progress=interrupting(done))
    assert model.training
    assert partial.is_partial
    measured = partial.indices.tolist()
    assert partial.num_sentences == len(measured) == len(partial.per_sentence) < 8
    assert any(set(measured) >= set(batch.indices.tolist()) for batch in cut)
    torch.testing.assert_close(partial.per_sentence, full.per_sentence[partial.indices])
    alone = importance_nll(model, batches([measured]), num_samples=9, seed=3)
    for name in ("nll", "ppl", "effective_samples", "num_tokens"):
        assert getattr(partial, name) == pytest.approx(getattr(alone, name), rel=1e-5), name


def test_it_may_be_cut_short_inside_a_batch(make_model: MakeModel, batches: Batches) -> None:
    model, calls = make_model(), []

    def encode(batch: Batch) -> Posterior:
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return SentenceVAE.encode(model, batch)

    model.encode = encode  # type: ignore[method-assign]
    result = importance_nll(model, batches([[0, 1], [2, 3], [4, 5], [6, 7]]), num_samples=3)
    assert (result.is_partial, result.num_sentences) == (True, 4)
    with pytest.raises(KeyboardInterrupt):
        importance_nll(Written([1.0] * 8), batches(), progress=interrupting(0))


def test_the_error_of_a_part_covers_that_batches_are_of_like_sentences(
    make_batch: Callable[..., Batch],
) -> None:
    # 40 batches of 2 to 6 alike sentences; many parts of 12 batches each.
    random = np.random.default_rng(0)
    sizes = random.integers(2, 7, 40)
    starts = np.concatenate([[0], sizes.cumsum()])
    values = np.repeat(random.normal(100, 30, 40), sizes) + random.normal(0, 3, sizes.sum())
    split = [
        make_batch([[4]] * size, indices=range(start, start + size))
        for size, start in zip(sizes.tolist(), starts[:-1].tolist(), strict=True)
    ]
    model = Written(values.tolist())
    parts = [
        importance_nll(model, split, seed=seed, progress=interrupting(12)) for seed in range(150)
    ]
    spread_of_parts = np.std([part.nll for part in parts])
    within = values.var(ddof=1) / len(values)
    claimed = math.sqrt(np.mean([part.se**2 for part in parts]) - within)
    assert claimed == pytest.approx(spread_of_parts, rel=0.2)
    naive = np.mean([part.per_sentence.std() / math.sqrt(part.num_sentences) for part in parts])
    assert claimed > 1.3 * naive, "else the case does not tell"
    assert importance_nll(model, split).se == pytest.approx(math.sqrt(within))


def test_what_one_alone_cannot_tell_is_infinite(batches: Batches) -> None:
    one_sentence = importance_nll(Written([1.0] * 8), batches([[3]]))
    assert (one_sentence.nll, one_sentence.se) == (1.0, math.inf)
    model = Written([1.0, 2.0] * 4)
    cut = batches([[0, 1], [2, 3], [4, 5]])
    assert importance_nll(model, cut, progress=interrupting(1)).se == math.inf
    assert importance_nll(model, cut, progress=interrupting(2)).se < math.inf
    assert importance_nll(model, batches([[0, 1]])).se == pytest.approx(0.5)


def test_a_hopeless_model_overflows_nothing(batches: Batches) -> None:
    model = LinearGaussian()
    model.x = model.x * 1e4
    result = importance_nll(model, batches(), num_samples=10)
    torch.testing.assert_close(result.per_sentence, model.exact, atol=0, rtol=1e-9)
    assert result.ppl == math.inf


@pytest.mark.parametrize(
    ("argument", "value", "least"),
    [("num_samples", 0, 1), ("num_samples", -5, 1), ("seed", -1, 0), ("max_tokens", 0, 1)],
)
def test_arguments_out_of_range_are_refused(
    batches: Batches, argument: str, value: int, least: int
) -> None:
    with pytest.raises(InputError, match=f"{argument} must be at least {least}, got {value}"):
        importance_nll(Written([1.0] * 8), batches(), **{argument: value})
    with pytest.raises(InputError, match="there is no sentence to evaluate on"):
        importance_nll(Written([]), [])
