"""Every estimate put together: the parts agree, and the result is plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tests.diagnostics.models import SENTENCES, Laplace, ablated, interrupting
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.diagnostics import (
    Diagnosis,
    FactorLabels,
    diagnose,
    evaluate,
    importance_nll,
    mi_per_dimension,
    moments,
    mutual_information,
    posteriors,
)
from textvae.diagnostics.information import AU_THRESHOLDS
from textvae.model import Posterior, SentenceVAE

PARTS = [[3, 1, 0], [4, 5, 7], [6, 2]]
LENGTHS = {"length": [str(min(3, len(sentence))) for sentence in SENTENCES]}
COMMITTED = Path(__file__).parents[2] / "results" / "ptb-vae" / "diagnosis.json"


@pytest.fixture
def split(batches: Callable[..., list[Batch]]) -> list[Batch]:
    return batches(PARTS)


@pytest.fixture
def model(make_model: Callable[..., SentenceVAE]) -> SentenceVAE:
    return make_model()


def test_the_parts_are_what_each_estimator_says(model: SentenceVAE, split: list[Batch]) -> None:
    found = diagnose(model, iter(split), 8, num_samples=7, seed=3)
    assert found.elbo.to_dict() == {
        key: pytest.approx(value, rel=1e-6)
        for key, value in evaluate(model, split, 8, seed=3).to_dict().items()
    }
    nll = importance_nll(model, split, num_samples=7, seed=3)
    assert found.nll is not None
    assert (found.nll.nll, found.nll.se, found.nll.ppl) == (nll.nll, nll.se, nll.ppl)
    posterior = posteriors(model, split, 8)
    assert found.posterior.mean.equal(posterior.mean)
    assert found.mi == mutual_information(posterior, seed=3)
    assert found.mi_classic == mutual_information(posterior, seed=3, estimator="classic").mi
    assert found.mi_per_dim == mi_per_dimension(posterior, seed=3)
    assert found.moments == moments(posterior)
    assert found.ablation == ablated(model, split, 8, seed=3)
    assert found.ablation.own == found.elbo.rec
    assert not found.interrupted


def test_each_sentence_is_encoded_once_and_decoded_with_four_z(
    model: SentenceVAE, split: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, decoded = [], []

    def encode(batch: Batch) -> Posterior:
        encoded.extend(batch.indices.tolist())
        return SentenceVAE.encode(model, batch)

    def log_likelihood(batch: Batch, z: torch.Tensor) -> torch.Tensor:
        decoded.append(z.shape[:2].numel())
        return SentenceVAE.log_likelihood(model, batch, z)

    monkeypatch.setattr(model, "encode", encode)
    monkeypatch.setattr(model, "log_likelihood", log_likelihood)
    diagnose(model, split, 8, num_samples=None)
    assert sorted(encoded) == list(range(8))
    assert sum(decoded) == 4 * 8


def test_a_family_of_ones_own(
    make_model: Callable[..., SentenceVAE], split: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(std=0.3)

    def encode(batch: Batch) -> Posterior:
        gaussian = SentenceVAE.encode(model, batch)
        return Laplace(gaussian.mean, (gaussian.variance / 2).sqrt())

    plain = diagnose(model, split, 8, num_samples=200)
    monkeypatch.setattr(model, "encode", encode)
    found = diagnose(model, split, 8, num_samples=200)
    assert isinstance(found.posterior, Laplace)
    assert found.moments.variance == pytest.approx(plain.moments.variance)
    assert found.elbo.kl > plain.elbo.kl, "of all with a variance, the Gaussian has most entropy"
    assert found.nll is not None
    assert plain.nll is not None
    assert found.nll.nll == pytest.approx(plain.nll.nll, abs=0.05), "both estimate the same"
    assert 0 < found.mi.mi <= found.mi.mi_max
    json.dumps(found.to_dict(), allow_nan=False)


def test_it_is_plain_json(model: SentenceVAE, split: list[Batch]) -> None:
    found = diagnose(model, split, 8, num_samples=2)
    plain = found.to_dict()
    committed = json.loads(COMMITTED.read_text())
    gone = {"nll_se_repeats"}  # of repeated estimates, which are cut
    assert set(committed) - {"run", "corpus", "split"} - gone == set(plain)
    for part in ("moments", "ablation"):
        assert plain[part].keys() == committed[part].keys()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["au_curve"].keys() == {f"{threshold:g}" for threshold in AU_THRESHOLDS}
    assert plain["au_curve"]["0.01"] == plain["au"]
    assert plain["ablation"]["used"] == plain["ablation"]["shuffled"] - plain["ablation"]["own"]
    assert len(plain["kl_per_dim"]) == len(plain["mi_per_dim"]) == model.latent_dim
    assert found.nll is not None
    assert (plain["nll"], plain["nll_se"]) == (found.nll.nll, found.nll.se)
    assert (plain["mi"], plain["kl"]) == (found.mi.mi, found.elbo.kl)
    assert (plain["num_samples"], plain["nll_num_sentences"]) == (2, 8)
    assert plain["least_aggregate_kl"] == found.moments.least_aggregate_kl
    assert (plain["verdict"], plain["explanation"], plain["advice"]) == found.verdict


def test_a_language_model_without_and_with_its_nll(
    make_model: Callable[..., SentenceVAE], split: list[Batch]
) -> None:
    model = make_model(latent_dim=0, std=0.4)
    found = diagnose(model, split, 8, num_samples=None)
    assert (found.nll, found.interrupted) == (None, False)
    plain = found.to_dict()
    assert {plain[name] for name in ("nll", "nll_se", "ppl", "num_samples")} == {None}
    assert plain["nll_is_partial"] is False
    measured = diagnose(model, split, 8, num_samples=5).nll
    assert measured is not None
    assert measured.nll == pytest.approx(found.elbo.rec)
    assert (found.elbo.kl, found.mi.mi, found.ablation.used) == (0, 0, 0)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_the_nll_can_be_cut_short(done: int, model: SentenceVAE, split: list[Batch]) -> None:
    found = diagnose(model, split, 8, num_samples=3, progress=interrupting(done))
    assert found.interrupted
    assert (found.nll is None) == (done == 0)
    assert found.elbo.num_sentences == 8
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["nll_is_partial"]
    if found.nll is not None:
        assert found.nll.is_partial
        assert found.nll.num_sentences in {done * 3, done * 3 - 1}


@pytest.mark.parametrize("title", ["posteriors", "ELBO and ablation", "factors"])
def test_an_interruption_elsewhere_goes_through(
    title: str, model: SentenceVAE, split: list[Batch]
) -> None:
    factors = FactorLabels(split, 8, LENGTHS, LENGTHS)
    with pytest.raises(KeyboardInterrupt):
        diagnose(model, split, 8, factors=factors, progress=interrupting(1, at=title))


def test_factors_and_the_order_of_passes(model: SentenceVAE, split: list[Batch]) -> None:
    told = []

    def progress(batches: Sequence[Batch], title: str) -> Sequence[Batch]:
        told.append((title, len(batches)))
        return batches

    factors = FactorLabels(iter(split), 8, LENGTHS, LENGTHS)
    found = diagnose(model, split, 8, num_samples=1, factors=factors, progress=progress)
    assert told == [("posteriors", 3), ("ELBO and ablation", 3), ("factors", 3), ("NLL", 3)]
    (probe,) = found.factors
    assert probe.name == "length"
    assert found.to_dict()["factors"] == [probe._asdict()]


def test_factors_are_told_by_draws_and_not_by_means(
    make_model: Callable[..., SentenceVAE], split: list[Batch]
) -> None:
    # Means that differ by little tell the sentence to whoever sees them; z, under noise, does not.
    model = make_model(latent_dim=1)
    with torch.no_grad():
        model.head.mu.weight.mul_(1e-4)
        model.head.logvar.weight.zero_()
        model.head.logvar.bias.zero_()
    mean = posteriors(model, split, 8).mean
    told = {"f": [str(int(m > mean.median())) for m in mean[:, 0]]}
    factors = FactorLabels(split, 8, told, told)
    assert diagnose(model, split, 8, num_samples=None, factors=factors).factors[0].accuracy < 1


def test_a_diverged_model_is_called_broken(model: SentenceVAE, split: list[Batch]) -> None:
    with torch.no_grad():
        model.head.mu.weight.fill_(math.nan)
    factors = FactorLabels(split, 8, LENGTHS, LENGTHS)
    found = diagnose(model, split, 8, num_samples=2, factors=factors)
    assert found.verdict.verdict == "broken"
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["mi"] is None
    assert found.factors == []


def test_what_is_known_of_training_reaches_the_words(
    make_model: Callable[..., SentenceVAE], split: list[Batch]
) -> None:
    model = make_model(100, std=0.3)
    with torch.no_grad():
        # Better than guessing, or it would be called untrained: only these words occur.
        model.decoder.output.bias[:13] += 4
        for parameter in (model.head.mu.weight, model.head.logvar.weight, model.head.logvar.bias):
            parameter.zero_()
        model.head.mu.bias.fill_(1.0)

    def judged(**known: float) -> Diagnosis:
        return diagnose(model, split, 8, num_samples=None, **known)

    assert judged().verdict.verdict == "collapsed"
    assert "trained with" not in judged().verdict.explanation
    assert "(trained with free bits of 0.5)" in judged(free_bits=0.5).verdict.explanation
    assert "(trained with no KL term)" in judged(beta=0.0).verdict.explanation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"num_sentences": 1}, "num_sentences must be at least 2, got 1"),
        ({"num_sentences": 9}, "every sentence of the split once, got 8 of 9"),
    ],
)
def test_wrong_arguments(
    arguments: dict[str, int], message: str, model: SentenceVAE, split: list[Batch]
) -> None:
    with pytest.raises(InputError, match=message):
        diagnose(model, split, **{"num_sentences": 8, **arguments})
