"""Latent codes: `encode`, codes to decode, and ways from one to another.

Every function that makes codes gives a tensor for `decode`.

Shapes: B sentences, N codes, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from textvae.batches import collate
from textvae.checks import InputError, choose, integer, number
from textvae.generation.streams import CHOICE, normals, uniforms
from textvae.model import Posterior, SentenceVAE

MAX_TOKENS = 2**14
"""Tokens, padding included, of a batch that is encoded at a time."""

PARALLEL = 1e-4
"""Sine of the angle, and its inverse for lengths, where two codes span no plane in fp32."""


def check_texts(
    model: SentenceVAE, texts: Sequence[str], *, max_tokens: int | None = None
) -> list[list[int]]:
    """The ids of each text, without special tokens, if all can be encoded.

    A model knows no limit to their length; a run says how many tokens the longest sentence had
    that it was trained on (`max_tokens`).

    Raises:
        InputError: If there are no texts, or one is empty, too long, or contains a reserved
            token; texts are counted from 1. Also if the model is a language model, without z.
        TypeError: If `texts` is a single string.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of sentences, got the string {texts!r}")
    if model.latent_dim == 0:
        raise InputError("this is a language model (latent_dim 0): it has no latent code")
    if len(texts) == 0:
        raise InputError("texts must hold at least one sentence, got 0")
    sentences = model.tokenizer.encode_batch(list(texts))
    for place, ids in enumerate(sentences, start=1):
        if not ids:
            raise InputError(f"text {place} must have at least one token, got {texts[place - 1]!r}")
        if max_tokens is not None and len(ids) > max_tokens:
            raise InputError(
                f"text {place} must have at most {max_tokens} tokens, as in training, "
                f"got {len(ids)}"
            )
    return sentences


@torch.no_grad()
def encode(model: SentenceVAE, texts: Sequence[str], *, max_tokens: int | None = None) -> Posterior:
    """The posterior of each text.

    Texts of like length are encoded together, so any number of them fits.

    Args:
        model: The model, with a tokenizer; put it into evaluation mode first.
        texts: B sentences; unknown words are read as `<unk>`.
        max_tokens: Most tokens of a text.

    Returns:
        The posteriors, in the order of the texts, on the model's device.

    Raises:
        InputError: See `check_texts`.
    """
    sentences = check_texts(model, texts, max_tokens=max_tokens)
    lengths = np.array([len(ids) for ids in sentences])
    order = rest = np.argsort(lengths, kind="stable")
    parts = []
    while len(rest) > 0:
        # Sorted, so the last of a batch is its longest.
        padded = np.arange(1, len(rest) + 1) * lengths[rest]
        size = max(1, int(np.searchsorted(padded, MAX_TOKENS, side="right")))
        ids, rest = [sentences[i] for i in rest[:size]], rest[size:]
        parts.append(model.encode(collate(ids).to(model.device)))
    back = torch.from_numpy(order).argsort().to(model.device)
    return type(parts[0]).cat(parts).map(lambda parameter: parameter[back])


def prior_codes(model: SentenceVAE, num_codes: int, *, seed: int = 0) -> Tensor:
    """Draws from the prior N(0, I), (num_codes, Z), each belonging to its place."""
    integer("num_sentences", num_codes, 1)
    rows = torch.arange(num_codes, device=model.device)
    return normals(seed, rows[:, None], torch.arange(model.latent_dim, device=model.device))


def aggregate_codes(
    model: SentenceVAE, num_codes: int, texts: Sequence[str], *, seed: int = 0
) -> Tensor:
    """Draws from the posteriors of texts, each taken at random, (num_codes, Z)."""
    noise = prior_codes(model, num_codes, seed=seed)
    rows = torch.arange(num_codes, device=noise.device)
    posterior = encode(model, texts)
    chosen = (uniforms(seed, CHOICE, rows, torch.zeros_like(rows)) * len(texts)).long()
    return posterior.map(lambda parameter: parameter[chosen]).sample(noise)


def posterior_codes(
    model: SentenceVAE, texts: Sequence[str], *, sampled: bool = False, seed: int = 0
) -> Tensor:
    """The posterior mean of each text, or a draw from its posterior, (B, Z)."""
    posterior = encode(model, texts)
    return (
        posterior.sample(prior_codes(model, len(texts), seed=seed)) if sampled else posterior.mean
    )


def jittered_codes(
    model: SentenceVAE, text: str, num_codes: int = 5, *, scale: float = 1.0, seed: int = 0
) -> Tensor:
    """Codes from around a text, (num_codes, Z): mean + `scale` · deviation · noise."""
    scale = number("scale", scale, "[0, inf)")
    noise = prior_codes(model, num_codes, seed=seed)
    return encode(model, [text]).sample(scale * noise)


def path_codes(model: SentenceVAE, *texts: str, steps: int = 5, method: str = "linear") -> Tensor:
    """Codes on the way from text to text, posterior means included: (legs · (steps − 1) + 1, Z)."""
    integer("steps", steps, 2)
    way = choose(METHODS, "method", method)
    if len(texts) < 2:
        raise InputError(f"texts must be at least 2 sentences (both ends), got {len(texts)}")
    means = encode(model, texts).mean
    shares = torch.linspace(0, 1, steps, device=means.device)
    legs = [way(start, end, shares) for start, end in pairwise(means)]
    return torch.cat([legs[0], *(leg[1:] for leg in legs[1:])])


def traversal_codes(
    model: SentenceVAE, text: str, dim: int, *, low: float = -3.0, high: float = 3.0, steps: int = 7
) -> Tensor:
    """A text's posterior mean with one dimension set from `low` to `high`, (steps, Z)."""
    integer("steps", steps, 2)
    z = encode(model, [text]).mean.repeat(steps, 1)
    integer("dim", dim, 0, model.latent_dim - 1)
    if not -math.inf < low < high < math.inf:
        raise InputError(f"low must be finite and below high, got {low} and {high}")
    z[:, dim] = torch.linspace(low, high, steps, device=z.device)
    return z


def analogy_codes(model: SentenceVAE, a: str, b: str, c: str) -> Tensor:
    """A − b + c of the texts' posterior means, (1, Z)."""
    means = encode(model, [a, b, c]).mean
    return means[:1] - means[1:2] + means[2:]


def attribute_vector(
    model: SentenceVAE, with_texts: Sequence[str], without_texts: Sequence[str]
) -> Tensor:
    """The direction of an attribute, (Z,): mean code of texts that have it minus of those without.

    Reference:
        Larsen et al. (2016), Autoencoding beyond Pixels Using a Learned Similarity Metric, 4.1.
    """
    return encode(model, with_texts).mean.mean(0) - encode(model, without_texts).mean.mean(0)


def lerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Points on the straight line between two codes (Z,), at shares (N,) of the way: (N, Z)."""
    return torch.lerp(start, end, shares[:, None])


def slerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Points on the arc between two codes: of N(0, I), most codes lie near a sphere.

    Where the arc is not defined, because a code is zero or both lie on one line through the
    origin, it is the straight line. Arguments as for `lerp`.

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
