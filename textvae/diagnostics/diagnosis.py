"""All there is to say of a model on a split: every estimate, and the verdict.

Shapes: M sentences of a split, Z latent dimensions, K importance samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import at_least
from textvae.diagnostics.ablation import Ablation, ablated_nll
from textvae.diagnostics.elbo import summarise
from textvae.diagnostics.factors import FactorProbe, probe_factors
from textvae.diagnostics.importance import ImportanceNLL, importance_nll
from textvae.diagnostics.information import mi_per_dimension, mutual_information
from textvae.diagnostics.latent_model import Progress, posteriors, sentence_noise, unwrapped
from textvae.diagnostics.moments import moments
from textvae.diagnostics.units import au_curve
from textvae.diagnostics.verdict import Estimates, Verdict, judge
from textvae.model import Posterior, SentenceVAE

NLL_KEYS = {
    "nll": "nll",
    "nll_se": "se",
    "nll_num_sentences": "num_sentences",
    "nll_precision": "precision",
    "ppl": "ppl",
    "bits_per_token": "bits_per_token",
    "effective_samples": "effective_samples",
    "num_samples": "num_samples",
}
"""Keys in JSON of what is told of the `ImportanceNLL`; None where there is none."""


class FactorLabels(NamedTuple):
    """Known factors of the sentences of two splits: one to fit probes on, one to score them on.

    Attributes:
        fit_batches: Every sentence of another split than the one diagnosed.
        fit_num_sentences: Size of that split.
        fit_labels: Each factor's value for each of its sentences.
        labels: Each factor's value for each sentence of the split diagnosed.
    """

    fit_batches: Iterable[Batch]
    fit_num_sentences: int
    fit_labels: Mapping[str, Sequence[str]]
    labels: Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis(Estimates):
    """A model on a split; see `Estimates` for `elbo`, `nll`, `mi`, `moments` and `ablation`.

    Attributes:
        interrupted: Whether Ctrl-C cut the NLL short: `nll` is of the sentences measured by then,
            or None.
        mi_classic: The estimate of MI as the papers make it, in batches of 32, for comparison.
        mi_per_dim: Paired estimate for each dimension alone, (Z,).
        au_curve: Active units by threshold.
        factors: How well z, drawn from the posterior, tells each known factor; empty without.
        posterior: The posteriors of all M sentences.
        verdict: What the model is, why, and what to try.
    """

    interrupted: bool
    mi_classic: float
    mi_per_dim: list[float]
    au_curve: dict[float, int]
    factors: list[FactorProbe]
    posterior: Posterior
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON: numbers that are not finite become None."""
        values = {
            **self.elbo.to_dict(),
            **{key: getattr(self.nll, name, None) for key, name in NLL_KEYS.items()},
            "nll_is_partial": self.interrupted,
            **self.mi._asdict(),
            **{name: getattr(self, name) for name in ("mi_classic", "mi_per_dim")},
            "least_aggregate_kl": self.moments.least_aggregate_kl,
            "au_curve": {f"{threshold:g}": au for threshold, au in self.au_curve.items()},
            **{name: getattr(self, name).to_dict() for name in ("moments", "ablation")},
            "factors": [probe.to_dict() for probe in self.factors],
            **self.verdict._asdict(),
        }
        plain: dict[str, Any] = _plain(values)
        return plain


def diagnose(
    model: SentenceVAE,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    num_samples: int | None = 500,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    factors: FactorLabels | None = None,
    beta: float | None = None,
    free_bits: float | None = None,
    progress: Progress = unwrapped,
) -> Diagnosis:
    """Measure a model in every way there is, and judge it.

    The NLL, which takes longest, comes last. Ctrl-C while it is measured cuts it short, and all
    the rest still stands.

    Args:
        model: The model; its mode is left as it was found.
        batches: Every sentence of the split once, each with its position as index.
        num_sentences: Size M of the split, at least 2.
        num_samples: Importance samples K, at least 1; None leaves the NLL out.
        seed: Seed of all noise, at least 0.
        precision: Of the NLL's products with the output embedding; see `importance_nll`.
        factors: Known factors of the sentences, if there are any.
        beta: Weight of the KL term last trained with, if known; for the words of the verdict.
        free_bits: Floor under each dimension's KL in training, if known; likewise.
        progress: Given a list of batches and its title for each pass: `"posteriors"`,
            `"ELBO and ablation"`, `"factors"` (with factors) and `"NLL"` (with samples). What it
            gives back is gone through.

    Returns:
        The `Diagnosis`.

    Raises:
        InputError: If there are fewer than 2 sentences, the batches do not hold every one once, or
            an argument is outside its range.
    """
    # At once, not when the estimate's turn comes after minutes.
    at_least(2, num_sentences=num_sentences)
    at_least(1, num_samples=num_samples)
    at_least(0, seed=seed)
    split = list(batches)
    posterior = posteriors(model, progress(split, "posteriors"), num_sentences)
    by_z = ablated_nll(model, progress(split, "ELBO and ablation"), posterior, seed)  # (4, M)
    probes = [] if factors is None else _probes(model, posterior, factors, seed, progress)
    nll = None
    if num_samples is not None:
        nll = _nll(model, split, num_samples, seed, precision, progress)
    noise = sentence_noise(num_sentences, model.latent_dim, seed)
    estimates = Estimates(
        elbo=summarise(by_z[0], posterior, noise, sum(batch.num_tokens for batch in split)),
        nll=nll,
        mi=mutual_information(posterior, noise=noise),
        moments=moments(posterior),
        ablation=Ablation(*by_z.mean(1).tolist()),
        vocab_size=model.vocab_size,
        beta=beta,
        free_bits=free_bits,
    )
    return Diagnosis(
        **vars(estimates),
        interrupted=num_samples is not None and (nll is None or nll.is_partial),
        mi_classic=mutual_information(posterior, estimator="classic", noise=noise).mi,
        mi_per_dim=mi_per_dimension(posterior, seed=seed),
        au_curve=au_curve(posterior.mean.double()),
        factors=probes,
        posterior=posterior,
        verdict=judge(estimates),
    )


def _nll(
    model: SentenceVAE,
    split: list[Batch],
    num_samples: int,
    seed: int,
    precision: torch.dtype,
    progress: Progress,
) -> ImportanceNLL | None:
    try:
        return importance_nll(
            model,
            split,
            num_samples=num_samples,
            seed=seed,
            precision=precision,
            progress=progress,
        )
    except KeyboardInterrupt:
        # Cut short before its first batch was done: the rest has been measured all the same.
        return None


def _probes(
    model: SentenceVAE,
    posterior: Posterior,
    factors: FactorLabels,
    seed: int,
    progress: Progress,
) -> list[FactorProbe]:
    batches = progress(list(factors.fit_batches), "factors")
    fit_posterior = posteriors(model, batches, factors.fit_num_sentences)
    generator = torch.Generator().manual_seed(seed)
    fit_codes, codes = (_draw(each, generator) for each in (fit_posterior, posterior))
    # A diverged model has no codes to probe.
    if not (fit_codes.isfinite().all() and codes.isfinite().all()):
        return []
    return probe_factors(fit_codes, factors.fit_labels, codes, factors.labels)


def _draw(posterior: Posterior, generator: torch.Generator) -> Tensor:
    return posterior.sample(torch.randn(posterior.mean.shape, generator=generator))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
