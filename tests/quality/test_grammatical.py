"""Tests of `textvae.quality.grammatical`: sentences whose factors are known."""

from __future__ import annotations

import pytest

from textvae import grammar
from textvae.quality import PathStep, accepted_share, factor_path

SENTENCE = "perhaps the shy nurse always treats the patients on monday morning"
PLURAL = "perhaps the shy nurses always treat the patients on monday morning"
PAST_DENIED = "perhaps the shy nurses never treated the patients on monday morning"
BROKEN = "perhaps the shy nurses never treats the patients on monday morning"


def test_what_the_grammar_draws_it_accepts() -> None:
    texts = [sentence.text for sentence in grammar.sample(20, seed=1)]
    assert accepted_share(texts) == 1.0
    assert accepted_share([*texts, *texts, *([BROKEN] * 8), "", "<unk>"]) == 0.8


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="texts must hold at least one sentence, got 0"):
        accepted_share([])


def test_a_path_says_what_changes_where() -> None:
    number = {"number": ("singular", "plural")}
    both = {"tense": ("present", "past"), "polarity": ("affirmed", "denied")}
    assert factor_path([SENTENCE, SENTENCE, PLURAL, BROKEN, PAST_DENIED]) == (
        PathStep(SENTENCE, True, {}),
        PathStep(SENTENCE, True, {}),
        PathStep(PLURAL, True, number),
        PathStep(BROKEN, False, {}),  # no factors, so none that change
        PathStep(PAST_DENIED, True, both),  # against the last sentence that had any
    )


def test_a_path_may_begin_outside_the_grammar() -> None:
    assert [step.changed for step in factor_path([BROKEN, SENTENCE])] == [{}, {}]
    assert factor_path([]) == ()


def test_every_change_is_one_between_the_factors_of_neighbours() -> None:
    drawn = grammar.sample(30, seed=4)
    for step, before, after in zip(
        factor_path([sentence.text for sentence in drawn])[1:], drawn, drawn[1:], strict=False
    ):
        assert step.changed == {
            name: (before.factors[name], value)
            for name, value in after.factors.items()
            if before.factors[name] != value
        }
