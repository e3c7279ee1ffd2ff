"""Which tokens a draw chooses among, as pure functions.

Each takes scores (logits or log-probabilities) of B sentences and V tokens, (B, V), and gives new
ones, −inf for what is out; one token at least stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from textvae.config import Decoding


def apply(scores: Tensor, options: Decoding) -> Tensor:
    """Those filters that are chosen, one after the other; the scores themselves without any."""
    if options.temperature != 1:
        scores = temperature(scores, options.temperature)
    for name, choose in (("top_k", top_k), ("top_p", top_p), ("typical_p", typical)):
        if (value := getattr(options, name)) is not None:
            scores = choose(scores, value)
    return scores


def temperature(scores: Tensor, value: float) -> Tensor:
    """Divide the scores, counted from the largest down: no temperature makes an infinite one."""
    return (scores - scores.amax(-1, keepdim=True)) / value


def top_k(scores: Tensor, k: int) -> Tensor:
    """Keep the `k` likeliest tokens (Fan, Lewis & Dauphin 2018, section 5.1)."""
    values, ids = scores.topk(min(k, scores.shape[-1]))
    return torch.full_like(scores, -torch.inf).scatter(1, ids, values)


def top_p(scores: Tensor, p: float) -> Tensor:
    """Keep the nucleus, the fewest likeliest tokens of probability `p` (Holtzman et al. 2020)."""
    return _first_mass(scores, scores.neg(), p)


def typical(scores: Tensor, p: float) -> Tensor:
    """The same of tokens whose −log p is nearest to the entropy (Meister et al. 2023)."""
    log_probs = scores.log_softmax(-1)
    entropy = torch.special.entr(log_probs.exp()).sum(-1, keepdim=True)
    return _first_mass(scores, (-log_probs - entropy).abs(), p)


def _first_mass(scores: Tensor, rank: Tensor, p: float) -> Tensor:
    """Keep the tokens of smallest `rank` (B, V), until those before one have `p`."""
    if p >= 1:
        return scores
    order = rank.argsort(dim=-1, stable=True)
    mass = scores.softmax(-1).gather(1, order)
    before = mass.cumsum(-1) - mass
    out = torch.empty_like(before, dtype=torch.bool).scatter(1, order, before >= p)
    out.scatter_(1, order[:, :1], False)
    return scores.masked_fill(out, -torch.inf)
