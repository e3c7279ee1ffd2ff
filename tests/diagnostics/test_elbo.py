"""Tests of `textvae.diagnostics`: the ELBO, active units, gradient norms."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from textvae.batches import Batch
from textvae.diagnostics import Evaluation, active_units, evaluate, gradient_norm
from textvae.model import Gaussian, SentenceVAE, VAEOutput

# Truncated ones among them: they have one token less to predict.
SENTENCES = [[5, 6, 7, 4], [8], [], [9, 4, 4, 9, 5, 6], [6, 5], [7, 7, 7], [4], [12, 11, 10]]
TRUNCATED = [False, False, False, True, False, True, False, False]
NUM_TOKENS = 5 + 2 + 1 + 6 + 3 + 3 + 2 + 4

MakeModel = Callable[..., SentenceVAE]
MakeBatch = Callable[..., Batch]
Batches = Callable[[Sequence[Sequence[int]]], list[Batch]]


@pytest.fixture
def batches(make_batch: MakeBatch) -> Batches:
    """Cuts the sentences into batches of these positions."""

    def cut(positions: Sequence[Sequence[int]]) -> list[Batch]:
        return [
            make_batch(
                [SENTENCES[i] for i in rows],
                indices=rows,
                truncated=[TRUNCATED[i] for i in rows],
            )
            for rows in positions
        ]

    return cut


class Measured(nn.Module):
    """A stand-in for a model whose posteriors and reconstructions are written by hand."""

    device = torch.device("cpu")

    def __init__(self, rec: list[float], mu: list[list[float]], logvar: list[list[float]]) -> None:
        super().__init__()
        self.rec, self.mu, self.logvar = map(torch.tensor, (rec, mu, logvar))
        self.latent_dim = self.mu.shape[1]
        self.seen_noise = torch.full(self.mu.shape, math.nan)

    def forward(self, batch: Batch, noise: Tensor) -> VAEOutput:
        self.seen_noise[batch.indices] = noise
        rec, mu, logvar = (x[batch.indices] for x in (self.rec, self.mu, self.logvar))
        return VAEOutput(Gaussian(mu, logvar), noise, {"rec": rec})


def close(first: Evaluation, second: Evaluation) -> bool:
    return first.to_dict() == {
        key: pytest.approx(value, rel=1e-5) for key, value in second.to_dict().items()
    }


def test_it_equals_a_plain_loop(make_model: MakeModel, batches: Batches) -> None:
    model = make_model()
    result = evaluate(model, batches([[3, 0, 5], [1, 2], [7, 6, 4]]), len(SENTENCES), seed=4)

    noise = torch.randn(len(SENTENCES), 3, generator=torch.Generator().manual_seed(4))
    rec, kl, tokens = 0.0, torch.zeros(3), 0
    for i in range(len(SENTENCES)):
        batch = batches([[i]])[0]
        with torch.no_grad():
            mu, logvar = model.encode(batch)
            posterior = Normal(mu[0], torch.exp(logvar[0] / 2))
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


def test_z_is_sampled_and_never_the_mean(make_model: MakeModel, batches: Batches) -> None:
    # With z = mu the figure would be no bound on the likelihood.
    model = make_model()
    everything = batches([list(range(8))])
    at_mean = -model.log_likelihood(everything[0], model.encode(everything[0]).mu).mean().item()
    by_seed = [evaluate(model, everything, 8, seed=seed).rec for seed in range(3)]
    assert min(abs(rec - at_mean) for rec in by_seed) > 0.01
    assert abs(by_seed[0] - by_seed[1]) > 0.001


def test_neither_batch_size_nor_order_matter(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(word_dropout=0.5, embedding_dropout=0.5, output_dropout=0.5).train()
    once = evaluate(model, batches([list(range(8))]), 8)
    for cut in (
        [[7, 6, 5, 4, 3, 2, 1, 0]],
        [[i] for i in range(8)],
        [[2, 6], [3], [0, 1, 7], [4, 5]],  # a last partial batch among them
    ):
        torch.manual_seed(len(cut))
        assert close(evaluate(model, batches(cut), 8), once)


def test_evaluating_leaves_no_trace(make_model: MakeModel, batches: Batches) -> None:
    model = make_model(word_dropout=0.5)
    everything = batches([[0, 1, 2, 3], [4, 5, 6, 7]])
    state = torch.random.get_rng_state()
    for mode in (True, False):
        model.train(mode)
        evaluate(model, everything, 8)
        assert {module.training for module in model.modules()} == {mode}
    assert torch.random.get_rng_state().equal(state), "training would depend on evaluation"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_the_mode_is_restored_after_a_fault(make_model: MakeModel, batches: Batches) -> None:
    model = make_model().train()

    def interrupt() -> None:
        assert not model.training
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, batches([[0, 1]]), 8, before_batch=interrupt)
    assert model.training


def test_the_hook_runs_before_every_batch(make_model: MakeModel, batches: Batches) -> None:
    calls: list[int] = []
    evaluate(
        make_model(),
        batches([[0, 1], [2], [3, 4, 5, 6, 7]]),
        8,
        before_batch=lambda: calls.append(len(calls)),
    )
    assert calls == [0, 1, 2]


def test_nothing_to_evaluate_is_refused(make_model: MakeModel) -> None:
    model = make_model().train()
    with pytest.raises(ValueError, match="there is no sentence to evaluate on"):
        evaluate(model, [], 0)
    assert model.training


def test_figures_by_hand(batches: Batches) -> None:
    # Sentences 0 and 1 predict 5 and 2 tokens.
    #   dimension 0: always the prior
    #   dimension 1: mean ±1, so KL ½ in each sentence, and variance 1 over the split
    #   dimension 2: mean always 2, KL 2: carries nothing, and yet it is not at the prior
    model = Measured([3.0, 7.0], [[0.0, 1.0, 2.0], [0.0, -1.0, 2.0]], [[0.0] * 3] * 2)
    result = evaluate(model, batches([[1, 0]]), 2)  # type: ignore[arg-type]
    # Only dimension 1 tells the two apart: with z = ±1 + noise, log q(z|own) − log q(z|other)
    # is 2 ± 2·noise, so sentence i gains log 2 − log(1 + exp(−(2 ± 2·noise_i))).
    noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))[:, 1].tolist()
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
    model = Measured([1.0, 1.0], [[m] for m in mu], [[math.log(variance)]] * 2)
    result = evaluate(model, batches([[0], [1]]), 2)  # type: ignore[arg-type]
    assert (result.au, result.active_dimensions) == (au, active)


def test_active_units_look_at_the_whole_split(batches: Batches) -> None:
    # Within each batch the means agree; only between them do they differ.
    model = Measured([1.0] * 4, [[1.0], [1.0], [-1.0], [-1.0]], [[0.0]] * 4)
    assert evaluate(model, batches([[0, 1], [2, 3]]), 4).au == 1  # type: ignore[arg-type]


def test_means_are_over_sentences_and_not_over_batches(batches: Batches) -> None:
    model = Measured([1.0, 2.0, 6.0], [[0.0], [0.0], [6.0]], [[0.0]] * 3)
    result = evaluate(model, batches([[0, 1], [2]]), 3)  # type: ignore[arg-type]
    assert (result.rec, result.kl) == (pytest.approx(3), pytest.approx(6))


def test_noise_belongs_to_the_sentence(batches: Batches) -> None:
    seen = []
    for cut in ([[0, 1, 2, 3]], [[3, 1], [2], [0]]):
        model = Measured([1.0] * 4, [[0.0, 0.0]] * 4, [[0.0, 0.0]] * 4)
        evaluate(model, batches(cut), 4, seed=9)  # type: ignore[arg-type]
        seen.append(model.seen_noise)
    expected = torch.randn(4, 2, generator=torch.Generator().manual_seed(9))
    assert seen[0].equal(expected)
    assert seen[1].equal(expected)


def test_a_hopeless_model_has_infinite_perplexity(batches: Batches) -> None:
    model = Measured([1e4], [[0.0]], [[0.0]])
    result = evaluate(model, batches([[0]]), 1)  # type: ignore[arg-type]
    assert result.elbo_ppl == pytest.approx(math.inf)
    assert result.rec == pytest.approx(1e4)
    few = Measured([69.0 * 5], [[0.0]], [[0.0]])
    assert evaluate(few, batches([[0]]), 1).elbo_ppl == pytest.approx(  # type: ignore[arg-type]
        math.exp(69)
    )


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
    assert (result.kl, result.au, result.active_dimensions) == (0, 0, 0)
    assert result.kl_per_dim == []


def test_a_result_is_plain_json(make_model: MakeModel, batches: Batches) -> None:
    result = evaluate(make_model(), batches([list(range(8))]), 8)
    back = json.loads(json.dumps(result.to_dict()))
    assert Evaluation(**back) == result
    assert set(back) == {
        "rec",
        "kl",
        "elbo",
        "elbo_ppl",
        "mi",
        "mi_max",
        "au",
        "active_dimensions",
        "kl_per_dim",
        "num_sentences",
        "num_tokens",
    }


def test_active_units_by_hand() -> None:
    mu = torch.tensor([[0.0, 1.0, 0.3, 5.0], [0.0, -1.0, -0.3, 5.0]])  # variances 0, 1, 0.09, 0
    assert active_units(mu) == 2
    assert active_units(mu, threshold=0.1) == 1
    assert active_units(mu, threshold=1.0) == 1, "the threshold itself counts"
    assert active_units(mu, threshold=1.1) == 0
    assert active_units(mu[:1]) == 0, "one sentence does not vary"
    assert active_units(mu[:, :0]) == 0


def test_gradient_norm_is_that_of_clipping(make_model: MakeModel, batches: Batches) -> None:
    model = make_model()
    assert gradient_norm(model).item() == 0
    model(batches([list(range(8))])[0]).terms["rec"].sum().backward()
    norm = gradient_norm(model)
    assert norm.shape == ()
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(norm, flat.square().sum().sqrt())
    torch.testing.assert_close(nn.utils.clip_grad_norm_(model.parameters(), 1.0), norm)
    assert gradient_norm(model).item() == pytest.approx(1, rel=1e-4)
