"""Tests of `textvae.generation.walk.likeliest`; `test_decoding.py` has those of the walk itself."""

from __future__ import annotations

import pytest
import torch

from textvae.generation import Decoding
from textvae.generation.walk import Rules, likeliest

LOG_PROBS = torch.log_softmax(
    torch.randn(6, 40, generator=torch.Generator().manual_seed(0)), dim=-1
)
AMONG = LOG_PROBS.topk(4).indices


def rules(**options: float) -> Rules:
    nothing = torch.tensor([], dtype=torch.int64)
    return Rules(Decoding(**options), nothing, bos_id=2, eos_id=3, output_weight=LOG_PROBS)


def all_but(ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities after some ids of each row were banned."""
    return LOG_PROBS.scatter(1, ids, -torch.inf)


@pytest.mark.parametrize("number", [1, 3, 4, 5, 100])
def test_they_are_the_largest_whether_or_not_it_is_known_where(number: int) -> None:
    values, ids = likeliest(LOG_PROBS, number, None, rules())
    expected = LOG_PROBS.topk(min(number, 40))
    assert values.equal(expected.values)
    assert ids.equal(expected.indices)
    for found, same in zip(likeliest(LOG_PROBS, number, AMONG, rules()), expected, strict=True):
        assert found.equal(same)


def test_only_what_was_likeliest_is_looked_at() -> None:
    other = LOG_PROBS.topk(8).indices[:, 4:]
    assert likeliest(LOG_PROBS, 2, other, rules())[1].equal(other[:, :2])


def test_where_the_rules_leave_too_few_all_are_looked_at() -> None:
    allowed = all_but(AMONG[:, :2])
    assert likeliest(allowed, 2, AMONG, rules())[1].equal(AMONG[:, 2:])
    assert likeliest(allowed, 3, AMONG, rules())[1].equal(allowed.topk(3).indices)


def test_a_penalty_may_make_others_the_likeliest() -> None:
    allowed = LOG_PROBS.scatter(1, AMONG, LOG_PROBS.gather(1, AMONG) * 1.5)
    found = likeliest(allowed, 3, AMONG, rules(repetition_penalty=1.5))[1]
    assert found.equal(allowed.topk(3).indices)
    assert not found.equal(AMONG[:, :3])
