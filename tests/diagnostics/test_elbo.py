"""The true ELBO of a split."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.diagnostics.models import NUM_TOKENS, SENTENCES, LinearGaussian, Written
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.diagnostics import Evaluation, evaluate, perplexity
from textvae.model import Gaussian, SentenceVAE

MakeModel = Callable[..., SentenceVAE]
Batches = Callable[..., list[Batch]]


def written(nll: list[float], mu: list[list[float]], variance: float = 1.0) -> Written:
    means = torch.tensor(mu)
    return Written(nll, Gaussian(means, torch.full_like(means, math.log(variance))))


def test_it_equals_a_plain_loop(make_model: MakeModel, batches: Batches) -> None:
    model = make_model()
    result = evaluate(model, batches([[3, 0, 5], [1, 2], [7, 6, 4]]), len(SENTENCES), seed=4)

    noise = torch.randn(len(SENTENCES), 3, generator=torch.Generator().manual_seed(4))
    rec, kl, tokens = 0.0, torch.zeros(3), 0
    for i in range(len(SENTENCES)):
        batch = batches([[i]])[0]
        with torch.no_grad():
            encoded = model.encode(batch)
            posterior = Normal(encoded.mean[0], encoded.variance[0].sqrt())
            z = posterior.mean + posterior.stddev * noise[i]
            state = model.initial_state(z[None])
            for read, target in zip(batch.input_ids[0], batch.target_ids[0], strict=True):
                scores, state = model.step(read[None], state, z[None])
                rec -= scores.log_softmax(-1)[0, target].item()
                tokens += 1
            kl += kl_divergence(posterior, Normal(0.0, 1.0))
    rec, kl = rec / len(SENTENCES), kl / len(SENTENCES)

    assert tokens == result.num_tokens == NUM_TOKENS
    assert result.num_sentences == len(SENTENCES)
    assert result.rec == pytest.approx(rec, rel=1e-5)
    assert result.kl_per_dim == pytest.approx(kl.tolist(), rel=1e-5)
    assert result.kl == pytest.approx(kl.sum().item(), rel=1e-5)
    assert result.elbo == pytest.approx(-rec - kl.sum().item(), rel=1e-5)
    total = len(SENTENCES) * (rec + kl.sum().item())
    assert result.elbo_ppl == pytest.approx(math.exp(total / NUM_TOKENS), rel=1e-5)


def test_a_family_of_ones_own(batches: Batches) -> None:
    # E_q[log p(x|z)] of the linear Gaussian is closed in the moments of any q.
    model = LinearGaussian(laplace=True)
    seeds = [evaluate(model, batches(), 8, seed=seed) for seed in range(400)]
    q, w, b = model.q, model.w, model.b
    residual = (model.x - b - q.mean @ w.T).square() + q.variance @ w.T.square()
    rec = 0.5 * (residual / model.sigma**2 + math.log(2 * math.pi * model.sigma**2)).sum(1)
    recs = torch.tensor([each.rec for each in seeds])
    assert abs(recs.mean() - rec.mean()) < 3 * recs.std() / 20
    assert recs.std() < 0.1 * rec.mean(), "else nothing is tested"
    laplace = torch.distributions.Laplace(q.mean, q.stddev / math.sqrt(2))
    z = laplace.sample(torch.Size([200_000]))
    kl = (laplace.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).mean((0, 1))
    assert seeds[0].kl_per_dim == pytest.approx(kl.tolist(), abs=0.01)
    assert 0 < seeds[0].mi < seeds[0].mi_max


def test_neither_batch_size_nor_order_matter(
    make_model: MakeModel, batches: Batches, cut: list[list[int]]
) -> None:
    model = make_model(word_dropout=0.5, embedding_dropout=0.5, output_dropout=0.5).train()
    once = evaluate(model, batches(), 8).to_dict()
    torch.manual_seed(len(cut))
    found = evaluate(model, batches(cut), 8).to_dict()
    assert found == {key: pytest.approx(value, rel=1e-5) for key, value in once.items()}


def test_figures_by_hand(batches: Batches) -> None:
    # Sentences 0 and 1 predict 5 and 2 tokens.
    #   dimension 0: always the prior
    #   dimension 1: mean ±1, so KL ½ in each sentence, and variance 1 over the split
    #   dimension 2: mean always 2, KL 2: carries nothing, and yet it is not at the prior
    model = written([3.0, 7.0], [[0.0, 1.0, 2.0], [0.0, -1.0, 2.0]])
    result = evaluate(model, batches([[1, 0]]), 2, seed=5)
    # Only dimension 1 tells the two apart: with z = ±1 + noise, log q(z|own) − log q(z|other)
    # is 2 ± 2·noise, so sentence i gains log 2 − log(1 + exp(−(2 ± 2·noise_i))).
    noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(5))[:, 1].tolist()
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


@pytest.mark.parametrize(
    ("mu", "variance", "au", "active"),
    [
        # Means ±0.101: variance 0.0102, KL 0.0051. Varies enough, carries too little.
        ([0.101, -0.101], 1.0, 1, 0),
        # Means ±0.099: variance 0.0098.
        ([0.099, -0.099], 1.0, 0, 0),
        # One mean for all, KL 0.0113: not at the prior, but says nothing of the sentence.
        ([0.15, 0.15], 1.0, 0, 1),
        # Only the variance differs from the prior's: ½(0.5 − 1 + ln 2) = 0.097 nats.
        ([0.0, 0.0], 0.5, 0, 1),
        # Collapsed.
        ([0.0, 0.0], 1.0, 0, 0),
        # One sentence alone out of the way: the mean of KL counts, (0.0242 + 0) / 2.
        ([0.22, 0.0], 1.0, 1, 1),
    ],
)
def test_active_units_and_active_dimensions_are_two_things(
    batches: Batches, mu: list[float], variance: float, au: int, active: int
) -> None:
    result = evaluate(written([1.0] * 2, [[m] for m in mu], variance), batches([[0], [1]]), 2)
    assert (result.au, result.active_dimensions) == (au, active)


def test_a_uniform_language_model_costs_log_v_a_token(
    make_model: MakeModel, batches: Batches
) -> None:
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
    assert result.kl_per_dim == []


@pytest.mark.parametrize(
    ("nats", "num_tokens", "ppl"),
    [
        (0.0, 5, 1.0),  # certain of everything
        (5 * math.log(10), 5, 10.0),  # one of ten each time
        (3 * math.log(2), 6, math.sqrt(2)),  # a coin every second time
        (1e4, 10, math.inf),  # beyond a float
        (690.0, 1, math.exp(690)),  # just within it
    ],
)
def test_perplexity_by_hand(nats: float, num_tokens: int, ppl: float) -> None:
    assert perplexity(nats, num_tokens) == pytest.approx(ppl)
    with pytest.raises(InputError, match="num_tokens must be at least 1, got 0"):
        perplexity(nats, 0)
