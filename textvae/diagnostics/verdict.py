"""What a model's latent space is worth, in words, and what to try: read `RULES` from the top.

MI can't exceed log N, so that KL − MI alone says nothing where KL is near log N or above.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from textvae.diagnostics.elbo import Ablation, Evaluation
from textvae.diagnostics.importance import ImportanceNLL
from textvae.diagnostics.information import COLLAPSED_KL, Moments, MutualInformation

GUESSING = 0.95  # share of log V, nats per token, from which predicting is no better than that
NARROW = 0.5  # posterior variance, mean over dimensions, under which they may be too narrow
POINTS = 2.3  # KL per dimension from which posteriors are all but points: ten values told apart
FAR = 0.25  # share of KL that the moments of q(z) alone cost, from which it is far from the prior
HALF = 0.5  # share of KL that must be used by the decoder, and must depend on the sentence
SATURATED = 0.8  # share of log N from which MI may be higher than N sentences can show
FEW = 0.25  # share of dimensions in use under which most of the latent space has collapsed
WEAK = 0.01  # share of rec that z must make a difference of
LITTLE = 0.5  # MI, nats, that says enough however long the sentences


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """What a verdict is based on."""

    elbo: Evaluation
    nll: ImportanceNLL | None  # None if not measured
    mi: MutualInformation  # of all sentences
    moments: Moments
    ablation: Ablation
    vocab_size: int
    beta: float | None = None  # weight of the KL term last trained with, if known
    free_bits: float | None = None  # floor under each dimension's KL in training, if known

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


class Verdict(NamedTuple):
    """A verdict, with the numbers behind it and what to do."""

    verdict: str  # one of the names in `RULES`
    explanation: str  # why, in a sentence or two
    advice: str  # the next thing to try


class Rule(NamedTuple):
    """What a model is called, if no rule above applies; texts are templates of `e`, `Estimates`."""

    verdict: str
    applies: Callable[[Estimates], bool]
    words: str
    advice: str


PRETRAIN = (
    "Give the encoder something to say before the KL term is heard (--autoencoder-epochs 2), make "
    "the decoder need it (--word-dropout 0.3), and lower --free-bits, if that floor keeps KL up."
)
FULL_WEIGHT = (
    "Train on with the full KL weight (--max-beta 1, --warmup-epochs well below --max-epochs), or "
    "with a lower --free-bits if it was the floor that was so high."
)
KEEP_KL = (
    "Anneal the KL term (--annealer linear --warmup-epochs 10) and make the decoder need z "
    "(--word-dropout 0.3); if KL is lost again, hold it with --free-bits 0.1."
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
        lambda e: e.elbo.kl < COLLAPSED_KL,
        "The posterior is the prior: KL is {e.elbo.kl:.3f} nats, and the decoder, which loses "
        "{e.ablation.used:.3f} with another sentence's z, does without.",
        KEEP_KL,
    ),
    Rule(
        "collapsed",
        lambda e: e.mi.mi < COLLAPSED_KL,
        "The posterior is the same for every sentence: of {e.elbo.kl:.2f} nats of KL, "
        "{e.mi.mi:.3f} are about the sentence; the rest is paid for nothing{e.trained_with}.",
        PRETRAIN,
    ),
    Rule(
        "collapsed",
        lambda e: e.ablation.used < COLLAPSED_KL,
        "The decoder ignores z: of {e.mi.mi:.2f} nats about the sentence, at a KL of "
        "{e.elbo.kl:.2f}, it takes no more than {e.ablation.used:.3f}{e.trained_with}.",
        "Make the decoder need z: --word-dropout 0.3, or a smaller --decoder-hidden-size.",
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
        "Give every dimension its share with --free-bits 0.1 or a longer --warmup-epochs; or take "
        "fewer (--latent-dim), if what z says is enough.",
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


def judge(estimates: Estimates) -> Verdict:
    """What a model is, why, and what to try: the first of `RULES` that applies to it."""
    rule = next(rule for rule in RULES if rule.applies(estimates))
    return Verdict(rule.verdict, *(text.format(e=estimates) for text in rule[2:]))
