"""From nats to what is compared across corpora."""

from __future__ import annotations

import math

from textvae.checks import at_least

MAX_EXPONENT = 700.0
"""Above it, e to its power is no float any more."""


def perplexity(nats: float, num_tokens: int) -> float:
    """Perplexity, exp(nats / tokens), infinity where that is beyond a float.

    Args:
        nats: Negative log-probability of all sentences together, or a bound on it.
        num_tokens: Tokens predicted in them, at least 1: EOS counted, BOS not.
    """
    at_least(1, num_tokens=num_tokens)
    per_token = nats / num_tokens
    return math.inf if per_token > MAX_EXPONENT else math.exp(per_token)


def bits_per_token(nats: float, num_tokens: int) -> float:
    """Bits a token, nats / (tokens · ln 2): bits per character where tokens are characters.

    Args:
        nats: Negative log-probability of all sentences together.
        num_tokens: Tokens predicted in them, at least 1: EOS counted, BOS not.
    """
    at_least(1, num_tokens=num_tokens)
    return nats / num_tokens / math.log(2)
