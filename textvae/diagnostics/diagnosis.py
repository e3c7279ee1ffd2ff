"""All there is to say of a model on a split: every estimate, and the verdict.

Offers `diagnose`, its result `Diagnosis`, and `FactorLabels`, which it takes where the corpus has
known factors.

Shapes: M sentences of a split, Z latent dimensions, K importance samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.diagnostics.ablation import Ablation, z_ablation
from textvae.diagnostics.elbo import Evaluation, evaluate
from textvae.diagnostics.factors import FactorProbe, probe_factors
from textvae.diagnostics.importance import ImportanceNLL, importance_nll
from textvae.diagnostics.information import (
    MutualInformation,
    mi_per_dimension,
    mutual_information,
)
from textvae.diagnostics.perplexity import bits_per_token
from textvae.diagnostics.posterior import Moments, moments, posteriors
from textvae.diagnostics.units import au_curve
from textvae.diagnostics.verdict import Signs, judge
from textvae.model import Posterior, SentenceVAE
from textvae.runtime import ALONE, Processes

__all__ = ["Diagnosis", "FactorLabels", "diagnose"]


class FactorLabels(NamedTuple):
    """Known factors of the sentences of two splits: one to fit probes on, one to score them on.

    Attributes:
        fit_batches: Gives every sentence of another split than the one diagnosed, at each call.
        fit_num_sentences: Size of that split.
        fit_labels: Each factor's value for each of its sentences.
        labels: Each factor's value for each sentence of the split diagnosed.
    """

    fit_batches: Callable[[], Iterable[Batch]]
    fit_num_sentences: int
    fit_labels: Mapping[str, Sequence[str]]
    labels: Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A model on a split; means over sentences, nats per sentence unless said otherwise.

    Attributes:
        rec: −E_q[log p(x|z)].
        kl: KL(q(z|x) ‖ p(z)).
        elbo: −(rec + kl).
        elbo_ppl: exp(−ELBO / predicted tokens), a bound on the perplexity.
        nll: Importance-weighted NLL; None, as all that follows from it, if not measured.
        nll_se: Its standard error over sentences.
        nll_se_repeats: Its standard error over repetitions; None with one.
        nll_is_partial: Whether it was cut short.
        nll_num_sentences: Sentences it is the mean of: fewer than M if cut short.
        nll_precision: In which the output layer was multiplied for it: `"fp32"` or `"bf16"`.
        ppl: exp(all nats of `nll` / predicted tokens).
        bits_per_token: Bits per character where tokens are characters.
        effective_samples: Effective number of the K samples.
        num_samples: Importance samples K; 0 if not measured.
        mi: Paired estimate of I_q(x; z).
        mi_se: Its standard error over sentences.
        mi_max: log M, which it can't exceed.
        mi_classic: The estimate of the papers, in batches of 32, for comparison.
        mi_per_dim: Paired estimate for each dimension alone, (Z,).
        aggregate_kl: Estimate of KL(q(z) ‖ p(z)); too high where KL nears log M.
        least_aggregate_kl: What it is at least, by the moments of q(z).
        au: Active units.
        au_curve: Active units by threshold.
        active_dimensions: Dimensions active by their KL.
        kl_per_dim: Mean KL of each dimension, (Z,).
        moments: Moments of the posteriors and of q(z), per dimension.
        ablation: What the decoder takes from z.
        factors: How well z, drawn from the posterior, tells each known factor; empty without.
        verdict: What the model is, in a word or two.
        explanation: Why, with the numbers.
        advice: The next thing to try.
        num_sentences: Sentences of the split, M.
        num_tokens: Predicted tokens of the split.
    """

    rec: float
    kl: float
    elbo: float
    elbo_ppl: float
    nll: float | None
    nll_se: float | None
    nll_se_repeats: float | None
    nll_is_partial: bool
    nll_num_sentences: int
    nll_precision: str
    ppl: float | None
    bits_per_token: float | None
    effective_samples: float | None
    num_samples: int
    mi: float
    mi_se: float
    mi_max: float
    mi_classic: float
    mi_per_dim: list[float]
    aggregate_kl: float
    least_aggregate_kl: float
    au: int
    au_curve: dict[float, int]
    active_dimensions: int
    kl_per_dim: list[float]
    moments: Moments
    ablation: Ablation
    factors: list[FactorProbe]
    verdict: str
    explanation: str
    advice: str
    num_sentences: int
    num_tokens: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON: numbers that are not finite become None."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["au_curve"] = {f"{threshold:g}": au for threshold, au in self.au_curve.items()}
        values["moments"] = self.moments.to_dict()
        values["ablation"] = dataclasses.asdict(self.ablation) | {"used": self.ablation.used}
        values["factors"] = [probe.to_dict() for probe in self.factors]
        plain: dict[str, Any] = _plain(values)
        return plain


def diagnose(
    model: SentenceVAE,
    batches: Callable[[], Iterable[Batch]],
    num_sentences: int,
    *,
    num_samples: int | None = 500,
    num_repeats: int = 1,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    factors: FactorLabels | None = None,
    beta: float | None = None,
    free_bits: float | None = None,
    before_stage: Callable[[str], None] = lambda stage: None,
    before_batch: Callable[[], None] | None = None,
    processes: Processes = ALONE,
) -> Diagnosis:
    """Measure a model in every way there is, and judge it.

    The NLL, which takes longest, comes last. A KeyboardInterrupt while it is measured cuts it
    short, and all the rest still stands.

    Args:
        model: The model; its mode is left as it was found.
        batches: Gives every sentence of the split, each with its position as index, at each call.
        num_sentences: Size M of the split, at least 2.
        num_samples: Importance samples K, at least 1; None leaves the NLL out.
        num_repeats: Independent estimates of the NLL, at least 1.
        seed: Seed of all noise, at least 0.
        precision: Of the NLL's products with the output embedding; see `importance_nll`.
        factors: Known factors of the sentences, if there are any.
        beta: Weight of the KL term last trained with, if known; for the words of the verdict.
        free_bits: Floor under each dimension's KL in training, if known; likewise.
        before_stage: Called with `"elbo"`, `"posteriors"`, `"ablation"`, `"factors"` (with factors)
            and `"nll"` (with samples) before each goes through its batches.
        before_batch: Called before each batch: a progress bar's or an interruption's place.
        processes: Who shares the work of ELBO and NLL; all must call this, and get the same.

    Returns:
        The `Diagnosis`.

    Raises:
        ValueError: If there are fewer than 2 sentences, the batches do not hold all of them, or
            an argument is outside its range.
    """
    _check(num_sentences, num_samples, num_repeats, seed)
    before_stage("elbo")
    evaluation = evaluate(
        model,
        batches(),
        num_sentences,
        seed=seed,
        before_batch=before_batch,
        processes=processes,
    )
    before_stage("posteriors")
    posterior = posteriors(model, batches(), num_sentences, before_batch=before_batch)
    before_stage("ablation")
    ablation = z_ablation(model, batches(), num_sentences, seed=seed, before_batch=before_batch)
    probes: list[FactorProbe] = []
    if factors is not None:
        before_stage("factors")
        probes = _probes(model, posterior, factors, seed, before_batch)
    nll = None
    if num_samples is not None:
        before_stage("nll")
        options = {
            "num_samples": num_samples,
            "num_repeats": num_repeats,
            "seed": seed,
            "precision": precision,
            "processes": processes,
        }
        nll = _nll(model, batches(), options, before_batch)
    information = mutual_information(*posterior, seed=seed)
    described = moments(*posterior)
    signs = _signs(model, evaluation, nll, ablation, information, described)
    verdict = judge(dataclasses.replace(signs, beta=beta, free_bits=free_bits))
    return Diagnosis(
        **_of_elbo(evaluation),
        **_of_nll(nll, is_wanted=num_samples is not None),
        nll_precision="bf16" if precision == torch.bfloat16 else "fp32",
        **_of_posterior(posterior, information, described, seed),
        **verdict._asdict(),
        ablation=ablation,
        factors=probes,
    )


def _signs(
    model: SentenceVAE,
    evaluation: Evaluation,
    nll: ImportanceNLL | None,
    ablation: Ablation,
    information: MutualInformation,
    described: Moments,
) -> Signs:
    return Signs(
        rec=evaluation.rec,
        kl=evaluation.kl,
        # A mean over other sentences is not to be compared with the rest.
        nll=None if nll is None or nll.is_partial else nll.nll,
        zero=ablation.zero,
        used=ablation.used,
        mi=information.mi,
        mi_max=information.mi_max,
        least_aggregate_kl=described.least_aggregate_kl,
        posterior_variance=described.average_posterior_variance,
        au=evaluation.au,
        num_active=evaluation.active_dimensions,
        latent_dim=model.latent_dim,
        tokens_per_sentence=evaluation.num_tokens / evaluation.num_sentences,
        vocab_size=model.vocab_size,
    )


def _of_elbo(evaluation: Evaluation) -> dict[str, Any]:
    names = ("rec", "kl", "elbo", "elbo_ppl", "au", "active_dimensions", "kl_per_dim")
    return {n: getattr(evaluation, n) for n in (*names, "num_sentences", "num_tokens")}


def _of_nll(nll: ImportanceNLL | None, *, is_wanted: bool) -> dict[str, Any]:
    return {
        "nll": nll and nll.nll,
        "nll_se": nll and nll.se,
        "nll_se_repeats": nll and nll.se_repeats,
        "nll_is_partial": is_wanted if nll is None else nll.is_partial,
        "nll_num_sentences": 0 if nll is None else nll.num_sentences,
        "ppl": nll and nll.ppl,
        "bits_per_token": nll and bits_per_token(nll.nll * nll.num_sentences, nll.num_tokens),
        "effective_samples": nll and nll.effective_samples,
        "num_samples": 0 if nll is None else nll.num_samples,
    }


def _of_posterior(
    posterior: Posterior, information: MutualInformation, described: Moments, seed: int
) -> dict[str, Any]:
    return {
        "mi": information.mi,
        "mi_se": information.mi_se,
        "mi_max": information.mi_max,
        "mi_classic": mutual_information(*posterior, estimator="classic", seed=seed).mi,
        "mi_per_dim": mi_per_dimension(*posterior, seed=seed),
        "aggregate_kl": information.aggregate_kl,
        "least_aggregate_kl": described.least_aggregate_kl,
        "au_curve": au_curve(posterior.mu.double()),
        "moments": described,
    }


def _nll(
    model: SentenceVAE,
    batches: Iterable[Batch],
    options: Mapping[str, Any],
    before_batch: Callable[[], None] | None,
) -> ImportanceNLL | None:
    try:
        return importance_nll(model, batches, before_batch=before_batch, **options)
    except KeyboardInterrupt:
        # Cut short before its first batch was done: the rest has been measured all the same.
        return None


def _probes(
    model: SentenceVAE,
    posterior: Posterior,
    factors: FactorLabels,
    seed: int,
    before_batch: Callable[[], None] | None,
) -> list[FactorProbe]:
    fit_posterior = posteriors(
        model, factors.fit_batches(), factors.fit_num_sentences, before_batch=before_batch
    )
    generator = torch.Generator().manual_seed(seed)
    codes = [_draw(each, generator) for each in (fit_posterior, posterior)]
    # A diverged model has no codes to probe.
    if not all(bool(drawn.isfinite().all()) for drawn in codes):
        return []
    return probe_factors(codes[0], factors.fit_labels, codes[1], factors.labels)


def _draw(posterior: Posterior, generator: torch.Generator) -> Tensor:
    return posterior.sample(torch.randn(posterior.mu.shape, generator=generator))


def _check(num_sentences: int, num_samples: int | None, num_repeats: int, seed: int) -> None:
    # At once, not when the estimate's turn comes after minutes.
    for name, value, least in (
        ("num_sentences", num_sentences, 2),
        ("num_samples", num_samples, 1),
        ("num_repeats", num_repeats, 1),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
