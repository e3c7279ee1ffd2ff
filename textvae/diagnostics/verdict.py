"""A verdict in words on what a model's latent space is worth, and the next thing to try.

Offers `judge`, which looks for the first of `RULES` that applies to a model's `Signs`, and its
result `Verdict`. To see why a model is called what it is called, read `RULES` from the top.

MI can't exceed log N, so that KL − MI alone says nothing where KL is near log N or above: there
only signs that do not saturate are asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["RULES", "Rule", "Signs", "Verdict", "judge"]

GUESSING = 0.95
"""Share of log V, nats per token, from which a model predicts no better than by guessing."""

NOTHING = 0.1
"""Nats per sentence that count as none: a bit in seven sentences."""

NARROW = 0.5
"""Posterior variance, mean over dimensions, under which posteriors may be too narrow."""

FAR = 0.25
"""Share of KL that means and variances of q(z) alone cost, from which it is far from the prior."""

HALF = 0.5
"""Share of KL that must be used by the decoder, and must depend on the sentence."""

SATURATED = 0.8
"""Share of log N from which MI may be higher than N sentences can show."""

FEW = 0.25
"""Share of dimensions in use under which most of the latent space has collapsed."""

WEAK = 0.01
"""Share of rec that z must make a difference of."""


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What a verdict is based on; nats per sentence unless said otherwise.

    Attributes:
        rec: −E_q[log p(x|z)].
        kl: KL(q(z|x) ‖ p(z)).
        nll: Importance-weighted NLL; None if not measured.
        zero: −log p(x|z) with z = 0: what the decoder can do without z.
        used: What another sentence's z costs: shuffled − own of the ablation.
        mi: Paired estimate of I_q(x; z).
        mi_max: log N, which `mi` can't exceed.
        least_aggregate_kl: Least KL(q(z) ‖ p(z)) that the moments of q(z) allow.
        posterior_variance: Mean over sentences and dimensions; 1 where the posterior is the prior.
        au: Active units.
        num_active: Dimensions active by their KL.
        latent_dim: Dimensions of z.
        tokens_per_sentence: Predicted tokens.
        vocab_size: Number of token ids V.
        beta: Weight of the KL term last trained with; None if not known.
        free_bits: Floor under each dimension's KL in training; None if not known.
    """

    rec: float
    kl: float
    nll: float | None
    zero: float
    used: float
    mi: float
    mi_max: float
    least_aggregate_kl: float
    posterior_variance: float
    au: int
    num_active: int
    latent_dim: int
    tokens_per_sentence: float
    vocab_size: int
    beta: float | None = None
    free_bits: float | None = None

    @property
    def bound(self) -> float:
        """The tightest measured upper bound on the NLL."""
        return self.rec + self.kl if self.nll is None else self.nll

    @property
    def bound_name(self) -> str:
        """What `bound` is."""
        return "−ELBO" if self.nll is None else "NLL"

    @property
    def rec_per_token(self) -> float:
        """Nats per token."""
        return self.rec / self.tokens_per_sentence

    @property
    def log_vocab(self) -> float:
        """Log V: nats per token of guessing."""
        return math.log(self.vocab_size)

    @property
    def num_used(self) -> int:
        """Dimensions that are active units and cost KL."""
        return min(self.au, self.num_active)

    @property
    def is_finite(self) -> bool:
        """Whether training has left numbers to judge."""
        return math.isfinite(self.rec + self.kl + self.used + self.zero + self.mi)

    @property
    def trained_with(self) -> str:
        """The objective's weight and floor where they are known, as a remark."""
        known = {"a KL weight of": self.beta, "free bits of": self.free_bits}
        said = " and ".join(f"{name} {value:g}" for name, value in known.items() if value)
        if self.beta == 0:
            said = "no KL term"
        return f" (trained with {said})" if said else ""


class Rule(NamedTuple):
    """One line of the table.

    Attributes:
        verdict: What the model is called.
        applies: Whether it is that, if no rule above it applies.
        words: Why, with the numbers, as a template of `s`, the signs.
        advice: The next thing to try, likewise.
    """

    verdict: str
    applies: Callable[[Signs], bool]
    words: str
    advice: str


class Verdict(NamedTuple):
    """A verdict, with the numbers behind it and what to do.

    Attributes:
        verdict: `"broken"`, `"never trained"`, `"language model"`, `"collapsed"`,
            `"autoencoder"`, `"partly collapsed"` or `"healthy"`.
        explanation: Why, in a sentence or two.
        advice: The next thing to try.
    """

    verdict: str
    explanation: str
    advice: str


RULES: tuple[Rule, ...] = (
    Rule(
        "broken",
        lambda s: not s.is_finite,
        "The model's terms are not finite: training diverged.",
        "Train again with a lower --lr or --clip-norm 1.",
    ),
    Rule(
        "never trained",
        lambda s: s.rec_per_token >= GUESSING * s.log_vocab,
        "Predicting takes {s.rec_per_token:.2f} nats a token, guessing among {s.vocab_size} takes "
        "{s.log_vocab:.2f}.",
        "Train it, for more epochs (--max-epochs 20) or at another --lr.",
    ),
    Rule(
        "language model",
        lambda s: s.latent_dim == 0,
        "There is no z: this is the floor that a VAE is compared with.",
        "For a VAE of the same size, train with --latent-dim 32.",
    ),
    # Collapsed: z costs nothing, or says nothing, or is not listened to.
    Rule(
        "collapsed",
        lambda s: s.kl < NOTHING,
        "The posterior is the prior: KL is {s.kl:.3f} nats, so z says nothing about the sentence, "
        "and the decoder, which loses {s.used:.3f} nats with another sentence's z, does without.",
        "Anneal the KL term (--annealer linear --warmup-epochs 10) and make the decoder need z "
        "(--word-dropout 0.3); if KL is lost again, hold it with --free-bits 0.1.",
    ),
    Rule(
        "collapsed",
        lambda s: s.mi < NOTHING,
        "The posterior is the same for every sentence: of {s.kl:.2f} nats of KL, {s.mi:.3f} are "
        "about the sentence; the rest is paid for nothing{s.trained_with}.",
        "Give the encoder something to say before the KL term is heard (--autoencoder-epochs 2, or "
        "--annealer linear --warmup-epochs 10), and make the decoder need it (--word-dropout 0.3).",
    ),
    Rule(
        "collapsed",
        lambda s: s.used < NOTHING,
        "The decoder ignores z: the posterior says {s.mi:.2f} nats about the sentence, at a KL of "
        "{s.kl:.2f}, but another sentence's z costs it no more than {s.used:.3f} nats"
        "{s.trained_with}.",
        "Make the decoder need z: --word-dropout 0.3, or a smaller --decoder-hidden-size; free "
        "bits alone only fill z with noise.",
    ),
    # Autoencoder: draws from the prior fall where the decoder has never seen a z.
    Rule(
        "autoencoder",
        lambda s: s.posterior_variance < NARROW and s.least_aggregate_kl > FAR * s.kl,
        "Posteriors are too narrow (variance {s.posterior_variance:.2g}, the prior's is 1) and all "
        "together still at least {s.least_aggregate_kl:.1f} nats from the prior, of a KL of "
        "{s.kl:.1f}: codes drawn from the prior fall where no sentence is{s.trained_with}.",
        "Train on with the full KL weight: --max-beta 1, with an annealing (--warmup-epochs) that "
        "ends well before --max-epochs does.",
    ),
    Rule(
        "autoencoder",
        lambda s: s.posterior_variance < NARROW and s.kl > s.used,
        "Posteriors are too narrow (variance {s.posterior_variance:.2g}, the prior's is 1) for "
        "what that is worth: KL is {s.kl:.1f} nats, and even another sentence's z costs the "
        "decoder only {s.used:.1f}{s.trained_with}.",
        "Train on with the full KL weight (--max-beta 1, --warmup-epochs well below --max-epochs), "
        "or with a lower --free-bits if it was the floor that was so high.",
    ),
    # Partly collapsed: KL that buys little, few dimensions, or little KL.
    Rule(
        "partly collapsed",
        lambda s: s.used < HALF * s.kl,
        "KL is paid for little: of {s.kl:.2f} nats the decoder uses {s.used:.2f}, the rest is "
        "noise{s.trained_with}.",
        "Make the decoder need z (--word-dropout 0.3) and give it an encoder worth listening to "
        "(--autoencoder-epochs 2); a higher --free-bits would be filled with noise too.",
    ),
    Rule(
        "partly collapsed",
        lambda s: s.mi < HALF * s.kl and s.mi < SATURATED * s.mi_max,
        "KL is paid for little: of {s.kl:.2f} nats only {s.mi:.2f} are about the sentence, the "
        "rest is the distance of all codes from the prior{s.trained_with}.",
        "Give the encoder something to say before the KL term is heard (--autoencoder-epochs 2) "
        "and lower --free-bits, if that floor is what keeps KL up.",
    ),
    Rule(
        "partly collapsed",
        lambda s: s.bound >= s.zero,
        "KL is paid for little: with z the model predicts a sentence in {s.bound:.2f} nats "
        "({s.bound_name}), with z = 0 in {s.zero:.2f}{s.trained_with}.",
        "Make the decoder need z: --word-dropout 0.3, or --autoencoder-epochs 2 for an encoder "
        "worth listening to. If NLL was measured with few samples, take more first.",
    ),
    Rule(
        "partly collapsed",
        lambda s: s.num_used < FEW * s.latent_dim,
        "Most dimensions have collapsed: {s.num_used} of {s.latent_dim} are in use. Those carry "
        "{s.mi:.2f} nats about the sentence, and the decoder listens: another sentence's z costs "
        "it {s.used:.2f}.",
        "Give every dimension its share with --free-bits 0.1 or a longer --warmup-epochs; or take "
        "fewer (--latent-dim), if what z says is enough.",
    ),
    Rule(
        "partly collapsed",
        lambda s: s.used < WEAK * s.rec,
        "z says little: another sentence's z costs the decoder {s.used:.2f} nats in {s.rec:.1f}, "
        "at a KL of {s.kl:.2f}.",
        "Anneal for longer (--annealer linear --warmup-epochs 10), make the decoder need z "
        "(--word-dropout 0.3), or ask for more with --free-bits 0.1.",
    ),
    Rule(
        "healthy",
        lambda s: True,
        "z says {s.mi:.2f} nats about the sentence (at most {s.mi_max:.2f} can be shown) at a KL "
        "of {s.kl:.2f}, in {s.num_used} of {s.latent_dim} dimensions, and the decoder listens: "
        "another sentence's z costs it {s.used:.2f}.",
        "Sample, reconstruct and interpolate; compare models by their NLL, not by ELBO or KL.",
    ),
)
"""From the top, the first that applies. What is above has been ruled out for what is below."""


def judge(signs: Signs) -> Verdict:
    """What a model is, why, and what to try.

    Args:
        signs: Its numbers.

    Returns:
        The verdict of the first of `RULES` that applies.
    """
    rule = next(rule for rule in RULES if rule.applies(signs))
    return Verdict(rule.verdict, rule.words.format(s=signs), rule.advice.format(s=signs))
