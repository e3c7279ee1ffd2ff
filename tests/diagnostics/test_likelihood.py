"""ELBO, ablation and importance-weighted NLL of a split: exact answers, and plain loops."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tests.diagnostics.models import (
    NUM_TOKENS,
    SENTENCES,
    LinearGaussian,
    Listener,
    Written,
    ablated,
    any_cut,
    batches,
    interrupting,
    numbered,
)
from tests.draws import draws
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.diagnostics import (
    Ablation,
    Evaluation,
    diagnose,
    evaluate,
    importance_nll,
    perplexity,
    posteriors,
    standard_normal,
)
from textvae.model import Gaussian

NOISY = {"word_dropout": 0.5, "embedding_dropout": 0.5, "output_dropout": 0.5}

ESTIMATORS: list[Callable[..., Any]] = [
    evaluate,
    posteriors,
    lambda model, split, size: ablated(model, list(split), size),
    lambda model, split, size: importance_nll(model, split, num_samples=2),
    lambda model, split, size: diagnose(model, split, size, num_samples=2),
]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_measuring_leaves_no_trace(estimate, make_model, monkeypatch):
    model = make_model(word_dropout=0.5)
    state = torch.random.get_rng_state()
    for mode in (False, True):
        model.train(mode)
        estimate(model, iter(batches([[0, 1, 2, 3], [4, 5, 6, 7]])), 8)
        assert {module.training for module in model.modules()} == {mode}
    assert torch.random.get_rng_state().equal(state), "training would depend on evaluation"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()

    def interrupt(batch: Batch) -> None:
        assert not model.training
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "encode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        estimate(model, batches(), 8)
    assert model.training


@pytest.mark.parametrize(
    ("parts", "size", "message"),
    [
        ([[0, 1]], 3, "every sentence of the split once, got 2 of 3 in 2 rows"),
        ([[0, 1], [1]], 2, "once, got 2 of 2 in 3 rows"),
        ([[1, 2]], 2, "once, got 2 of 2 in 2 rows"),
        ([], 0, "there is no sentence to evaluate on"),
    ],
)
def test_every_sentence_must_come_once(parts, size, message):
    for estimate in (posteriors, evaluate):
        with pytest.raises(InputError, match=message):
            estimate(Written([1.0] * 8), batches(parts), size)


@any_cut
def test_posteriors_come_in_the_order_of_the_split(cut, make_model):
    model = make_model()
    found = posteriors(model, batches(cut), 8)
    assert not found.mean.requires_grad
    for i in range(8):
        alone = model.encode(batches([[i]])[0])
        torch.testing.assert_close(found.mean[i], alone.mean[0])
        torch.testing.assert_close(found.variance[i], alone.variance[0])


def test_the_elbo_equals_a_plain_loop(make_model):
    model = make_model()
    result = evaluate(model, batches([[3, 0, 5], [1, 2], [7, 6, 4]]), 8, seed=4)

    noise, rec, kl, tokens = draws(8, 3, seed=4), 0.0, torch.zeros(3), 0
    for i in range(8):
        batch = batches([[i]])[0]
        with torch.no_grad():
            encoded = model.encode(batch)
            posterior = Normal(encoded.mean[0], encoded.variance[0].sqrt())
            z = posterior.mean + posterior.stddev * noise[i]
            state = model.initial_state(z[None])
            for read, target in zip(batch.input_ids[0], batch.target_ids[0], strict=True):
                scores, state = model.step(read[None], state, z[None])
                rec -= scores.log_softmax(-1)[0, target].item() / 8
                tokens += 1
            kl += kl_divergence(posterior, Normal(0.0, 1.0)) / 8

    elbo = -rec - kl.sum().item()
    assert (tokens, len(SENTENCES)) == (result.num_tokens, result.num_sentences) == (NUM_TOKENS, 8)
    assert result.kl_per_dim == pytest.approx(kl.tolist(), rel=1e-5)
    found = (result.rec, result.kl, result.elbo, result.elbo_ppl)
    expected = (rec, kl.sum().item(), elbo, math.exp(-8 * elbo / NUM_TOKENS))
    assert found == pytest.approx(expected, rel=1e-5)


@any_cut
def test_neither_batch_size_nor_order_matter(make_model, cut):
    model = make_model(**NOISY).train()
    once = evaluate(model, batches(), 8).to_dict()
    torch.manual_seed(len(cut))
    found = evaluate(model, batches(cut), 8).to_dict()
    assert found == {key: pytest.approx(value, rel=1e-5) for key, value in once.items()}

    kinds = ablated(model, batches(), 8)
    assert len(set(asdict(kinds).values())) == 4
    assert asdict(ablated(model, batches(cut), 8)) == pytest.approx(asdict(kinds), abs=1e-4)
    assert ablated(model, batches(), 8, seed=1) != kinds

    nll = importance_nll(model, batches(), num_samples=11, max_tokens=10**6)
    for max_tokens in (20, None):
        again = importance_nll(model, batches(cut), num_samples=11, max_tokens=max_tokens)
        assert again.indices.equal(nll.indices)
        torch.testing.assert_close(again.per_sentence, nll.per_sentence, atol=1e-4, rtol=0)
        assert again.effective_samples == pytest.approx(nll.effective_samples, rel=1e-4)
        assert (again.se, again.num_tokens) == (pytest.approx(nll.se, rel=1e-4), nll.num_tokens)


def test_the_elbo_by_hand():
    # Sentences 0 and 1 predict 5 and 2 tokens.
    #   dimension 0: always the prior
    #   dimension 1: mean ±1, so KL ½ in each sentence, and variance 1 over the split
    #   dimension 2: mean always 2, KL 2: carries nothing, and yet it is not at the prior
    means = torch.tensor([[0.0, 1.0, 2.0], [0.0, -1.0, 2.0]])
    model = Written([3.0, 7.0], Gaussian(means, torch.zeros(2, 3)))
    result = evaluate(model, batches([[1, 0]]), 2, seed=5)
    # Only dimension 1 tells the two apart: with z = ±1 + noise, log q(z|own) − log q(z|other)
    # is 2 ± 2·noise, so sentence i gains log 2 − log(1 + exp(−(2 ± 2·noise_i))).
    noise = draws(2, 3, seed=5)[:, 1].tolist()
    gaps = [2 + 2 * noise[0], 2 - 2 * noise[1]]
    paired_by_hand = sum(math.log(2) - math.log1p(math.exp(-gap)) for gap in gaps) / 2
    assert result == Evaluation(
        rec=5.0,
        kl=2.5,
        elbo=-7.5,
        elbo_ppl=pytest.approx(math.exp(15 / 7)),  # both sentences' nats over both's tokens
        mi=pytest.approx(paired_by_hand),
        mi_max=pytest.approx(math.log(2)),
        au=1,
        active_dimensions=2,
        kl_per_dim=[0.0, 0.5, 2.0],
        num_sentences=2,
        num_tokens=7,
    )
    assert Evaluation(**json.loads(json.dumps(result.to_dict()))) == result


def test_a_uniform_language_model_costs_log_v_a_token(make_model):
    # EOS counts, BOS and padding do not, a truncated sentence has no EOS.
    model = make_model(13, latent_dim=0)
    with torch.no_grad():
        model.decoder.output.weight.zero_()
        model.decoder.output.bias.zero_()
    result = evaluate(model, batches([[0, 1, 2, 3, 4], [5, 6, 7]]), 8)
    assert result.num_tokens == NUM_TOKENS
    assert result.rec * 8 == pytest.approx(NUM_TOKENS * math.log(13), rel=1e-6)
    assert result.elbo_ppl == pytest.approx(13, rel=1e-6)
    assert (result.kl, result.au, result.active_dimensions, result.latent_dim) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("nats", "num_tokens", "ppl"),
    [
        (5 * math.log(10), 5, 10.0),  # one of ten each time
        (1e4, 10, math.inf),  # beyond a float
        (690.0, 1, math.exp(690)),  # just within it
    ],
)
def test_perplexity_by_hand(nats, num_tokens, ppl):
    assert perplexity(nats, num_tokens) == pytest.approx(ppl)
    with pytest.raises(InputError, match="num_tokens must be at least 1, got 0"):
        perplexity(nats, 0)


def heard(model: Listener) -> Tensor:
    """The four z that each sentence was decoded with, (4, M, Z)."""
    return torch.stack([model.heard[i] for i in range(len(model.nll))], 1)


def test_the_ablation_by_hand():
    # Two sentences can only exchange their z: (1, 1) and (2, -1) lie √5 apart.
    model = Listener(torch.tensor([[1.0, 1.0], [2.0, -1.0]]))
    result = ablated(model, batches([[0], [1]]), 2)
    prior = (heard(model)[2] - model.posterior.mean).square().sum(-1).mean().item()
    found = (result.own, result.shuffled, result.prior, result.zero)
    assert found == pytest.approx((0, 5, prior, (2 + 5) / 2), abs=1e-5)
    assert result.used == result.shuffled - result.own
    with pytest.raises(InputError, match="num_sentences must be at least 2, got 1"):
        ablated(Listener(torch.zeros(1, 2)), batches([[0]]), 1)


@pytest.mark.parametrize("sentences", [2, 3, 8, 200])
def test_everyone_is_given_the_z_of_one_other(sentences):
    for seed in range(10):
        means = torch.arange(float(sentences))[:, None] * torch.tensor([1.0, -2.0]) + 1
        model = Listener(means)
        ablated(model, numbered(*[1] * sentences), sentences, seed=seed)
        own, shuffled = heard(model)[:2]
        nearest = torch.cdist(shuffled, own).argmin(1)
        torch.testing.assert_close(shuffled, own[nearest])
        assert (nearest != torch.arange(sentences)).all(), "nobody keeps their own"
        assert nearest.sort().values.tolist() == list(range(sentences)), "each is given once"


def test_draws_from_the_prior_are_standard_normal():
    model = Listener(torch.zeros(2000, 2))
    ablated(model, numbered(2000), 2000)
    own, _, prior, zero = heard(model)
    torch.testing.assert_close(prior.std(0), torch.ones(2), atol=0.1, rtol=0)
    assert (prior * own / own.std(0)).mean(0).abs().max() < 0.1, "other draws than z's own"
    assert prior.mean(0).abs().max() < 0.1
    assert zero.eq(0).all()


def test_a_decoder_without_z_takes_nothing_from_it(make_model):
    deaf = make_model(latent_to="state")
    assert abs(ablated(deaf, batches(), 8).used) > 0.01
    with torch.no_grad():
        deaf.decoder.latent_to_cell.weight.zero_()
    for model in (deaf, make_model(latent_dim=0)):
        result = ablated(model, batches(), 8)
        assert result == Ablation(result.own, result.own, result.own, result.own)


def spread(model: Any, num_samples: int, seeds: int) -> tuple[float, float]:
    """Mean of estimates of the NLL from so many seeds, and its standard error."""
    options = {"num_samples": num_samples, "max_tokens": 10**5}
    found = [importance_nll(model, batches(), seed=seed, **options).nll for seed in range(seeds)]
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(seeds))


@pytest.mark.parametrize("num_samples", [1, 7, 500])
def test_the_exact_posterior_gives_the_exact_marginal_with_any_k(num_samples):
    model = LinearGaussian()
    result = importance_nll(model, batches(), num_samples=num_samples)
    torch.testing.assert_close(result.per_sentence, model.exact, atol=1e-9, rtol=0)
    assert result.nll == pytest.approx(model.exact.mean().item(), abs=1e-9)
    assert result.effective_samples == pytest.approx(num_samples)


@pytest.mark.parametrize("options", [{"shift": 0.3, "widen": 1.3}, {"laplace": True, "widen": 1.2}])
def test_a_wrong_posterior_comes_to_the_exact_marginal(options):
    model = LinearGaussian(**options)
    errors = []
    for num_samples in (100, 1600):
        mean, error = spread(model, num_samples, seeds=40)
        assert abs(mean - model.exact.mean()) < 4 * error + 1 / num_samples
        result = importance_nll(model, batches(), num_samples=num_samples)
        assert 0.3 * num_samples < result.effective_samples < 0.95 * num_samples
        errors.append(error)
    # Sixteen times the samples, a fourth of the error.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.4)


def test_with_another_prior_it_is_that_one_s_marginal():
    """A mixture of two Gaussians, under which x is one, too."""
    model, shares = LinearGaussian(widen=1.3), torch.tensor([0.3, 0.7]).double()
    means, scales = torch.tensor([[[-1.0, 0.5]], [[0.8, -0.3]]]).double(), (0.5, 0.9)
    of_z = [
        MultivariateNormal(m[0], s**2 * torch.eye(2).double())
        for m, s in zip(means, scales, strict=True)
    ]
    noise, w = model.sigma**2 * torch.eye(3).double(), model.w
    of_x = [
        MultivariateNormal(w @ one.mean + model.b, w @ one.covariance_matrix @ w.T + noise)
        for one in of_z
    ]

    def mixed(parts: list[MultivariateNormal], values: torch.Tensor) -> torch.Tensor:
        log_p = torch.stack([one.log_prob(values) for one in parts], -1)
        return (log_p + shares.log()).logsumexp(-1)

    exact, options = -mixed(of_x, model.x), {"num_samples": 4000, "max_tokens": 10**5}
    found = [
        importance_nll(model, batches(), seed=seed, log_prior=partial(mixed, of_z), **options)
        for seed in range(10)
    ]
    values = np.array([one.fitted.nll for one in found])
    assert abs(values.mean() - exact.mean()) < 4 * values.std() / math.sqrt(10) + 1e-3
    assert abs(exact.mean() - model.exact.mean()) > 0.1, "else it says nothing"
    plain = importance_nll(model, batches(), seed=0, **options)
    assert plain.fitted is None
    assert (found[0].nll, found[0].se) == (plain.nll, plain.se)
    assert found[0].fitted.num_tokens == NUM_TOKENS
    # The prior in its own place changes nothing.
    same = importance_nll(model, batches(), log_prior=standard_normal, **options)
    assert same.fitted.per_sentence.equal(same.per_sentence)


def test_a_decoder_with_its_latent_enumerated(make_model):
    model = make_model(latent_dim=1)
    grid = torch.linspace(-12, 12, 2001)
    with torch.no_grad():
        log_p = model.log_likelihood(batches()[0], grid[:, None, None].expand(-1, 8, 1))
    log_joint = log_p.double() + Normal(0.0, 1.0).log_prob(grid.double())[:, None]
    exact = -(log_joint.logsumexp(0) + math.log(24 / 2000))
    mean, error = spread(model, 1000, seeds=10)
    assert abs(mean - exact.mean()) < 4 * error + 2e-3
    assert mean == pytest.approx(exact.mean().item(), abs=0.05)
    result = importance_nll(model, batches(), num_samples=1000)
    assert result.effective_samples > 20, "else the posterior misses everything"


@pytest.mark.parametrize("num_samples", [1, 5])
@pytest.mark.parametrize("max_tokens", [1, 17, 1000])
def test_the_nll_equals_a_plain_loop(make_model, num_samples, max_tokens):
    model, split = make_model(), batches([[3, 0, 5], [1, 2], [7, 6, 4]])
    result = importance_nll(model, split, num_samples=num_samples, seed=4, max_tokens=max_tokens)
    prior, nll, effective = Normal(0.0, 1.0), np.zeros(8), []
    for i in range(8):
        batch = batches([[i]])[0]
        stream, weights = np.random.default_rng([4, 0, i]), []
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
    assert result.se == pytest.approx(nll.std(ddof=1) / math.sqrt(8), rel=1e-4)
    assert result.indices.tolist() == list(range(8))
    assert (result.num_samples, result.num_sentences) == (num_samples, 8)
    assert (result.num_tokens, result.is_partial) == (NUM_TOKENS, False)


def test_no_more_tokens_are_decoded_at_once_than_allowed():
    longest = batches()[0].input_ids.shape[1]
    for max_tokens in (7, 20, 100, 1000):
        model = LinearGaussian()
        importance_nll(model, batches(), num_samples=30, max_tokens=max_tokens)
        assert max(model.tokens_at_once) <= max_tokens
        assert sum(model.tokens_at_once) == 30 * 8 * longest, "each sample of each sentence once"
    # A sentence alone is longer than allowed: it goes through all the same.
    importance_nll(model := LinearGaussian(), batches(), num_samples=3, max_tokens=1)
    assert model.tokens_at_once == [longest] * 3 * 8


@pytest.mark.parametrize("done", [1, 3])
def test_what_is_cut_short_is_right_of_what_was_measured(make_model, done):
    model = make_model(word_dropout=0.3).train()
    cut = batches([[2, 6], [3], [0, 1, 7], [4, 5]])
    full = importance_nll(model, cut, num_samples=9, seed=3)
    part = importance_nll(model, cut, num_samples=9, seed=3, progress=interrupting(done))
    assert model.training
    assert part.is_partial
    with pytest.raises(KeyboardInterrupt):
        importance_nll(model, cut, progress=interrupting(0))
    measured = part.indices.tolist()
    assert part.num_sentences == len(measured) == len(part.per_sentence) < 8
    assert any(set(measured) >= set(batch.indices.tolist()) for batch in cut)
    torch.testing.assert_close(part.per_sentence, full.per_sentence[part.indices])
    alone = importance_nll(model, batches([measured]), num_samples=9, seed=3)
    for name in ("nll", "ppl", "effective_samples", "num_tokens"):
        assert getattr(part, name) == pytest.approx(getattr(alone, name), rel=1e-5), name


def test_the_error_of_a_part_covers_that_batches_are_of_like_sentences():
    # 40 batches of 2 to 6 alike sentences; many parts of 12 batches each.
    random = np.random.default_rng(0)
    sizes = random.integers(2, 7, 40)
    values = np.repeat(random.normal(100, 30, 40), sizes) + random.normal(0, 3, sizes.sum())
    model, split = Written(values.tolist()), numbered(*sizes.tolist())
    cut = partial(importance_nll, model, split, progress=interrupting(12))
    parts = [cut(seed=seed) for seed in range(150)]
    within = values.var(ddof=1) / len(values)
    claimed = math.sqrt(np.mean([part.se**2 for part in parts]) - within)
    assert claimed == pytest.approx(np.std([part.nll for part in parts]), rel=0.2)
    naive = np.mean([part.per_sentence.std() / math.sqrt(part.num_sentences) for part in parts])
    assert claimed > 1.3 * naive, "else the case does not tell"
    assert importance_nll(model, split).se == pytest.approx(math.sqrt(within))


def test_what_one_alone_cannot_tell_is_infinite():
    one_sentence = importance_nll(Written([1.0] * 8), batches([[3]]))
    assert (one_sentence.nll, one_sentence.se) == (1.0, math.inf)
    model = Written([1.0, 2.0] * 4)
    cut = batches([[0, 1], [2, 3], [4, 5]])
    assert importance_nll(model, cut, progress=interrupting(1)).se == math.inf
    assert importance_nll(model, cut, progress=interrupting(2)).se < math.inf
    assert importance_nll(model, batches([[0, 1]])).se == pytest.approx(0.5)


def test_a_hopeless_model_overflows_nothing():
    model = LinearGaussian()
    model.x = model.x * 1e4
    result = importance_nll(model, batches(), num_samples=10)
    torch.testing.assert_close(result.per_sentence, model.exact, atol=0, rtol=1e-9)
    assert result.ppl == math.inf


def test_arguments_out_of_range_are_refused():
    for argument, value, least in (("num_samples", 0, 1), ("seed", -1, 0), ("max_tokens", 0, 1)):
        with pytest.raises(InputError, match=f"{argument} must be at least {least}, got {value}"):
            importance_nll(Written([1.0] * 8), batches(), **{argument: value})
    with pytest.raises(InputError, match="there is no sentence to evaluate on"):
        importance_nll(Written([]), [])
