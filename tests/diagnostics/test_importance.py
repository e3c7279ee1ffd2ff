"""Tests of `textvae.diagnostics.importance`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from textvae.batches import Batch
from textvae.diagnostics import evaluate
from textvae.diagnostics.importance import ImportanceNLL, importance_nll
from textvae.model import Gaussian, Posterior, SentenceVAE

SENTENCES = [[5, 6, 7, 4], [8], [], [9, 4, 4, 9, 5, 6], [6, 5], [7, 7, 7], [4], [12, 11, 10]]
NUM_TOKENS = 5 + 2 + 1 + 7 + 3 + 4 + 2 + 4

MakeModel = Callable[..., SentenceVAE]
Batches = Callable[..., list[Batch]]


@pytest.fixture
def batches(make_batch: Callable[..., Batch]) -> Batches:
    """Cuts `SENTENCES`, by position, into batches."""

    def cut(positions: Sequence[Sequence[int]] = (range(8),)) -> list[Batch]:
        return [make_batch([SENTENCES[i] for i in part], indices=part) for part in positions]

    return cut


class LinearGaussian(nn.Module):
    """p(x|z) = N(Wz + b, σ²), whose marginal and posterior are known: a sentence is a vector x.

    The columns of W are orthogonal, so that the exact posterior is diagonal. `shift` and `widen`
    move the posterior away from it, by means and standard deviations.
    """

    device = torch.device("cpu")
    latent_dim = 2

    def __init__(self, *, shift: float = 0.0, widen: float = 1.0, sentences: int = 8) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(5)
        self.w = torch.tensor([[0.7, 0.6], [-1.4, 0.3], [0.0, 0.0]]).double()
        self.b, self.sigma = torch.tensor([0.5, -1.0, 2.0]).double(), 0.6
        self.x = 1.5 * torch.randn(sentences, 3, generator=random, dtype=torch.float64)
        self.shift, self.widen = shift, widen
        self.tokens_at_once: list[int] = []

    @property
    def posterior(self) -> Normal:
        precision = 1 + self.w.square().sum(0) / self.sigma**2
        mu = (self.x - self.b) @ self.w / self.sigma**2 / precision
        return Normal(mu, (1 / precision).sqrt().expand_as(mu))

    @property
    def q(self) -> Normal:
        return Normal(self.posterior.mean + self.shift, self.posterior.stddev * self.widen)

    @property
    def exact(self) -> Tensor:
        covariance = self.w @ self.w.T + self.sigma**2 * torch.eye(3).double()
        return -MultivariateNormal(self.b, covariance).log_prob(self.x)

    def encode(self, batch: Batch) -> Posterior:
        return Gaussian(self.q.mean[batch.indices], 2 * self.q.stddev[batch.indices].log())

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        self.tokens_at_once.append(len(z) * batch.input_ids.numel())
        return Normal(z @ self.w.T + self.b, self.sigma).log_prob(self.x[batch.indices]).sum(-1)


class Spoken(nn.Module):
    """A language model whose NLL of each sentence is written by hand."""

    device = torch.device("cpu")
    latent_dim = 0

    def __init__(self, nll: Sequence[float] | Tensor) -> None:
        super().__init__()
        self.nll = torch.as_tensor(nll).double()

    def encode(self, batch: Batch) -> Posterior:
        return Gaussian(torch.zeros(len(batch.indices), 0), torch.zeros(len(batch.indices), 0))

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        return -self.nll[batch.indices].expand(len(z), -1)


def interrupting(after: int) -> Callable[[], None]:
    """A hook that lets so many batches pass."""
    calls = []

    def hook() -> None:
        calls.append(None)
        if len(calls) > after:
            raise KeyboardInterrupt

    return hook


def assert_same(first: ImportanceNLL, second: ImportanceNLL) -> None:
    for name in ("nll", "se", "se_repeats", "ppl", "effective_samples"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-5), name
    for name in ("num_samples", "num_repeats", "num_sentences", "num_tokens", "is_partial"):
        assert getattr(first, name) == getattr(second, name), name
    assert first.indices.equal(second.indices)
    torch.testing.assert_close(first.per_sentence, second.per_sentence, atol=1e-4, rtol=0)


# --- against exact answers


@pytest.mark.parametrize("num_samples", [1, 2, 7, 500])
def test_the_exact_posterior_gives_the_exact_marginal_with_any_k(
    batches: Batches, num_samples: int
) -> None:
    model = LinearGaussian()
    result = importance_nll(model, batches(), num_samples=num_samples, num_repeats=3)
    torch.testing.assert_close(result.per_sentence, model.exact, atol=1e-9, rtol=0)
    assert result.nll == pytest.approx(model.exact.mean().item(), abs=1e-9)
    assert result.se_repeats == pytest.approx(0, abs=1e-9)
    assert result.effective_samples == pytest.approx(num_samples)


def test_a_wrong_posterior_comes_to_the_exact_marginal(batches: Batches) -> None:
    model = LinearGaussian(shift=0.3, widen=1.3)
    errors = []
    for num_samples in (100, 1600):
        result = importance_nll(
            model, batches(), num_samples=num_samples, num_repeats=40, max_tokens=10**5
        )
        assert result.se_repeats is not None
        assert abs(result.nll - model.exact.mean()) < 4 * result.se_repeats + 1 / num_samples
        assert 0.3 * num_samples < result.effective_samples < 0.9 * num_samples
        errors.append(result.se_repeats)
    # Sixteen times the samples, a fourth of the error.
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.4)


def test_one_sample_gives_the_elbo(batches: Batches) -> None:
    # −ELBO = NLL + KL(q ‖ exact posterior)
    model = LinearGaussian(shift=0.2, widen=0.8)
    elbo_gap = kl_divergence(model.q, model.posterior).sum(-1).mean()
    result = importance_nll(model, batches(), num_samples=1, num_repeats=1000)
    assert result.se_repeats is not None
    assert abs(result.nll - model.exact.mean() - elbo_gap) < 4 * result.se_repeats
    assert elbo_gap > 10 * result.se_repeats, "else nothing is tested"
    assert result.effective_samples == pytest.approx(1)


def test_a_decoder_with_its_latent_enumerated(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(latent_dim=1)
    grid = torch.linspace(-12, 12, 2001)
    with torch.no_grad():
        log_p = model.log_likelihood(batches()[0], grid[:, None, None].expand(-1, 8, 1))
    log_joint = log_p.double() + Normal(0.0, 1.0).log_prob(grid.double())[:, None]
    exact = -(log_joint.logsumexp(0) + math.log(24 / 2000))
    result = importance_nll(model, batches(), num_samples=1000, num_repeats=10, max_tokens=4096)
    assert result.se_repeats is not None
    assert abs(result.nll - exact.mean()) < 4 * result.se_repeats + 2e-3
    assert result.nll == pytest.approx(exact.mean().item(), abs=0.05)
    assert result.effective_samples > 20, "else the posterior misses everything"


def test_more_samples_bind_closer(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(std=0.5)
    elbo, few, many = (
        importance_nll(model, batches(), num_samples=k, num_repeats=repeats, max_tokens=4096)
        for k, repeats in ((1, 500), (10, 50), (100, 20))
    )
    for worse, better in ((elbo, few), (few, many)):
        assert worse.se_repeats is not None
        assert better.se_repeats is not None
        assert worse.nll - better.nll > 2 * math.hypot(worse.se_repeats, better.se_repeats)


def test_a_language_model_is_measured_exactly_in_one_pass(
    make_model: MakeModel, batches: Batches
) -> None:
    model = make_model(latent_dim=0)
    evaluation = evaluate(model, batches(), 8)
    result = importance_nll(model, batches(), num_samples=500, num_repeats=4)
    assert result.nll == pytest.approx(evaluation.rec, rel=1e-6)
    assert result.ppl == pytest.approx(evaluation.elbo_ppl, rel=1e-6)
    assert (result.num_samples, result.num_repeats, result.se_repeats) == (1, 1, None)
    assert result.effective_samples == 1


# --- against a plain loop


@pytest.mark.parametrize("num_samples", [1, 5])
@pytest.mark.parametrize("max_tokens", [1, 17, 1000])
def test_it_equals_a_plain_loop(
    make_model: MakeModel, batches: Batches, num_samples: int, max_tokens: int
) -> None:
    model, seed, repeats = make_model(), 4, 2
    result = importance_nll(
        model,
        batches([[3, 0, 5], [1, 2], [7, 6, 4]]),
        num_samples=num_samples,
        num_repeats=repeats,
        seed=seed,
        max_tokens=max_tokens,
    )
    prior, nll, effective = Normal(0.0, 1.0), np.zeros((repeats, 8)), []
    for r in range(repeats):
        for i in range(8):
            batch = batches([[i]])[0]
            stream, weights = np.random.default_rng([seed, r, i]), []
            for _ in range(num_samples):
                with torch.no_grad():
                    mu, logvar = model.encode(batch)
                    q = Normal(mu, torch.exp(logvar / 2))
                    z = q.mean + q.stddev * torch.tensor(stream.standard_normal(3)).float()
                    log_joint = model.log_likelihood(batch, z) + prior.log_prob(z).sum()
                weights.append(math.exp(log_joint.item() - q.log_prob(z).sum().item()))
            nll[r, i] = -math.log(sum(weights) / num_samples)
            effective.append(sum(weights) ** 2 / sum(w * w for w in weights))

    per_sentence = nll.mean(0)
    assert result.per_sentence.tolist() == pytest.approx(per_sentence.tolist(), abs=1e-4)
    assert result.per_sentence.dtype == torch.float64
    assert result.nll == pytest.approx(nll.mean(), abs=1e-4)
    assert result.ppl == pytest.approx(math.exp(nll.sum() / repeats / NUM_TOKENS), rel=1e-4)
    assert result.effective_samples == pytest.approx(np.mean(effective), rel=1e-4)
    assert 1 <= result.effective_samples <= num_samples
    assert result.se == pytest.approx(per_sentence.std(ddof=1) / math.sqrt(8), rel=1e-4)
    spread = nll.mean(1).std(ddof=1) / math.sqrt(repeats)
    assert result.se_repeats == pytest.approx(spread, rel=1e-3)
    assert result.indices.tolist() == list(range(8))
    assert (result.num_samples, result.num_repeats) == (num_samples, repeats)
    assert (result.num_sentences, result.num_tokens) == (8, NUM_TOKENS)
    assert not result.is_partial


# --- what must not matter


def test_neither_batches_nor_order_nor_chunks_matter(
    make_model: MakeModel, batches: Batches
) -> None:
    model = make_model(word_dropout=0.5, embedding_dropout=0.5, output_dropout=0.5).train()
    once = importance_nll(model, batches(), num_samples=11, num_repeats=2, max_tokens=10**6)
    for cut in (
        [[7, 6, 5, 4, 3, 2, 1, 0]],
        [[i] for i in range(8)],
        [[2, 6], [3], [0, 1, 7], [4, 5]],
    ):
        for max_tokens in (20, None):
            result = importance_nll(
                model, batches(cut), num_samples=11, num_repeats=2, max_tokens=max_tokens
            )
            assert_same(result, once)


def test_no_more_tokens_are_decoded_at_once_than_allowed(batches: Batches) -> None:
    for max_tokens in (7, 20, 100, 1000):
        model = LinearGaussian()
        importance_nll(model, batches(), num_samples=30, max_tokens=max_tokens)
        assert max(model.tokens_at_once) <= max_tokens
        assert sum(model.tokens_at_once) == 30 * 8 * 7, "each sample of each sentence once"
    # A sentence alone is longer than allowed: it goes through all the same.
    importance_nll(model := LinearGaussian(), batches(), num_samples=3, max_tokens=1)
    assert model.tokens_at_once == [7] * 3 * 8


def test_noise_is_of_the_sentence_the_repeat_and_the_seed(make_batch: Callable[..., Batch]) -> None:
    model = LinearGaussian(shift=0.5)
    model.x[:] = model.x[0]
    twins = [make_batch([[4]] * 8)]
    one = importance_nll(model, twins, num_samples=2)
    other = importance_nll(model, twins, num_samples=2, seed=1)
    again = importance_nll(model, twins, num_samples=2)
    repeated = importance_nll(model, twins, num_samples=2, num_repeats=2)
    assert len(set(one.per_sentence.tolist())) == 8
    assert one.per_sentence.equal(again.per_sentence)
    for different in (other, repeated):
        assert not torch.isclose(one.per_sentence, different.per_sentence).any()
    assert one.se_repeats is None


def test_it_leaves_no_trace(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(word_dropout=0.5)
    state = torch.random.get_rng_state()
    for mode in (True, False):
        model.train(mode)
        importance_nll(model, batches(), num_samples=2)
        assert {module.training for module in model.modules()} == {mode}
    assert torch.random.get_rng_state().equal(state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


# --- precision


def test_only_the_decoder_runs_in_reduced_precision(
    make_model: MakeModel, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = make_model(), set()
    for name in ("encode", "log_likelihood"):
        method = getattr(model, name)

        def spy(*arguments: object, name: str = name, method: Callable[..., object] = method):  # type: ignore[no-untyped-def]
            seen.add((name, torch.is_autocast_enabled("cpu")))
            return method(*arguments)

        monkeypatch.setattr(model, name, spy)
    exact = importance_nll(model, batches(), num_samples=20)
    assert seen == {("encode", False), ("log_likelihood", False)}
    seen.clear()
    rough = importance_nll(model, batches(), num_samples=20, precision=torch.bfloat16)
    assert seen == {("encode", False), ("log_likelihood", True)}
    assert not torch.is_autocast_enabled("cpu")
    assert rough.nll != exact.nll
    assert rough.nll == pytest.approx(exact.nll, rel=0.01)


# --- cut short


@pytest.mark.parametrize("done", [1, 2, 3])
def test_what_is_cut_short_is_right_of_what_was_measured(
    make_model: MakeModel, batches: Batches, done: int
) -> None:
    model = make_model(word_dropout=0.3).train()
    cut = batches([[2, 6], [3], [0, 1, 7], [4, 5]])
    options = {"num_samples": 9, "num_repeats": 2, "seed": 3}
    full = importance_nll(model, cut, **options)
    partial = importance_nll(model, cut, before_batch=interrupting(done), **options)
    assert model.training
    assert partial.is_partial
    measured = partial.indices.tolist()
    assert partial.num_sentences == len(measured) == len(partial.per_sentence) < 8
    assert any(set(measured) >= set(batch.indices.tolist()) for batch in cut)
    torch.testing.assert_close(partial.per_sentence, full.per_sentence[partial.indices])
    alone = importance_nll(model, batches([measured]), **options)
    for name in ("nll", "se_repeats", "ppl", "effective_samples", "num_tokens"):
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
    assert result.is_partial
    assert result.num_sentences == 4


def test_what_is_measured_first_is_no_matter_of_length(batches: Batches) -> None:
    # Loaders for evaluation give short sentences first.
    cut, first = batches([[i] for i in range(8)]), set()
    for seed in range(40):
        result = importance_nll(Spoken([1.0] * 8), cut, seed=seed, before_batch=interrupting(1))
        first.add(result.indices.item())
    assert first == set(range(8))


def test_an_interruption_before_anything_is_measured_goes_through(
    make_model: MakeModel, batches: Batches
) -> None:
    model = make_model().train()
    with pytest.raises(KeyboardInterrupt):
        importance_nll(model, batches(), before_batch=interrupting(0))
    assert model.training


def test_the_hook_runs_before_every_batch(batches: Batches) -> None:
    calls: list[int] = []
    importance_nll(
        Spoken([1.0] * 8),
        batches([[0, 1], [2], [3, 4, 5, 6, 7]]),
        before_batch=lambda: calls.append(len(calls)),
    )
    assert calls == [0, 1, 2]


# --- the standard error over sentences


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
    model = Spoken(values.tolist())
    parts = [
        importance_nll(model, split, seed=seed, before_batch=interrupting(12))
        for seed in range(150)
    ]
    spread = np.std([part.nll for part in parts])
    within = values.var(ddof=1) / len(values)
    claimed = math.sqrt(np.mean([part.se**2 for part in parts]) - within)
    assert claimed == pytest.approx(spread, rel=0.2)
    naive = np.mean([part.per_sentence.std() / math.sqrt(part.num_sentences) for part in parts])
    assert claimed > 1.3 * naive, "else the case does not tell"
    assert importance_nll(model, split).se == pytest.approx(math.sqrt(within))


def test_what_one_alone_cannot_tell_is_infinite(batches: Batches) -> None:
    one_sentence = importance_nll(Spoken([1.0] * 8), batches([[3]]))
    assert (one_sentence.nll, one_sentence.se) == (1.0, math.inf)
    model = Spoken([1.0, 2.0] * 4)
    cut = batches([[0, 1], [2, 3], [4, 5]])
    assert importance_nll(model, cut, before_batch=interrupting(1)).se == math.inf
    assert importance_nll(model, cut, before_batch=interrupting(2)).se < math.inf
    assert importance_nll(model, batches([[0, 1]])).se == pytest.approx(0.5)


# --- edges


def test_a_hopeless_model_overflows_nothing(batches: Batches) -> None:
    model = LinearGaussian()
    model.x = model.x * 1e4
    result = importance_nll(model, batches(), num_samples=10)
    torch.testing.assert_close(result.per_sentence, model.exact, atol=0, rtol=1e-9)
    assert result.ppl == math.inf


@pytest.mark.parametrize(
    ("argument", "value", "least"),
    [
        ("num_samples", 0, 1),
        ("num_samples", -5, 1),
        ("num_repeats", 0, 1),
        ("seed", -1, 0),
        ("max_tokens", 0, 1),
    ],
)
def test_arguments_out_of_range_are_refused(
    batches: Batches, argument: str, value: int, least: int
) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be at least {least}, got {value}"):
        importance_nll(Spoken([1.0] * 8), batches(), **{argument: value})


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no sentence to evaluate on"):
        importance_nll(Spoken([]), [])
