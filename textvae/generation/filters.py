"""What decoding does to the scores of the next token, as pure functions.

`repetition` makes some tokens less likely; `temperature`, `top_k`, `top_p` and `typical` say
which of them a draw chooses among. Each takes scores (logits or log-probabilities) and gives new
ones, −inf for what is out; one token at least stays.

Shapes: B sentences, T tokens so far, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["repetition", "temperature", "top_k", "top_p", "typical"]


def repetition(scores: Tensor, past: Tensor, penalty: float) -> Tensor:
    """Make tokens that a sentence already has less likely.

    Args:
        scores: (B, V).
        past: Tokens so far, (B, T).
        penalty: Above 0; 1 changes nothing, above 1 forbids more and more. A score above 0 is
            divided by it, one below multiplied.

    Returns:
        (B, V).

    Reference:
        Keskar et al. (2019), CTRL, section 4.1; there for logits above 0 only.
    """
    seen = scores.gather(1, past)
    return scores.scatter(1, past, torch.where(seen > 0, seen / penalty, seen * penalty))


def temperature(scores: Tensor, value: float) -> Tensor:
    """Divide (B, V) scores by `value`, above 0: below 1 the likely gets likelier.

    Counted from the largest score down, so that no temperature makes an infinite one.
    """
    return (scores - scores.amax(-1, keepdim=True)) / value


def top_k(scores: Tensor, k: int) -> Tensor:
    """Keep the `k` likeliest tokens of each row of (B, V).

    Reference:
        Fan, Lewis & Dauphin (2018), Hierarchical Neural Story Generation, section 5.1.
    """
    values, ids = scores.topk(min(k, scores.shape[-1]))
    return torch.full_like(scores, -torch.inf).scatter(1, ids, values)


def top_p(scores: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest tokens that hold a probability of `p` together: the nucleus.

    Args:
        scores: (B, V).
        p: Above 0, at most 1, which keeps all.

    Returns:
        (B, V).

    Reference:
        Holtzman et al. (2020), The Curious Case of Neural Text Degeneration, section 3.1.
    """
    return _first_mass(scores, scores.neg(), p)


def typical(scores: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens of typical information that hold a probability of `p` together.

    Typical is a token whose −log p is near the entropy of the distribution.

    Args:
        scores: (B, V).
        p: Above 0, at most 1, which keeps all.

    Returns:
        (B, V).

    Reference:
        Meister et al. (2023), Locally Typical Sampling, section 4.
    """
    log_probs = scores.log_softmax(-1)
    entropy = torch.special.entr(log_probs.exp()).sum(-1, keepdim=True)
    return _first_mass(scores, (-log_probs - entropy).abs(), p)


def _first_mass(scores: Tensor, rank: Tensor, p: float) -> Tensor:
    """Keep the tokens of smallest `rank`, until those before one hold `p`."""
    if p >= 1:
        return scores
    order = rank.argsort(dim=-1, stable=True)
    mass = scores.softmax(-1).gather(1, order)
    before = mass.cumsum(-1) - mass
    out = torch.empty_like(before, dtype=torch.bool).scatter(1, order, before >= p)
    out.scatter_(1, order[:, :1], False)
    return scores.masked_fill(out, -torch.inf)
