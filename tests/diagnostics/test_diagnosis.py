"""Every estimate put together: the parts agree, and the result is plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from textvae.batches import Batch
from textvae.diagnostics.ablation import z_ablation
from textvae.diagnostics.diagnosis import Diagnosis, FactorLabels, diagnose
from textvae.diagnostics.elbo import evaluate
from textvae.diagnostics.importance import importance_nll
from textvae.diagnostics.information import mutual_information
from textvae.diagnostics.posterior import moments, posteriors
from textvae.diagnostics.units import AU_THRESHOLDS
from textvae.model import SentenceVAE

SENTENCES = [[4 + (i * k) % 9 for k in range(1, 2 + i % 4)] for i in range(12)]

REQUIRED = [
    "rec",
    "kl",
    "elbo",
    "elbo_ppl",
    "nll",
    "nll_se",
    "ppl",
    "mi",
    "mi_max",
    "au",
    "au_curve",
    "kl_per_dim",
    "active_dimensions",
    "ablation",
    "verdict",
    "advice",
    "num_sentences",
    "num_tokens",
    "num_samples",
]


@pytest.fixture
def batches(make_batch: Callable[..., Batch]) -> Callable[[], list[Batch]]:
    parts = [[3, 1, 0, 2], [4, 5, 7, 6], [11, 8, 9, 10]]
    return lambda: [make_batch([SENTENCES[i] for i in part], indices=part) for part in parts]


@pytest.fixture
def model(make_model: Callable[..., SentenceVAE]) -> SentenceVAE:
    return make_model()


def test_the_parts_are_what_each_estimator_says(model: SentenceVAE, batches: Any) -> None:
    found = diagnose(model, batches, 12, num_samples=7, seed=3)
    evaluation = evaluate(model, batches(), 12, seed=3)
    for name in ("rec", "kl", "elbo", "elbo_ppl", "au", "kl_per_dim", "num_tokens"):
        assert getattr(found, name) == getattr(evaluation, name), name
    nll = importance_nll(model, batches(), num_samples=7, seed=3)
    assert (found.nll, found.nll_se, found.ppl) == (nll.nll, nll.se, nll.ppl)
    assert found.effective_samples == nll.effective_samples
    assert found.bits_per_token == pytest.approx(math.log2(nll.ppl))
    posterior = posteriors(model, batches(), 12)
    information = mutual_information(*posterior, seed=3)
    assert (found.mi, found.mi_se, found.mi_max) == (
        information.mi,
        information.mi_se,
        math.log(12),
    )
    assert found.aggregate_kl == information.aggregate_kl
    assert found.mi_classic == mutual_information(*posterior, seed=3, estimator="classic").mi
    assert found.moments == moments(*posterior)
    assert found.ablation == z_ablation(model, batches(), 12, seed=3)
    assert found.ablation.own == pytest.approx(found.rec)
    assert (found.num_sentences, found.num_samples, found.nll_is_partial) == (12, 7, False)


def test_the_bounds_are_in_order(model: SentenceVAE, batches: Any) -> None:
    found = diagnose(model, batches, 12, num_samples=200)
    assert found.nll is not None
    assert found.nll < -found.elbo
    assert found.mi <= found.mi_max


def test_it_is_plain_json(model: SentenceVAE, batches: Any) -> None:
    found = diagnose(model, batches, 12, num_samples=2).to_dict()
    assert set(REQUIRED) <= set(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["au_curve"].keys() == {f"{threshold:g}" for threshold in AU_THRESHOLDS}
    assert found["au_curve"]["0.01"] == found["au"]
    assert set(found["ablation"]) == {"own", "shuffled", "prior", "zero", "used"}
    assert found["ablation"]["used"] == found["ablation"]["shuffled"] - found["ablation"]["own"]
    assert len(found["kl_per_dim"]) == len(found["mi_per_dim"]) == model.latent_dim
    assert found["factors"] == []


def test_without_samples_there_is_no_nll(model: SentenceVAE, batches: Any) -> None:
    found = diagnose(model, batches, 12, num_samples=None)
    for name in ("nll", "nll_se", "nll_se_repeats", "ppl", "bits_per_token", "effective_samples"):
        assert getattr(found, name) is None, name
    assert (found.num_samples, found.nll_num_sentences, found.nll_is_partial) == (0, 0, False)
    assert found.verdict


def test_a_language_model(make_model: Callable[..., SentenceVAE], batches: Any) -> None:
    model = make_model(latent_dim=0, std=0.4)
    found = diagnose(model, batches, 12, num_samples=5)
    assert found.nll == pytest.approx(found.rec)
    assert (found.kl, found.mi, found.ablation.used) == (0, 0, 0)
    json.dumps(found.to_dict(), allow_nan=False)


class InterruptAt:
    """Raises at the n-th batch of a stage."""

    def __init__(self, stage: str, number: int) -> None:
        self.at = (stage, number)
        self.stage, self.number = "", 0

    def before_stage(self, stage: str) -> None:
        self.stage, self.number = stage, 0

    def before_batch(self) -> None:
        self.number += 1
        if (self.stage, self.number) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("number", "measured"), [(1, 0), (2, 4), (3, 8)])
def test_the_nll_can_be_cut_short(
    number: int, measured: int, model: SentenceVAE, batches: Any
) -> None:
    stop = InterruptAt("nll", number)
    found = diagnose(
        model,
        batches,
        12,
        num_samples=3,
        before_stage=stop.before_stage,
        before_batch=stop.before_batch,
    )
    assert found.nll_is_partial
    assert found.nll_num_sentences == measured
    assert (found.nll is None) == (measured == 0)
    assert found.num_sentences == 12
    json.dumps(found.to_dict(), allow_nan=False)


def test_an_interruption_elsewhere_goes_through(model: SentenceVAE, batches: Any) -> None:
    stop = InterruptAt("ablation", 2)
    with pytest.raises(KeyboardInterrupt):
        diagnose(model, batches, 12, before_stage=stop.before_stage, before_batch=stop.before_batch)


def factor_labels(batches: Callable[[], Iterable[Batch]]) -> FactorLabels:
    values = [str(len(sentence)) for sentence in SENTENCES]
    return FactorLabels(batches, 12, {"length": values}, {"length": values})


def test_factors_and_the_order_of_stages(model: SentenceVAE, batches: Any) -> None:
    stages: list[str] = []
    found = diagnose(
        model,
        batches,
        12,
        num_samples=1,
        factors=factor_labels(batches),
        before_stage=stages.append,
    )
    assert stages == ["elbo", "posteriors", "ablation", "factors", "nll"]
    (probe,) = found.factors
    assert probe.name == "length"
    assert probe.entropy == pytest.approx(math.log(4))
    assert found.to_dict()["factors"] == [probe.to_dict()]


def test_factors_are_told_by_draws_and_not_by_means(
    make_model: Callable[..., SentenceVAE], batches: Any
) -> None:
    # Means that differ by little tell the sentence to whoever sees them; z, under noise, does not.
    model = make_model(latent_dim=1)
    with torch.no_grad():
        model.head.mu.weight.mul_(1e-4)
        model.head.logvar.weight.zero_()
        model.head.logvar.bias.zero_()
    values = [str(i % 2) for i in range(12)]
    mu = posteriors(model, batches(), 12).mu
    told = [str(int(m > mu.median())) for m in mu[:, 0]]
    found = diagnose(
        model,
        batches,
        12,
        num_samples=None,
        factors=FactorLabels(batches, 12, {"f": told, "g": values}, {"f": told, "g": values}),
    )
    assert found.factors[0].accuracy < 1


def test_a_diverged_model_is_called_broken(model: SentenceVAE, batches: Any) -> None:
    with torch.no_grad():
        model.head.mu.weight.fill_(math.nan)
    found = diagnose(model, batches, 12, num_samples=2, factors=factor_labels(batches))
    assert found.verdict == "broken"
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["mi"] is None
    assert found.factors == []


def test_what_is_known_of_training_reaches_the_words(
    make_model: Callable[..., SentenceVAE], batches: Any
) -> None:
    model = make_model(100, std=0.3)
    with torch.no_grad():
        # Better than guessing, or it would be called untrained: only these words occur.
        model.decoder.output.bias[:13] += 4
        for parameter in (model.head.mu.weight, model.head.logvar.weight, model.head.logvar.bias):
            parameter.zero_()
        model.head.mu.bias.fill_(1.0)

    def judged(**known: float) -> Diagnosis:
        return diagnose(model, batches, 12, num_samples=None, **known)

    assert judged().verdict == "collapsed"
    assert "trained with" not in judged().explanation
    assert "(trained with free bits of 0.5)" in judged(free_bits=0.5).explanation
    assert "(trained with no KL term)" in judged(beta=0.0).explanation


def test_the_same_seed_gives_the_same_diagnosis(model: SentenceVAE, batches: Any) -> None:
    model.train()
    first = diagnose(model, batches, 12, num_samples=3)
    assert model.training
    assert diagnose(model, batches, 12, num_samples=3).to_dict() == first.to_dict()
    assert diagnose(model, batches, 12, num_samples=3, seed=1).mi != first.mi


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_repeats": 0}, "num_repeats must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"num_sentences": 1}, "num_sentences must be at least 2, got 1"),
        ({"num_sentences": 13}, "must hold every sentence of the split, got 12 of 13"),
    ],
)
def test_wrong_arguments(
    arguments: dict[str, int], message: str, model: SentenceVAE, batches: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        diagnose(model, batches, **{"num_sentences": 12, **arguments})
