"""Ways through the latent space: interpolation, and one dimension from end to end.

Offers `interpolate`, `interpolation` (the same with codes and smoothness, a `Path`), `traverse`
(of the codes that `traverse_codes` gives), and on tensors `lerp` and `slerp`.

Shapes: N steps, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from textvae.generation.decoding import decode_scored
from textvae.generation.texts import encode, speak
from textvae.model import SentenceVAE

__all__ = ["METHODS", "Path", "edit_distance", "interpolate", "interpolation"]
__all__ += ["lerp", "slerp", "traverse", "traverse_codes"]

PARALLEL = 1e-4
"""Sine of the angle, and its inverse for lengths, where two codes span no plane in fp32."""


def lerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Points on the straight line between two codes.

    Args:
        start: Code at share 0, (Z,).
        end: Code at share 1, (Z,).
        shares: (N,).

    Returns:
        (N, Z).
    """
    return torch.lerp(start, end, shares[:, None])


def slerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Points on the arc between two codes: of N(0, I), most codes lie near a sphere.

    Where the arc is not defined, because a code is zero or both lie on one line through the
    origin, it is the straight line.

    Args:
        start: Code at share 0, (Z,).
        end: Code at share 1, (Z,).
        shares: (N,).

    Returns:
        (N, Z).

    Reference:
        Shoemake (1985), Animating Rotation with Quaternion Curves, section 3.3.
    """
    norms = start.norm() * end.norm()
    cosine = (start @ end) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
    angle = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    if norms == 0 or sine < PARALLEL:
        return lerp(start, end, shares)
    ahead = torch.sin(shares * angle)[:, None] / sine
    behind = torch.sin((1 - shares) * angle)[:, None] / sine
    return behind * start + ahead * end


METHODS = {"linear": lerp, "spherical": slerp}


@dataclass(frozen=True)
class Path:
    """Sentences along a way through the latent space.

    Attributes:
        texts: N sentences.
        z: Their codes, (N, Z).
        distances: Between neighbours, N − 1: token edits over the longer one's tokens, 0 to 1.
        log_probs: log p(text | z) of each, N, nats; see `Decoded`.
    """

    texts: list[str]
    z: Tensor
    distances: tuple[float, ...]
    log_probs: tuple[float, ...]

    @property
    def smoothness(self) -> float:
        """1 − the mean distance between neighbours: 1 where nothing changes, 0 where all does.

        Read it beside `num_distinct`: a collapsed model's path is perfectly smooth.
        """
        return 1 - math.fsum(self.distances) / len(self.distances)

    @property
    def num_distinct(self) -> int:
        """How many different sentences the path has."""
        return len(set(self.texts))


def interpolate(
    model: SentenceVAE, *texts: str, steps: int = 5, method: str = "linear", **options: Any
) -> list[str]:
    """Sentences on the way between texts' posterior means, decoded greedily.

    Args:
        model: The model, with a tokenizer.
        *texts: Two sentences or more.
        steps: Sentences from one text to the next, both reconstructions included; at least 2.
            Of m texts there are (m − 1) (steps − 1) + 1 sentences in all.
        method: `"linear"` or `"spherical"`, see `lerp` and `slerp`.
        **options: Those of `Decoding`, and `batch_size`.

    Returns:
        The sentences.

    Raises:
        ValueError: If there are fewer than 2 texts or steps, or an argument is outside its range;
            see also `check_texts`.

    Reference:
        Bowman et al. (2016), Generating Sentences from a Continuous Space, section 5.
    """
    return speak(model, _way(model, texts, steps, method), **options)


def interpolation(
    model: SentenceVAE, *texts: str, steps: int = 5, method: str = "linear", **options: Any
) -> Path:
    """What `interpolate` gives, with codes, log-probabilities and distances between neighbours."""
    z = _way(model, texts, steps, method)
    found = decode_scored(model, z, **options)
    ids = [one.ids for one in found]
    distances = tuple(
        edit_distance(one, other) / max(len(one), len(other), 1) for one, other in pairwise(ids)
    )
    log_probs = tuple(one.log_prob for one in found)
    return Path(model.tokenizer.decode_batch(ids), z, distances, log_probs)


def traverse(
    model: SentenceVAE,
    text: str,
    dim: int,
    *,
    low: float = -3.0,
    high: float = 3.0,
    steps: int = 7,
    **options: Any,
) -> list[str]:
    """Sentences with one dimension of a text's posterior mean set from `low` to `high`.

    Args:
        model: The model, with a tokenizer.
        text: A sentence.
        dim: The dimension, from 0 to Z − 1.
        low: First value; the prior's standard deviation is 1.
        high: Last value.
        steps: Values from `low` to `high`, both included; at least 2.
        **options: Those of `Decoding`, and `batch_size`.

    Returns:
        `steps` sentences.

    Raises:
        ValueError: If an argument is outside its range; see also `check_texts`.
    """
    z = traverse_codes(model, text, dim, low=low, high=high, steps=steps)
    return speak(model, z, **options)


def traverse_codes(
    model: SentenceVAE,
    text: str,
    dim: int,
    *,
    low: float = -3.0,
    high: float = 3.0,
    steps: int = 7,
) -> Tensor:
    """The codes that `traverse` decodes, (steps, Z); its arguments, and what it raises."""
    _check_steps(steps)
    z = encode(model, [text]).mu.repeat(steps, 1)
    if not 0 <= dim < model.latent_dim:
        raise ValueError(f"dim must be from 0 to {model.latent_dim - 1}, got {dim}")
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"low must be finite and below high, got {low} and {high}")
    z[:, dim] = torch.linspace(low, high, steps, device=z.device)
    return z


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Fewest insertions, deletions and replacements that make one sequence of the other.

    Reference:
        Wagner & Fischer (1974), The String-to-String Correction Problem.
    """
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        corner, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (left != right))
    return row[-1]


def _way(model: SentenceVAE, texts: Sequence[str], steps: int, method: str) -> Tensor:
    _check_steps(steps)
    if len(texts) < 2:
        raise ValueError(f"texts must be at least 2 sentences (both ends), got {len(texts)}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    mu = encode(model, texts).mu
    shares = torch.linspace(0, 1, steps, device=mu.device)
    legs = [METHODS[method](start, end, shares) for start, end in pairwise(mu)]
    return torch.cat([legs[0], *(leg[1:] for leg in legs[1:])])


def _check_steps(steps: int) -> None:
    if steps < 2:
        raise ValueError(f"steps must be at least 2 (both ends), got {steps}")
