"""The table of rules: what a model is called, and that the words hold the numbers."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from textvae.config import DataConfig, ModelConfig, TrainingConfig
from textvae.diagnostics.verdict import RULES, Signs, judge

HEALTHY = Signs(
    rec=95.0,
    kl=6.5,
    nll=99.0,
    zero=110.0,
    used=14.0,
    mi=5.5,
    mi_max=math.log(3761),
    least_aggregate_kl=0.1,
    posterior_variance=0.7,
    au=32,
    num_active=32,
    latent_dim=32,
    tokens_per_sentence=22.0,
    vocab_size=10_000,
)


def signs(**changes: Any) -> Signs:
    return dataclasses.replace(HEALTHY, **changes)


COLLAPSED: dict[str, Any] = {
    "kl": 0.01,
    "mi": 0.005,
    "used": 0.01,
    "au": 0,
    "num_active": 0,
    "posterior_variance": 0.99,
    "least_aggregate_kl": 0.001,
    "zero": 95.0,
}
AUTOENCODER: dict[str, Any] = {
    "kl": 237.0,
    "nll": 300.0,
    "mi": 8.2,
    "used": 31.0,
    "zero": 236.0,
    "posterior_variance": 0.0008,
    "least_aggregate_kl": 87.0,
}

CASES = [
    ({}, "healthy", "5.50 nats about the sentence"),
    # KL far above log N: MI can't follow, and the estimate of KL(q(z) ‖ p(z)) is no sign.
    (
        {"kl": 25.0, "mi": 8.2, "used": 60.0, "posterior_variance": 0.4, "zero": 160.0},
        "healthy",
        "at most 8.23",
    ),
    # Two dimensions may well be narrow, if they are worth it and lie where the prior does.
    (
        {"latent_dim": 2, "au": 2, "num_active": 2, "kl": 5.0, "posterior_variance": 0.03},
        "healthy",
        "2 of 2",
    ),
    # Guessing among 10,000 words takes 9.21 nats a token.
    ({"rec": 9.2 * 22}, "never trained", "9.20 nats a token"),
    ({"rec": 12.0 * 22, **AUTOENCODER}, "never trained", "12.00"),
    ({"rec": 8.0 * 22, "nll": 8.2 * 22, "zero": 9 * 22}, "healthy", ""),
    ({"latent_dim": 0, **COLLAPSED, "kl": 0.0}, "language model", "no z"),
    ({"latent_dim": 0, "rec": 9.2 * 22}, "never trained", ""),
    (COLLAPSED, "collapsed", "KL is 0.010 nats"),
    # The posterior left the prior, but is the same for every sentence.
    ({**COLLAPSED, "kl": 2.56}, "collapsed", "of 2.56 nats of KL, 0.005 are about"),
    # z says a lot, and nobody listens.
    ({**COLLAPSED, "kl": 5.0, "mi": 4.9, "au": 32}, "collapsed", "decoder ignores z"),
    (AUTOENCODER, "autoencoder", "at least 87.0 nats from the prior, of a KL of 237.0"),
    ({**AUTOENCODER, "beta": 0.0}, "autoencoder", "(trained with no KL term)"),
    # Where the prior is after all, but at a price that the decoder does not earn.
    ({**AUTOENCODER, "least_aggregate_kl": 1.0}, "autoencoder", "decoder only 31.0"),
    # Paid for little, in three ways.
    (
        {"used": 3.0, "free_bits": 0.2, "beta": 1.0},
        "partly collapsed",
        "the decoder uses 3.00, the rest is noise (trained with a KL weight of 1 and free bits of",
    ),
    ({"mi": 2.0}, "partly collapsed", "only 2.00 are about the sentence"),
    ({"nll": 100.6, "zero": 100.5}, "partly collapsed", "100.60 nats (NLL), with z = 0 in 100.50"),
    ({"nll": None, "zero": 101.0}, "partly collapsed", "101.50 nats (−ELBO), with z = 0 in 101.00"),
    ({"nll": None, "zero": 102.0}, "healthy", ""),
    # Free bits at their floor in every dimension, but worth it by the NLL (not by the ELBO).
    (
        {"rec": 99.2, "kl": 2.5, "mi": 1.7, "used": 3.2, "zero": 100.9, "nll": 100.5},
        "healthy",
        "1.70 nats",
    ),
    ({"au": 3, "num_active": 4}, "partly collapsed", "3 of 32 are in use"),
    ({"au": 32, "num_active": 5}, "partly collapsed", "5 of 32 are in use"),
    ({"au": 8, "num_active": 8}, "healthy", ""),
    ({"kl": 0.5, "mi": 0.45, "used": 0.7, "zero": 95.9, "nll": 95.2}, "partly collapsed", "little"),
    # A number that is none must not pass for health.
    ({"rec": math.nan}, "broken", "not finite"),
    ({"kl": math.inf}, "broken", "not finite"),
    ({"mi": math.nan}, "broken", "not finite"),
    ({"used": math.nan}, "broken", "not finite"),
]


@pytest.mark.parametrize(("changes", "verdict", "words"), CASES)
def test_what_a_model_is_called_and_why(changes: dict[str, Any], verdict: str, words: str) -> None:
    found = judge(signs(**changes))
    assert (found.verdict, words in found.explanation) == (verdict, True), found.explanation


def test_every_rule_has_its_case() -> None:
    reached = {
        next(i for i, rule in enumerate(RULES) if rule.applies(signs(**changes)))
        for changes, _, _ in CASES
    }
    assert reached == set(range(len(RULES)))


def test_the_last_rule_always_applies() -> None:
    assert RULES[-1].applies(signs(rec=math.nan))


@pytest.mark.parametrize("changes", [changes for changes, _, _ in CASES])
def test_words_and_advice_are_sentences_without_gaps(changes: dict[str, Any]) -> None:
    for text in judge(signs(**changes))[1:]:
        assert text.endswith(".")
        assert not re.search(r"[{}]|None|  ", text)


def test_advice_names_options_that_exist() -> None:
    options = {
        f"--{field.name.replace('_', '-')}"
        for config in (ModelConfig, DataConfig, TrainingConfig)
        for field in dataclasses.fields(config)
    }
    advised = {option for rule in RULES for option in re.findall(r"--[a-z-]+", rule.advice)}
    assert advised <= options
    assert {"--word-dropout", "--free-bits", "--warmup-epochs", "--max-beta"} <= advised


@pytest.mark.parametrize(
    ("beta", "free_bits", "remark"),
    [
        (None, None, ""),
        (1.0, 0.0, " (trained with a KL weight of 1)"),
        (0.5, 0.1, " (trained with a KL weight of 0.5 and free bits of 0.1)"),
        (None, 0.1, " (trained with free bits of 0.1)"),
        (0.0, 0.1, " (trained with no KL term)"),
    ],
)
def test_what_is_known_of_training_is_said(
    beta: float | None, free_bits: float | None, remark: str
) -> None:
    assert signs(beta=beta, free_bits=free_bits).trained_with == remark
