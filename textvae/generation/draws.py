"""Draws that belong to a sentence, the same whatever batch it is decoded in; filters before a draw.

`uniforms` and `normals` are pure functions of (seed, purpose, row, column): no state, no order of
calls, the same on every device. A row is a sentence's place, a column its step or dimension.
Filters take scores (logits or log-probabilities) of B sentences and V tokens, (B, V), and give new
ones, −inf for what is out.
"""

import numpy as np
import torch
from torch import Tensor

from textvae.config import Decoding

TOKEN, NOISE, CHOICE, LABEL = 0, 1, 2, 3  # purposes: a token, z's noise, z's text, a label
BITS = 48  # of a uniform number: few enough for float64 to hold those next to 1 exactly
LEAST = 1e-30  # of probabilities: where all are below, fp32 holds them no better than as zero

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def uniforms(seed: int, purpose: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Numbers evenly from between 0 and 1, both excluded, float64, of the shape that broadcasts.

    SplitMix64 (Steele, Lea & Flood 2014, Fast Splittable Pseudorandom Number Generators), once for
    each part of the key. The seed counts modulo 2⁶⁴.
    """
    key = np.array([seed % 2**64], dtype=np.uint64)
    for part in (torch.tensor(purpose), rows, columns):
        # Of one dimension at least: numpy warns of scalars that overflow, as here they should.
        key = key + GOLDEN * (np.atleast_1d(part.cpu().numpy()).astype(np.uint64) + 1)
        for by, factor in ROUNDS:
            key = (key ^ (key >> np.uint64(by))) * np.uint64(factor)
    return torch.from_numpy(((key >> np.uint64(64 - BITS)) + 0.5) / 2**BITS).to(rows.device)


def normals(seed: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Standard normal numbers for z, fp32, made of the `NOISE` of `uniforms`."""
    numbers: Tensor = torch.special.ndtri(uniforms(seed, NOISE, rows, columns)).float()
    return numbers


def draw(scores: Tensor, p: Tensor, shares: Tensor, options: Decoding) -> Tensor:
    """The token of each row of (B, V) below which lies a share (B,) of the filtered probability.

    Without filters `p` is that of the scores, up to a factor.
    """
    filtered = scores if options.temperature == 1 else temperature(scores, options.temperature)
    for name, keep in (("top_k", top_k), ("top_p", top_p), ("typical_p", typical)):
        if (value := getattr(options, name)) is not None:
            filtered = keep(filtered, value)
    if filtered is not scores or bool((p.amax(-1) < LEAST).any()):
        p = filtered.softmax(-1)
    mass = p.cumsum(-1)
    total = mass[:, -1:]
    below = (shares[:, None] * total).to(mass.dtype)
    # A share next to 1 would be rounded to all of the mass, beyond the last token that may come.
    below = torch.minimum(below, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(mass, below, right=True)[:, 0]


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
    """Keep the tokens of smallest `rank` (B, V), at least one, until those before one have `p`."""
    if p >= 1:
        return scores
    order = rank.argsort(dim=-1, stable=True)
    mass = scores.softmax(-1).gather(1, order)
    before = mass.cumsum(-1) - mass
    out = torch.empty_like(before, dtype=torch.bool).scatter(1, order, before >= p)
    return scores.masked_fill(out, -torch.inf)
