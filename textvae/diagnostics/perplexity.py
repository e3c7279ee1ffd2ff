"""From nats to what is compared across corpora; nats and tokens are of all sentences together."""

from __future__ import annotations

import math

from textvae.checks import at_least

MAX_EXPONENT = 700.0  # above it, e to its power is no float any more


def perplexity(nats: float, num_tokens: int) -> float:
    """exp(nats / tokens), EOS counted, BOS not; infinity where that is beyond a float."""
    at_least(1, num_tokens=num_tokens)
    per_token = nats / num_tokens
    return math.inf if per_token > MAX_EXPONENT else math.exp(per_token)


def bits_per_token(nats: float, num_tokens: int) -> float:
    """Nats / (tokens · ln 2): bits per character where tokens are characters."""
    at_least(1, num_tokens=num_tokens)
    return nats / num_tokens / math.log(2)
