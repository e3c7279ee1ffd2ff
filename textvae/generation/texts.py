"""Text in, text out: encode, sample, reconstruct, jitter.

Every function that decodes takes the options of `Decoding` by name and decodes greedily unless
told otherwise. What it decodes is offered too: `sample_codes`, `reconstruct_codes` and
`jitter_codes` give z alone, for `decode_scored` and all else that takes codes.

Shapes: B sentences, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textvae.batches import collate
from textvae.generation.decoding import decode
from textvae.generation.streams import CHOICE, normals, uniforms
from textvae.model import Gaussian, Posterior, SentenceVAE

__all__ = ["SOURCES", "check_texts", "encode", "jitter", "jitter_codes", "reconstruct"]
__all__ += ["reconstruct_codes", "sample", "sample_codes", "speak"]

SOURCES = ("prior", "aggregate")
MAX_TOKENS = 2**14
"""Tokens, padding included, of a batch that is encoded at a time."""


def check_texts(
    model: SentenceVAE, texts: Sequence[str], *, max_tokens: int | None = None
) -> list[list[int]]:
    """The ids of texts that can be encoded.

    Args:
        model: The model, with a tokenizer.
        texts: B sentences; unknown words are read as `<unk>`.
        max_tokens: Most tokens of a text. A model knows no limit; a run says how long the longest
            sentence was that it was trained on.

    Returns:
        Ids of each text, without special tokens.

    Raises:
        ValueError: If there are no texts, or one is empty, too long, or contains a reserved
            token; texts are counted from 1. Also if the model is a language model, without z.
        TypeError: If `texts` is a single string.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of sentences, got the string {texts!r}")
    if model.latent_dim == 0:
        raise ValueError("this is a language model (latent_dim 0): it has no latent code")
    if len(texts) == 0:
        raise ValueError("texts must hold at least one sentence, got 0")
    sentences = model.tokenizer.encode_batch(list(texts))
    for number, ids in enumerate(sentences, start=1):
        if not ids:
            raise ValueError(
                f"text {number} must have at least one token, got {texts[number - 1]!r}"
            )
        if max_tokens is not None and len(ids) > max_tokens:
            raise ValueError(
                f"text {number} must have at most {max_tokens} tokens, as in training, "
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
        max_tokens: See `check_texts`.

    Returns:
        Means and log-variances, (B, Z), in the order of the texts, on the model's device.

    Raises:
        ValueError: See `check_texts`.
    """
    sentences = check_texts(model, texts, max_tokens=max_tokens)
    lengths = np.array([len(ids) for ids in sentences])
    order = np.argsort(lengths, kind="stable")
    parts = []
    while len(order) > 0:
        # Sorted, so the last of a batch is its longest.
        padded = np.arange(1, len(order) + 1) * lengths[order]
        size = max(1, int(np.searchsorted(padded, MAX_TOKENS, side="right")))
        chosen, order = order[:size], order[size:]
        batch = collate([sentences[i] for i in chosen], chosen).to(model.device)
        parts.append((batch.indices, *model.encode(batch)))
    indices, mu, logvar = (torch.cat(part) for part in zip(*parts, strict=True))
    back = indices.argsort()
    return Gaussian(mu[back], logvar[back])


def speak(model: SentenceVAE, z: Tensor, **options: Any) -> list[str]:
    """The text of each latent code, (B, Z): `decode`, then the tokenizer."""
    return model.tokenizer.decode_batch(decode(model, z, **options))


def sample(
    model: SentenceVAE,
    num_sentences: int,
    *,
    source: str = "prior",
    texts: Sequence[str] | None = None,
    seed: int = 0,
    strategy: str = "sample",
    allow_unknown: bool = False,
    **options: Any,
) -> list[str]:
    """New sentences: draw z, then x ~ p(x|z).

    Args:
        model: The model, with a tokenizer.
        num_sentences: How many.
        source: Where z comes from: `"prior"`, N(0, I), or `"aggregate"`, the posterior of one of
            `texts` taken at random.
        texts: The sentences of `"aggregate"`.
        seed: Seed of z and of the tokens. The same seed gives the same sentences; fewer of them
            are the first of more.
        strategy: How tokens are chosen.
        allow_unknown: Whether `<unk>` may come.
        **options: The other options of `Decoding`, and `batch_size`.

    Returns:
        The sentences.

    Raises:
        ValueError: If an argument is outside its range, or there is no z to take from texts.
    """
    z = sample_codes(model, num_sentences, source=source, texts=texts, seed=seed)
    return speak(model, z, seed=seed, strategy=strategy, allow_unknown=allow_unknown, **options)


def sample_codes(
    model: SentenceVAE,
    num_sentences: int,
    *,
    source: str = "prior",
    texts: Sequence[str] | None = None,
    seed: int = 0,
) -> Tensor:
    """The codes that `sample` decodes, (num_sentences, Z); its arguments, and what it raises."""
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    if (source == "aggregate") != (texts is not None):
        raise ValueError(f"texts must be given with source 'aggregate' only, got {source!r}")
    z = _noise(model, num_sentences, seed)
    if texts is None:
        return z
    posterior = encode(model, texts)
    rows = torch.arange(num_sentences, device=z.device)
    share = uniforms(seed, CHOICE, rows, torch.zeros_like(rows))
    chosen = (share * len(texts)).long()
    return Gaussian(posterior.mu[chosen], posterior.logvar[chosen]).sample(z)


def reconstruct(
    model: SentenceVAE,
    texts: Sequence[str],
    *,
    sampled: bool = False,
    seed: int = 0,
    **options: Any,
) -> list[str]:
    """What comes back of each text when it goes through the latent space.

    Args:
        model: The model, with a tokenizer.
        texts: B sentences.
        sampled: Through a draw from the posterior instead of its mean.
        seed: Seed of that draw, and of the tokens where they are drawn.
        **options: Those of `Decoding`, and `batch_size`.

    Returns:
        B sentences.

    Raises:
        ValueError: If an option is outside its range; see also `check_texts`.
    """
    z = reconstruct_codes(model, texts, sampled=sampled, seed=seed)
    return speak(model, z, seed=seed, **options)


def reconstruct_codes(
    model: SentenceVAE, texts: Sequence[str], *, sampled: bool = False, seed: int = 0
) -> Tensor:
    """The codes that `reconstruct` decodes, (B, Z); its arguments, and what it raises."""
    posterior = encode(model, texts)
    return posterior.sample(_noise(model, len(texts), seed)) if sampled else posterior.mu


def jitter(
    model: SentenceVAE,
    text: str,
    num_sentences: int = 5,
    *,
    scale: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[str]:
    """Sentences from around a text: z = mu + scale · sigma · noise.

    Args:
        model: The model, with a tokenizer.
        text: A sentence.
        num_sentences: How many.
        scale: In standard deviations of the posterior; 1 draws from it.
        seed: Seed of the noise, and of the tokens where they are drawn.
        **options: Those of `Decoding`, and `batch_size`.

    Returns:
        The sentences; some may be equal.

    Raises:
        ValueError: If an argument is outside its range; see also `check_texts`.
    """
    z = jitter_codes(model, text, num_sentences, scale=scale, seed=seed)
    return speak(model, z, seed=seed, **options)


def jitter_codes(
    model: SentenceVAE, text: str, num_sentences: int = 5, *, scale: float = 1.0, seed: int = 0
) -> Tensor:
    """The codes that `jitter` decodes, (num_sentences, Z); its arguments, and what it raises."""
    if not 0 <= scale < math.inf:
        raise ValueError(f"scale must be finite and at least 0, got {scale}")
    noise = _noise(model, num_sentences, seed)
    return encode(model, [text]).sample(scale * noise)


def _noise(model: SentenceVAE, num_sentences: int, seed: int) -> Tensor:
    """Standard normal codes, (num_sentences, Z), each belonging to its place."""
    if num_sentences < 1:
        raise ValueError(f"num_sentences must be at least 1, got {num_sentences}")
    rows = torch.arange(num_sentences, device=model.device)
    columns = torch.arange(model.latent_dim, device=model.device)
    return normals(seed, rows[:, None], columns)
