"""All there is to say of a model on a split: every estimate, and the verdict.

Shapes: M sentences of a split, Z latent dimensions, K importance samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from textvae.batches import Batch
from textvae.checks import at_least
from textvae.diagnostics.elbo import (
    Ablation,
    Progress,
    ablated_nll,
    posteriors,
    summarise,
    unwrapped,
)
from textvae.diagnostics.factors import FactorProbe, probe_factors
from textvae.diagnostics.importance import importance_nll
from textvae.diagnostics.information import (
    au_curve,
    mi_per_dimension,
    moments,
    mutual_information,
    sentence_noise,
)
from textvae.diagnostics.verdict import Estimates, Verdict, judge
from textvae.model import Posterior, SentenceVAE


class FactorLabels(NamedTuple):
    """Known factors of the sentences of two splits: one to fit probes on, one to score them on."""

    fit_batches: Iterable[Batch]  # every sentence of another split than the one diagnosed
    fit_num_sentences: int
    fit_labels: Mapping[str, Sequence[str]]  # each factor's value for each of its sentences
    labels: Mapping[str, Sequence[str]]  # the same of the split diagnosed


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis(Estimates):
    """A model on a split: the estimates, on which `verdict` is based, and more."""

    interrupted: bool  # Ctrl-C cut the NLL short: `nll` is of what was measured by then, or None
    mi_classic: float  # MI as the papers estimate it, in batches of 32
    mi_per_dim: list[float]  # paired estimate for each dimension alone
    au_curve: dict[float, int]  # active units by threshold
    factors: list[FactorProbe]  # how well z, drawn from the posterior, tells each known factor
    posterior: Posterior  # of all sentences
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON: numbers that are not finite become None."""
        of_nll = ("nll", "ppl", "bits_per_token", "effective_samples", "num_samples")
        values = {
            **self.elbo.to_dict(),
            **{name: getattr(self.nll, name, None) for name in of_nll},
            **{f"nll_{n}": getattr(self.nll, n, None) for n in ("se", "num_sentences")},
            "nll_is_partial": self.interrupted,
            **self.mi._asdict(),
            "mi_classic": self.mi_classic,
            "mi_per_dim": self.mi_per_dim,
            "least_aggregate_kl": self.moments.least_aggregate_kl,
            "au_curve": {f"{threshold:g}": au for threshold, au in self.au_curve.items()},
            "moments": asdict(self.moments),
            "ablation": asdict(self.ablation) | {"used": self.ablation.used},
            "factors": [probe._asdict() for probe in self.factors],
            **self.verdict._asdict(),
        }
        plain: dict[str, Any] = json.loads(json.dumps(values), parse_constant=lambda name: None)
        return plain


def diagnose(
    model: SentenceVAE,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    num_samples: int | None = 500,
    seed: int = 0,
    factors: FactorLabels | None = None,
    beta: float | None = None,
    free_bits: float | None = None,
    progress: Progress = unwrapped,
) -> Diagnosis:
    """Measure a model in every way there is, and judge it.

    The NLL, which takes longest, comes last: if Ctrl-C cuts it short, all the rest still stands. It
    is left out where `num_samples` is None. Titles of passes, for `progress`, are `"posteriors"`,
    `"ELBO and ablation"`, `"factors"` and `"NLL"`. Arguments and errors are else those of
    `evaluate` (at least 2 sentences) and `Estimates`.
    """
    # At once, not when the estimate's turn comes after minutes.
    at_least(2, num_sentences=num_sentences)
    at_least(1, num_samples=num_samples)
    at_least(0, seed=seed)
    split = list(batches)
    posterior = posteriors(model, progress(split, "posteriors"), num_sentences)
    by_z = ablated_nll(model, progress(split, "ELBO and ablation"), posterior, seed)  # (M, 4)
    probes = [] if factors is None else _probes(model, posterior, factors, seed, progress)
    nll, noise = None, sentence_noise(num_sentences, model.latent_dim, seed)
    if num_samples is not None:
        # Cut short before its first batch is done: the rest has been measured all the same.
        with suppress(KeyboardInterrupt):
            nll = importance_nll(
                model, split, num_samples=num_samples, seed=seed, progress=progress
            )
    estimates = Estimates(
        elbo=summarise(by_z[:, 0], posterior, noise, sum(batch.num_tokens for batch in split)),
        nll=nll,
        mi=mutual_information(posterior, noise=noise),
        moments=moments(posterior),
        ablation=Ablation(*by_z.mean(0).tolist()),
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


def _probes(
    model: SentenceVAE, posterior: Posterior, factors: FactorLabels, seed: int, progress: Progress
) -> list[FactorProbe]:
    batches = progress(list(factors.fit_batches), "factors")
    both = (posteriors(model, batches, factors.fit_num_sentences), posterior)
    random = torch.Generator().manual_seed(seed)
    codes = [each.sample(torch.randn(each.mean.shape, generator=random)) for each in both]
    if not all(each.isfinite().all() for each in codes):
        return []  # a diverged model has no codes to probe
    return probe_factors(codes[0], factors.fit_labels, codes[1], factors.labels)
