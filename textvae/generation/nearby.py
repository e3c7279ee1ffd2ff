"""Which sentences of a corpus lie near one: `neighbours`, and on tensors `latent_distances`.

Shapes: N sentences of a corpus, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from textvae.generation.texts import encode
from textvae.model import Posterior, SentenceVAE

__all__ = ["METRICS", "Neighbour", "latent_distances", "neighbours"]

METRICS = ("cosine", "euclidean", "kl")
CHUNK = 4096
"""Sentences of a corpus that are encoded and held at a time."""


class Neighbour(NamedTuple):
    """A sentence of a corpus near the one asked for.

    Attributes:
        text: The sentence.
        distance: From it, in the metric asked for.
        position: In the corpus, counted from 0.
    """

    text: str
    distance: float
    position: int


def latent_distances(query: Posterior, corpus: Posterior, metric: str = "cosine") -> Tensor:
    """How far each sentence of a corpus is from one sentence.

    Args:
        query: The one's posterior, (1, Z).
        corpus: The others', (N, Z).
        metric: `"cosine"`, 1 − the cosine between means, 0 to 2, 1 from a mean of zero;
            `"euclidean"`, between means; `"kl"`, KL(query ‖ other) of the posteriors, nats.

    Returns:
        (N,).

    Raises:
        ValueError: If there is no such metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if metric == "cosine":
        return 1 - torch.cosine_similarity(query.mu, corpus.mu)
    if metric == "euclidean":
        return (query.mu - corpus.mu).square().sum(-1).sqrt()
    # expm1 keeps the digits where the variances are nearly equal.
    change = query.logvar - corpus.logvar
    moved = (query.mu - corpus.mu).square() * torch.exp(-corpus.logvar)
    return 0.5 * (torch.expm1(change) - change + moved).sum(-1)


def neighbours(
    model: SentenceVAE,
    text: str,
    corpus_texts: Iterable[str],
    k: int = 10,
    *,
    metric: str = "cosine",
) -> list[Neighbour]:
    """The sentences of a corpus whose posteriors are nearest to a text's.

    The corpus is read once, a part at a time: it may be larger than memory.

    Args:
        model: The model, with a tokenizer.
        text: A sentence; if the corpus has it, it is its own neighbour.
        corpus_texts: The corpus.
        k: How many; all of a smaller corpus.
        metric: See `latent_distances`.

    Returns:
        Nearest first, the earlier one where two are as near.

    Raises:
        ValueError: If `k` is less than 1, or there is no such metric; see also `check_texts`,
            whose numbers count within a part of 4096.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    query = encode(model, [text])
    best: list[Neighbour] = []
    first = 0
    for part in _parts(corpus_texts):
        distances = latent_distances(query, encode(model, part), metric)
        nearest = distances.argsort(stable=True)[:k]
        best += [
            Neighbour(part[i], distance, first + i)
            for i, distance in zip(nearest.tolist(), distances[nearest].tolist(), strict=True)
        ]
        best = sorted(best, key=lambda neighbour: neighbour.distance)[:k]
        first += len(part)
    if first == 0:
        raise ValueError("corpus_texts must hold at least one sentence, got 0")
    return best


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while part := list(islice(rest, CHUNK)):
        yield part
