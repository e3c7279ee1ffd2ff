"""From nats to what is compared across corpora: `perplexity` and `bits_per_token`."""

from __future__ import annotations

import math

__all__ = ["bits_per_token", "perplexity"]

MAX_EXPONENT = 700.0
"""Above it, e to its power is no float any more."""


def perplexity(nats: float, num_tokens: int) -> float:
    """Perplexity, exp(nats / tokens), infinity where that is beyond a float.

    Args:
        nats: Negative log-probability of all sentences together.
        num_tokens: Tokens predicted in them: EOS counted, BOS not.

    Returns:
        The perplexity; a bound on it where `nats` is a bound.

    Raises:
        ValueError: If `num_tokens` is below 1.
    """
    per_token = _per_token(nats, num_tokens)
    return math.inf if per_token > MAX_EXPONENT else math.exp(per_token)


def bits_per_token(nats: float, num_tokens: int) -> float:
    """Bits a token, nats / (tokens · ln 2): bits per character where tokens are characters.

    Args:
        nats: Negative log-probability of all sentences together.
        num_tokens: Tokens predicted in them: EOS counted, BOS not.

    Returns:
        Bits per token.

    Raises:
        ValueError: If `num_tokens` is below 1.
    """
    return _per_token(nats, num_tokens) / math.log(2)


def _per_token(nats: float, num_tokens: int) -> float:
    if num_tokens < 1:
        raise ValueError(f"num_tokens must be at least 1, got {num_tokens}")
    return nats / num_tokens
