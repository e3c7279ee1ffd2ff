"""Tests of `textvae.diagnostics.perplexity`."""

from __future__ import annotations

import math

import pytest

from textvae.diagnostics.perplexity import bits_per_token, perplexity


@pytest.mark.parametrize(
    ("nats", "num_tokens", "ppl", "bits"),
    [
        (0.0, 5, 1.0, 0.0),  # certain of everything
        (5 * math.log(10), 5, 10.0, math.log2(10)),  # one of ten each time
        (3 * math.log(2), 3, 2.0, 1.0),  # a coin each time
        (3 * math.log(2), 6, math.sqrt(2), 0.5),  # a coin every second time
        (1e4, 10, math.inf, 1000 / math.log(2)),  # beyond a float
        (690.0, 1, math.exp(690), 690 / math.log(2)),  # just within it
    ],
)
def test_by_hand(nats: float, num_tokens: int, ppl: float, bits: float) -> None:
    assert perplexity(nats, num_tokens) == pytest.approx(ppl)
    assert bits_per_token(nats, num_tokens) == pytest.approx(bits)


@pytest.mark.parametrize("function", [perplexity, bits_per_token])
def test_no_tokens_are_refused(function: object) -> None:
    with pytest.raises(ValueError, match="num_tokens must be at least 1, got 0"):
        function(1.0, 0)  # type: ignore[operator]
