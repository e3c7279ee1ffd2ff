"""Every estimate put together, plain JSON, and the table of rules: what a model is called."""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.diagnostics.models import SENTENCES, Laplace, MakeModel, ablated, batches, interrupting
from tests.draws import draws
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.config import DataConfig, ModelConfig, TrainingConfig
from textvae.diagnostics import (
    RULES,
    Ablation,
    Diagnosis,
    Evaluation,
    FactorLabels,
    ImportanceNLL,
    Moments,
    MutualInformation,
    diagnose,
    evaluate,
    importance_nll,
    mi_per_dimension,
    moments,
    mutual_information,
    posteriors,
)
from textvae.diagnostics.information import AU_THRESHOLDS
from textvae.model import Gaussian, Posterior, SentenceVAE
from textvae.recipes import combined

COMMITTED = Path(__file__).parents[2] / "results" / "ptb-vae" / "diagnosis.json"
SPLIT = batches([[3, 1, 0], [4, 5, 7], [6, 2]])
LENGTHS = {"length": [str(min(3, len(sentence))) for sentence in SENTENCES]}
LOG_N = math.log(3761)


@pytest.fixture
def model(make_model: MakeModel) -> SentenceVAE:
    return make_model()


def test_the_parts_are_what_each_estimator_says(model):
    known = {"beta": 0.5, "free_bits": 0.25}
    found = diagnose(model, iter(SPLIT), 8, num_samples=7, seed=3, **known)
    assert (found.beta, found.free_bits, found.vocab_size) == (0.5, 0.25, model.vocab_size)
    for key, value in evaluate(model, SPLIT, 8, seed=3).to_dict().items():
        assert found.elbo.to_dict()[key] == pytest.approx(value, rel=1e-6), key
    nll = importance_nll(model, SPLIT, num_samples=7, seed=3)
    assert (found.nll.nll, found.nll.se, found.nll.ppl) == (nll.nll, nll.se, nll.ppl)
    posterior = posteriors(model, SPLIT, 8)
    assert found.posterior.mean.equal(posterior.mean)
    assert found.mi == mutual_information(posterior, seed=3)
    assert found.mi_classic == mutual_information(posterior, seed=3, estimator="classic").mi
    assert found.mi_per_dim == mi_per_dimension(posterior, seed=3)
    assert found.moments == moments(posterior)
    assert found.ablation == ablated(model, SPLIT, 8, seed=3)
    assert found.ablation.own == found.elbo.rec
    assert not found.interrupted


def test_each_sentence_is_encoded_once_and_decoded_with_four_z(model, monkeypatch):
    encoded, decoded = [], []

    def encode(batch: Batch) -> Posterior:
        encoded.extend(batch.indices.tolist())
        return SentenceVAE.encode(model, batch)

    def log_likelihood(batch: Batch, z: torch.Tensor) -> torch.Tensor:
        decoded.append(z.shape[:2].numel())
        return SentenceVAE.log_likelihood(model, batch, z)

    monkeypatch.setattr(model, "encode", encode)
    monkeypatch.setattr(model, "log_likelihood", log_likelihood)
    diagnose(model, SPLIT, 8, num_samples=None)
    assert sorted(encoded) == list(range(8))
    assert sum(decoded) == 4 * 8


def test_a_family_of_ones_own(make_model, monkeypatch):
    model = make_model(std=0.3)

    def encode(batch: Batch) -> Posterior:
        gaussian = SentenceVAE.encode(model, batch)
        return Laplace(gaussian.mean, (gaussian.variance / 2).sqrt())

    plain = diagnose(model, SPLIT, 8, num_samples=200)
    monkeypatch.setattr(model, "encode", encode)
    found = diagnose(model, SPLIT, 8, num_samples=200)
    assert isinstance(found.posterior, Laplace)
    assert found.moments.variance == pytest.approx(plain.moments.variance)
    assert found.elbo.kl > plain.elbo.kl, "of all with a variance, the Gaussian has most entropy"
    assert found.nll.nll == pytest.approx(plain.nll.nll, abs=0.05), "both estimate the same"
    assert 0 < found.mi.mi <= found.mi.mi_max
    json.dumps(found.to_dict(), allow_nan=False)


def test_it_is_plain_json(model):
    found = diagnose(model, SPLIT, 8, num_samples=2)
    plain = found.to_dict()
    committed = json.loads(COMMITTED.read_text())
    gone, since = (
        {"nll_se_repeats"},
        {"disentanglement", "fitted_prior"},
    )  # the first is of repeated estimates
    assert set(committed) - {"run", "corpus", "split"} - gone == set(plain) - since
    for part in ("moments", "ablation"):
        assert plain[part].keys() == committed[part].keys()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["au_curve"].keys() == {f"{threshold:g}" for threshold in AU_THRESHOLDS}
    assert plain["au_curve"]["0.01"] == plain["au"]
    assert plain["ablation"]["used"] == plain["ablation"]["shuffled"] - plain["ablation"]["own"]
    assert len(plain["kl_per_dim"]) == len(plain["mi_per_dim"]) == model.latent_dim
    assert (plain["nll"], plain["nll_se"]) == (found.nll.nll, found.nll.se)
    assert (plain["mi"], plain["kl"]) == (found.mi.mi, found.elbo.kl)
    assert (plain["num_samples"], plain["nll_num_sentences"]) == (2, 8)
    assert plain["least_aggregate_kl"] == found.moments.least_aggregate_kl
    assert (plain["verdict"], plain["explanation"], plain["advice"]) == found.verdict


def test_what_a_notebook_shows(model):
    found = diagnose(model, SPLIT, 8, num_samples=2)
    figures = f"rec {found.elbo.rec:.2f}, KL {found.elbo.kl:.2f}, NLL {found.nll.nll:.2f}, MI "
    assert repr(found).startswith(f"Diagnosis({found.verdict.verdict}: {figures}")
    html = found._repr_html_()
    assert html.count("<p>") == 3
    assert escape(found.verdict.advice) in html


def test_a_language_model_without_and_with_its_nll(make_model):
    model = make_model(latent_dim=0, std=0.4)
    found = diagnose(model, SPLIT, 8, num_samples=None)
    assert (found.nll, found.interrupted) == (None, False)
    plain = found.to_dict()
    assert {plain[name] for name in ("nll", "nll_se", "ppl", "num_samples")} == {None}
    assert plain["nll_is_partial"] is False
    measured = diagnose(model, SPLIT, 8, num_samples=5).nll
    assert measured.nll == pytest.approx(found.elbo.rec, rel=1e-6)
    assert measured.ppl == pytest.approx(found.elbo.elbo_ppl, rel=1e-6)
    assert (measured.num_samples, measured.effective_samples) == (1, 1)
    assert (found.elbo.kl, found.mi.mi, found.ablation.used) == (0, 0, 0)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_the_nll_can_be_cut_short(done, model):
    found = diagnose(model, SPLIT, 8, num_samples=3, progress=interrupting(done))
    assert found.interrupted
    assert (found.nll is None) == (done == 0)
    assert found.elbo.num_sentences == 8
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["nll_is_partial"]
    if found.nll is not None:
        assert found.nll.is_partial
        assert found.nll.num_sentences in {done * 3, done * 3 - 1}


@pytest.mark.parametrize("title", ["posteriors", "ELBO and ablation", "factors"])
def test_an_interruption_elsewhere_goes_through(title, model):
    factors = FactorLabels(SPLIT, 8, LENGTHS, LENGTHS)
    with pytest.raises(KeyboardInterrupt):
        diagnose(model, SPLIT, 8, factors=factors, progress=interrupting(1, at=title))


def test_factors_and_the_order_of_passes(model):
    told = []

    def progress(batches: Sequence[Batch], title: str) -> Sequence[Batch]:
        told.append((title, len(batches)))
        return batches

    factors = FactorLabels(iter(SPLIT), 8, LENGTHS, LENGTHS)
    found = diagnose(model, SPLIT, 8, num_samples=1, factors=factors, progress=progress)
    assert told == [("posteriors", 3), ("ELBO and ablation", 3), ("factors", 3), ("NLL", 3)]
    (probe,) = found.factors
    assert probe.name == "length"
    assert found.to_dict()["factors"] == [probe._asdict()]


def test_factors_are_told_by_draws_and_not_by_means(make_model):
    # Means that differ by little tell the sentence to whoever sees them; z, under noise, does not.
    model = make_model(latent_dim=1)
    with torch.no_grad():
        model.head.mu.weight.mul_(1e-4)
        model.head.logvar.weight.zero_()
        model.head.logvar.bias.zero_()
    mean = posteriors(model, SPLIT, 8).mean
    told = {"f": [str(int(m > mean.median())) for m in mean[:, 0]]}
    factors = FactorLabels(SPLIT, 8, told, told)
    assert diagnose(model, SPLIT, 8, num_samples=None, factors=factors).factors[0].accuracy < 1


def test_a_diverged_model_is_called_broken(model):
    with torch.no_grad():
        model.head.mu.weight.fill_(math.nan)
    factors = FactorLabels(SPLIT, 8, LENGTHS, LENGTHS)
    found = diagnose(model, SPLIT, 8, num_samples=2, factors=factors)
    assert found.verdict.verdict == "broken"
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["mi"] is None
    assert found.factors == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"num_sentences": 1}, "num_sentences must be at least 2, got 1"),
        ({"num_sentences": 9}, "every sentence of the split once, got 8 of 9"),
    ],
)
def test_wrong_arguments(arguments, message, model):
    with pytest.raises(InputError, match=message):
        diagnose(model, SPLIT, **{"num_sentences": 8, **arguments})


def estimates(
    *,
    rec: float = 95.0,
    kl: float = 6.5,
    nll: float | None = 99.0,
    zero: float = 110.0,
    used: float = 14.0,
    mi: float = 5.5,
    mi_max: float = LOG_N,
    least: float = 0.1,
    variance: float = 0.7,
    au: int = 32,
    num_active: int = 32,
    latent_dim: int = 32,
    tokens: int = 22,
    described: Moments | None = None,
    **known: Any,
) -> Diagnosis:
    """What is measured of a healthy model of 3,761 sentences of 22 tokens, with changes."""
    # One dimension's mean is as far off as makes q(z) `least` nats from the prior.
    mean = [math.sqrt(2 * least), *[0.0] * (latent_dim - 1)] if latent_dim else []
    ones, rest, some = ([value] * latent_dim for value in (1.0, 1 - variance, variance))
    sizes = [0.0] * latent_dim, 3761, 3761 * tokens
    rows = torch.arange(3761), torch.zeros(3761)
    unread = ("interrupted", "posterior", "mi_classic", "mi_per_dim", "au_curve", "factors")
    return Diagnosis(
        **dict.fromkeys(unread),
        elbo=Evaluation(rec, kl, -rec - kl, 1.0, mi, mi_max, au, num_active, *sizes),
        nll=nll and ImportanceNLL(nll, 0.1, 1.0, 1.0, 500, 3761 * 22, False, *rows),
        mi=MutualInformation(mi, 0.01, mi_max, kl - mi),
        moments=described or Moments(mean, ones, rest, some),
        ablation=Ablation(rec, rec + used, rec + used, zero),
        vocab_size=10_000,
        **known,
    )


COLLAPSED = dict(
    kl=0.01, mi=0.005, used=0.01, au=0, num_active=0, variance=0.99, least=1e-3, zero=95
)
AUTOENCODER = dict(kl=237.0, nll=300.0, mi=8.2, used=31.0, zero=236.0, variance=0.0008, least=87.0)
# Narrow and far from the prior by every sign, but hardly heard by its decoder.
UNHEARD = dict(kl=8.6, mi=5.0, used=0.33, variance=0.2, least=3.0, zero=96.0)
# Means of deviation 2, so that q(z) is about twice as wide as the prior; decoded well.
WIDE = dict(kl=15.9, mi=8.2, used=60.0, zero=150.0, variance=0.82)
# Means as the prior's, deviation 0.01: each sentence is a point of its own.
POINTS = WIDE | dict(kl=36.8, zero=160, variance=1e-4, least=0.01, latent_dim=8, au=8, num_active=8)

PARTLY = "partly collapsed"

CASES = [
    ({}, "healthy", "5.50 nats about the sentence"),
    # KL far above log N: MI can't follow, and the estimate of KL(q(z) ‖ p(z)) is no sign.
    (dict(kl=25.0, mi=8.2, used=60.0, variance=0.4, zero=160.0), "healthy", "at most 8.23"),
    # Two dimensions may well be narrow, if they are worth it and lie where the prior does.
    (dict(latent_dim=2, au=2, num_active=2, kl=5.0, variance=0.03), "healthy", "2 of 2"),
    # Guessing among 10,000 words takes 9.21 nats a token.
    (dict(rec=9.2 * 22), "never trained", "9.20 nats a token are no better than guessing among 10"),
    ({"rec": 12.0 * 22, **AUTOENCODER}, "never trained", "12.00"),
    (dict(rec=8.0 * 22, nll=8.2 * 22, zero=9 * 22), "healthy", ""),
    ({"latent_dim": 0, **COLLAPSED, "kl": 0.0}, "language model", "no z"),
    (dict(latent_dim=0, rec=9.2 * 22), "never trained", ""),
    (COLLAPSED, "collapsed", "KL is 0.010 nats"),
    # The posterior left the prior, but is the same for every sentence.
    ({**COLLAPSED, "kl": 2.56}, "collapsed", "of 2.56 nats of KL, 0.005 are about"),
    # z says a lot, and nobody listens.
    ({**COLLAPSED, "kl": 5.0, "mi": 4.9, "au": 32}, "collapsed", "decoder ignores z"),
    (AUTOENCODER, "autoencoder", "at least 87.0 nats from the prior, of a KL of 237.0"),
    ({**AUTOENCODER, "beta": 0.0}, "autoencoder", "(trained with no KL term)"),
    # Where the prior is after all, but at a price that the decoder does not earn.
    ({**AUTOENCODER, "least": 1.0}, "autoencoder", "and a wrong z costs 31.0"),
    (UNHEARD, PARTLY, "of 8.60 nats the decoder uses 0.33; with z"),
    ({**UNHEARD, "used": 4.0}, "autoencoder", "at least 3.0 nats from the prior, of a KL of 8.6"),
    ({**WIDE, "least": 8.8}, "autoencoder", "together are at least 8.8 nats from the prior, of a"),
    ({**WIDE, "least": 3.9}, "healthy", ""),
    # Of small KL, whatever the share: the sum is what draws from the prior miss.
    (dict(kl=2.5, mi=1.8, least=0.9), "healthy", ""),
    (POINTS, "autoencoder", "KL is 36.8 nats in 8 dimensions, where 8.2 tell all sentences apart"),
    ({**POINTS, "kl": 16.0}, "healthy", ""),
    ({**POINTS, "kl": 17.0, "latent_dim": 4, "au": 4, "num_active": 4}, "autoencoder", "4 dimens"),
    ({**POINTS, "latent_dim": 32, "au": 32, "num_active": 32}, "healthy", ""),
    # Paid for little, in three ways.
    (dict(used=3.0, free_bits=0.2, beta=1), PARTLY, "with a KL weight of 1 and free bits of 0.2)"),
    (dict(mi=2.0), PARTLY, "only 2.00 are about the sentence"),
    (dict(nll=100.6, zero=100.5), PARTLY, "takes 100.60 nats, KL included, with z = 0 100.50"),
    (dict(nll=None, zero=101.0), PARTLY, "takes 101.50 nats, KL included, with z = 0 101.00"),
    (dict(nll=None, zero=102.0), "healthy", ""),
    (dict(au=3, num_active=4), PARTLY, "3 of 32 are in use"),
    (dict(au=32, num_active=5), PARTLY, "5 of 32 are in use"),
    (dict(au=8, num_active=8), "healthy", ""),
    (dict(kl=0.5, mi=0.45, used=0.7, zero=95.9, nll=95.2), PARTLY, "little"),
    # Of 25 nats a fifth of one is about the sentence, and the NLL is a language model's.
    (dict(rec=25.1, kl=0.23, mi=0.19, used=0.4, zero=25.5, nll=25.28), PARTLY, "little: 0.19"),
    (dict(rec=25.1, kl=0.4, mi=0.3, used=0.4, zero=25.6, nll=25.3), "healthy", ""),
    # No more than log N can be shown of texts however long: 1 % of these is more.
    (dict(rec=900.0, nll=None, zero=950.0, tokens=300), "healthy", ""),
    # A number that is none must not pass for health.
    *[({name: math.nan}, "broken", "not finite") for name in ("rec", "mi", "used", "zero")],
    (dict(kl=math.inf), "broken", "not finite"),
]


@pytest.mark.parametrize(("changes", "verdict", "words"), CASES)
def test_what_a_model_is_called_and_why(changes, verdict, words):
    found = estimates(**changes).verdict
    assert (found.verdict, words in found.explanation) == (verdict, True), found.explanation
    for text in found[1:]:  # sentences without gaps
        assert text.endswith(".")
        assert not re.search(r"[{}]|None|  ", text)


def test_posteriors_that_were_called_healthy():
    """The signs of `WIDE` and `POINTS` are those of such posteriors."""
    means = draws(3761, 8)
    wide = Gaussian(2 * means, torch.full_like(means, math.log(0.82)))
    assert float(wide.kl().sum(1).mean()) == pytest.approx(15.9, abs=0.3)
    assert moments(wide).least_aggregate_kl == pytest.approx(8.8, abs=0.3)
    points = Gaussian(means, torch.full_like(means, 2 * math.log(0.01)))
    assert float(points.kl().sum(1).mean()) == pytest.approx(36.8, abs=0.3)
    assert moments(points).least_aggregate_kl < 0.01
    for posterior, changes in ((wide, WIDE), (points, POINTS)):
        sized = {**POINTS, **changes, "latent_dim": 8}
        assert estimates(**sized, described=moments(posterior)).verdict.verdict == "autoencoder"


def test_the_committed_diagnosis_is_judged_as_it_was():
    """Penn Treebank's: free bits at their floor in all dimensions, worth it by the NLL."""
    found = json.loads(COMMITTED.read_text())
    judged = estimates(
        **{name: found[name] for name in ("rec", "kl", "nll", "mi", "mi_max", "au")},
        **{name: found["ablation"][name] for name in ("zero", "used")},
        num_active=found["active_dimensions"],
        described=Moments(**found["moments"]),
    )
    assert judged.verdict == tuple(found[name] for name in ("verdict", "explanation", "advice"))


def test_a_partial_nll_is_not_compared_with_the_whole_splits_terms():
    whole = estimates(nll=100.6, zero=100.5)
    partial = dataclasses.replace(whole, nll=dataclasses.replace(whole.nll, is_partial=True))
    assert (whole.bound, partial.bound) == (100.6, 101.5)


def test_every_rule_has_its_case():
    found = [estimates(**changes) for changes, _, _ in CASES]
    reached = {next(i for i, rule in enumerate(RULES) if rule.applies(each)) for each in found}
    assert reached == set(range(len(RULES)))
    assert RULES[-1].applies(estimates(rec=math.nan)), "the last always applies"


def test_advice_names_options_and_recipes_that_exist():
    options = {
        f"--{field.name.replace('_', '-')}"
        for config in (ModelConfig, DataConfig, TrainingConfig)
        for field in dataclasses.fields(config)
    }
    advised = {option for rule in RULES for option in re.findall(r"--[a-z-]+", rule.advice)}
    assert advised <= options | {"--recipe"}
    assert {"--recipe", "--free-bits", "--warmup-epochs", "--max-beta"} <= advised
    for rule in RULES:
        for names in re.findall(r"--recipe ([a-z+-]+)", rule.advice):
            assert combined(names)
