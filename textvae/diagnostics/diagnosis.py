"""All there is to say of a model on a split, and what it is worth: read `RULES` from the top.

MI can't exceed log N, so that KL − MI alone says nothing where KL is near log N or above.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, NamedTuple

import torch

from textvae.batches import Batch
from textvae.checks import MANY, at_least, integer
from textvae.diagnostics import information
from textvae.diagnostics.factors import Disentanglement, FactorProbe, disentanglement, probe_factors
from textvae.diagnostics.likelihood import (
    Ablation,
    Evaluation,
    ImportanceNLL,
    LogPrior,
    Progress,
    importance_nll,
    posteriors,
    summarise,
    unwrapped,
    z_ablation,
)
from textvae.model import Posterior, SentenceVAE

GUESSING = 0.95  # share of log V, nats per token, from which predicting is no better than that
NARROW = 0.5  # posterior variance, mean over dimensions, under which they may be too narrow
POINTS = 2.3  # KL per dimension from which posteriors are all but points: ten values told apart
FAR = 0.25  # share of KL that the moments of q(z) alone cost, from which it is far from the prior
HALF = 0.5  # share of KL that must be used by the decoder, and must depend on the sentence
SATURATED = 0.8  # share of log N from which MI may be higher than N sentences can show
FEW = 0.25  # share of dimensions in use under which most of the latent space has collapsed
WEAK = 0.01  # share of rec that z must make a difference of
LITTLE = 0.5  # MI, nats, that says enough however long the sentences


class Verdict(NamedTuple):
    """A verdict, with the numbers behind it and what to do."""

    verdict: str  # one of the names in `RULES`
    explanation: str  # why, in a sentence or two
    advice: str  # the next thing to try


class FactorLabels(NamedTuple):
    """Known factors of the sentences of two splits: one to fit probes on, one to score them on."""

    fit_batches: Iterable[Batch]  # every sentence of another split than the one diagnosed
    fit_num_sentences: int
    fit_labels: Mapping[str, Sequence[str]]  # each factor's value for each of its sentences
    labels: Mapping[str, Sequence[str]]  # the same of the split diagnosed


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Diagnosis:
    """A model on a split: every estimate, and the verdict."""

    elbo: Evaluation
    nll: ImportanceNLL | None  # None if not measured
    interrupted: bool  # Ctrl-C cut the NLL short: `nll` is of what was measured by then, or None
    mi: information.MutualInformation  # of all sentences
    mi_classic: float  # as the papers estimate it, in batches of 32
    mi_per_dim: list[float]  # paired estimate for each dimension alone
    moments: information.Moments
    au_curve: dict[float, int]  # active units by threshold
    ablation: Ablation
    factors: list[FactorProbe]  # how well z, drawn from the posterior, tells each known factor
    posterior: Posterior  # of all sentences
    vocab_size: int
    beta: float | None = None  # weight of the KL term last trained with, if known
    free_bits: float | None = None  # floor under each dimension's KL in training, if known
    advice: str | None = None  # what to try, where more is known than the verdict's rule knows

    @property
    def verdict(self) -> Verdict:
        """What the model is, why, and what to try: the first of `RULES` that applies to it."""
        rule = next(rule for rule in RULES if rule.applies(self))
        return Verdict(rule.verdict, rule.words.format(e=self), self.advice or rule.advice)

    @property
    def disentanglement(self) -> Disentanglement | None:
        """MIG, SAP and DCI of the factors, where there are any."""
        return disentanglement(self.factors)

    @property
    def bound(self) -> float:
        """The tightest measured upper bound on the split's NLL, nats per sentence."""
        # A mean over other sentences is not to be compared with the rest.
        return -self.elbo.elbo if self.nll is None or self.nll.is_partial else self.nll.nll

    @property
    def per_token(self) -> float:
        """Rec per token."""
        return self.elbo.rec * self.elbo.num_sentences / self.elbo.num_tokens

    @property
    def num_used(self) -> int:
        """Dimensions that are active units and cost KL."""
        return min(self.elbo.au, self.elbo.active_dimensions)

    @property
    def trained_with(self) -> str:
        """The objective's weight and floor where they are known, as a remark."""
        known = {"a KL weight of": self.beta, "free bits of": self.free_bits}
        said = " and ".join(f"{name} {value:g}" for name, value in known.items() if value)
        if self.beta == 0:
            said = "no KL term"
        return f" (trained with {said})" if said else ""

    def __repr__(self) -> str:
        elbo, nll = self.elbo, "" if self.nll is None else f"NLL {self.nll.nll:.2f}, "
        nats = f"rec {elbo.rec:.2f}, KL {elbo.kl:.2f}, {nll}MI {self.mi.mi:.2f}"
        return f"Diagnosis({self.verdict.verdict}: {nats}, AU {elbo.au}/{elbo.latent_dim})"

    def _repr_html_(self) -> str:
        """The same in a notebook, with what it means."""
        return "".join(f"<p>{escape(line)}</p>" for line in (repr(self), *self.verdict[1:]))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON: numbers that are not finite become None."""
        fitted = self.nll and self.nll.fitted
        of_nll = ("nll", "ppl", "bits_per_token", "effective_samples", "num_samples")
        values = {
            **self.elbo.to_dict(),
            **{name: getattr(self.nll, name, None) for name in of_nll},
            **{f"nll_{n}": getattr(self.nll, n, None) for n in ("se", "num_sentences")},
            "nll_is_partial": self.interrupted,
            "fitted_prior": fitted and {name: getattr(fitted, name) for name in ("nll", "se")},
            **self.mi._asdict(),
            "mi_classic": self.mi_classic,
            "mi_per_dim": self.mi_per_dim,
            "least_aggregate_kl": self.moments.least_aggregate_kl,
            "au_curve": {f"{threshold:g}": au for threshold, au in self.au_curve.items()},
            "moments": asdict(self.moments),
            "ablation": asdict(self.ablation) | {"used": self.ablation.used},
            "factors": [probe._asdict() for probe in self.factors],
            "disentanglement": self.disentanglement and self.disentanglement._asdict(),
            **self.verdict._asdict(),
        }
        return dict(json.loads(json.dumps(values), parse_constant=lambda name: None))


class Rule(NamedTuple):
    """What a model is called, if no rule above applies; texts are templates of `e`, `Diagnosis`."""

    verdict: str
    applies: Callable[[Diagnosis], bool]
    words: str
    advice: str


PRETRAIN = (
    "Give the encoder something to say before the KL term is heard (--recipe pretrain), and lower "
    "--free-bits, if that floor keeps KL up."
)
FULL_WEIGHT = (
    "Train on with the full KL weight (--max-beta 1, --warmup-epochs well below --max-epochs), or "
    "with a lower --free-bits if it was the floor that was so high."
)
KEEP_KL = (
    "Keep the KL up: --recipe default has an autoencoder first, then a floor under the KL; where "
    "that was the recipe, raise its floor, --free-bits."
)

PAID_FOR_LITTLE = Rule(
    "partly collapsed",
    lambda e: e.ablation.used < HALF * e.elbo.kl or e.bound >= e.ablation.zero,
    "KL is paid for little: of {e.elbo.kl:.2f} nats the decoder uses {e.ablation.used:.2f}; with z "
    "a sentence takes {e.bound:.2f} nats, KL included, with z = 0 {e.ablation.zero:.2f}"
    "{e.trained_with}.",
    PRETRAIN,
)

RULES = (
    Rule(
        "broken",
        lambda e: not math.isfinite(-e.elbo.elbo + e.mi.mi + e.ablation.used + e.ablation.zero),
        "The model's terms are not finite: training diverged.",
        "Train again with a lower --lr or --clip-norm 1.",
    ),
    Rule(
        "never trained",
        lambda e: e.per_token >= GUESSING * math.log(e.vocab_size),
        "{e.per_token:.2f} nats a token are no better than guessing among {e.vocab_size}.",
        "Train it, for more epochs (--max-epochs 20) or at another --lr.",
    ),
    Rule(
        "language model",
        lambda e: e.elbo.latent_dim == 0,
        "There is no z: this is the floor that a VAE is compared with.",
        "For a VAE of the same size, train with --latent-dim 32.",
    ),
    # Collapsed: z costs nothing, or says nothing, or is not listened to.
    Rule(
        "collapsed",
        lambda e: e.elbo.kl < information.COLLAPSED_KL,
        "The posterior is the prior: KL is {e.elbo.kl:.3f} nats, and the decoder, which loses "
        "{e.ablation.used:.3f} with another sentence's z, does without.",
        KEEP_KL,
    ),
    Rule(
        "collapsed",
        lambda e: e.mi.mi < information.COLLAPSED_KL,
        "The posterior is the same for every sentence: of {e.elbo.kl:.2f} nats of KL, "
        "{e.mi.mi:.3f} are about the sentence; the rest is paid for nothing{e.trained_with}.",
        PRETRAIN,
    ),
    Rule(
        "collapsed",
        lambda e: e.ablation.used < information.COLLAPSED_KL,
        "The decoder ignores z: of {e.mi.mi:.2f} nats about the sentence, at a KL of "
        "{e.elbo.kl:.2f}, it takes no more than {e.ablation.used:.3f}{e.trained_with}.",
        "Make the decoder need z: --recipe word-dropout, or a smaller --decoder-hidden-size.",
    ),
    # Partly collapsed: KL is paid for codes that are hardly heard, or that say little.
    PAID_FOR_LITTLE._replace(applies=lambda e: e.ablation.used < HALF * e.mi.mi),
    Rule(
        "partly collapsed",
        lambda e: e.mi.mi < HALF * e.elbo.kl and e.mi.mi < SATURATED * e.mi.mi_max,
        "KL is paid for little: of {e.elbo.kl:.2f} nats only {e.mi.mi:.2f} are about the "
        "sentence, the rest is the distance of all codes from the prior{e.trained_with}.",
        PRETRAIN,
    ),
    # Autoencoder: draws from the prior fall where the decoder has never seen a z.
    Rule(
        "autoencoder",
        lambda e: e.moments.least_aggregate_kl > max(1, FAR * e.elbo.kl),
        "All codes together are at least {e.moments.least_aggregate_kl:.1f} nats from the prior, "
        "of a KL of {e.elbo.kl:.1f}: its draws fall where no sentence is{e.trained_with}.",
        FULL_WEIGHT,
    ),
    Rule(
        "autoencoder",
        lambda e: (
            (e.moments.average_variance < NARROW and e.elbo.kl > e.ablation.used)
            or e.elbo.kl > max(POINTS * e.elbo.latent_dim, 2 * e.mi.mi_max)
        ),
        "Posteriors are too narrow (variance {e.moments.average_variance:.2g}, the prior's is 1): "
        "KL is {e.elbo.kl:.1f} nats in {e.elbo.latent_dim} dimensions, where {e.mi.mi_max:.1f} "
        "tell all sentences apart and a wrong z costs {e.ablation.used:.1f}{e.trained_with}.",
        FULL_WEIGHT,
    ),
    # Partly collapsed: KL that buys little, few dimensions, or little KL.
    PAID_FOR_LITTLE,
    Rule(
        "partly collapsed",
        lambda e: e.num_used < FEW * e.elbo.latent_dim,
        "Most dimensions have collapsed: {e.num_used} of {e.elbo.latent_dim} are in use. Those "
        "carry {e.mi.mi:.2f} nats about the sentence, and the decoder listens: another sentence's "
        "z costs it {e.ablation.used:.2f}.",
        "Give every dimension its share: --recipe default+free-bits; or take fewer dimensions "
        "(--latent-dim), if what z says is enough.",
    ),
    Rule(
        "partly collapsed",
        lambda e: e.ablation.used < WEAK * e.elbo.rec or e.mi.mi < min(WEAK * e.elbo.rec, LITTLE),
        "z says little: {e.mi.mi:.2f} nats about the sentence, at a KL of {e.elbo.kl:.2f}; another "
        "sentence's z costs the decoder {e.ablation.used:.2f} in {e.elbo.rec:.1f}.",
        KEEP_KL,
    ),
    Rule(
        "healthy",
        lambda e: True,
        "z says {e.mi.mi:.2f} nats about the sentence (at most {e.mi.mi_max:.2f} can be shown) at "
        "a KL of {e.elbo.kl:.2f}, in {e.num_used} of {e.elbo.latent_dim} dimensions, and the "
        "decoder listens: another sentence's z costs it {e.ablation.used:.2f}.",
        "Sample, reconstruct and interpolate; compare models by their NLL, not by ELBO or KL.",
    ),
)
"""From the top, the first that applies. What is above has been ruled out for what is below."""


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
    log_prior: LogPrior | None = None,
    progress: Progress = unwrapped,
) -> Diagnosis:
    """Measure a model in every way there is, and judge it.

    The NLL, which takes longest, comes last: if Ctrl-C cuts it short, all the rest still stands. It
    is left out where `num_samples` is None. Titles of passes, for `progress`, are `"posteriors"`,
    `"ELBO and ablation"`, `"factors"` and `"NLL"`. Arguments and errors are else those of
    `evaluate` (at least 2 sentences) and `Diagnosis`.
    """
    # At once, not when the estimate's turn comes after minutes.
    at_least(2, num_sentences=num_sentences)
    if num_samples is not None:
        integer("num_samples", num_samples, 1, most=MANY)
    at_least(0, seed=seed)
    split = list(batches)
    posterior = posteriors(model, progress(split, "posteriors"), num_sentences)
    ablation = z_ablation(model, progress(split, "ELBO and ablation"), posterior, seed=seed)
    probes = [] if factors is None else _probes(model, posterior, factors, seed, progress)
    nll, options = None, dict[str, Any](seed=seed, log_prior=log_prior, progress=progress)
    # Cut short before its first batch is done: the rest has been measured all the same.
    with suppress(KeyboardInterrupt):
        if num_samples is not None:
            nll = importance_nll(model, split, num_samples=num_samples, **options)
    return Diagnosis(
        elbo=summarise(ablation.own, posterior, split, seed),
        nll=nll,
        interrupted=num_samples is not None and (nll is None or nll.is_partial),
        mi=information.mutual_information(posterior, seed=seed),
        mi_classic=information.mutual_information(posterior, estimator="classic", seed=seed).mi,
        mi_per_dim=information.mi_per_dimension(posterior, seed=seed),
        moments=information.moments(posterior),
        au_curve=information.au_curve(posterior.mean.double()),
        ablation=ablation,
        factors=probes,
        posterior=posterior,
        vocab_size=model.vocab_size,
        beta=beta,
        free_bits=free_bits,
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
