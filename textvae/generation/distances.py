"""How far sentences are from each other: in the latent space, and in tokens.

Shapes: N sentences of a corpus, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from textvae.checks import InputError, integer, one_of
from textvae.generation.codes import encode
from textvae.generation.decoding import Decoded
from textvae.model import Posterior, SentenceVAE

METRICS = ("cosine", "euclidean", "kl")
CHUNK = 4096
"""Sentences of a corpus that are encoded and held at a time."""


class Neighbour(NamedTuple):
    """A sentence of a corpus near the one asked for."""

    text: str
    distance: float  # in the metric asked for
    position: int  # in the corpus, counted from 0


def latent_distances(query: Posterior, corpus: Posterior, metric: str = "cosine") -> Tensor:
    """How far the posteriors (N, Z) of a corpus are from one, (1, Z).

    `"cosine"` is 1 − the cosine between means, 1 from a mean of zero; `"euclidean"` is between
    means; `"kl"` is KL(query ‖ other), nats.
    """
    one_of("metric", metric, METRICS)
    if metric == "cosine":
        return 1 - torch.cosine_similarity(query.mean, corpus.mean)
    if metric == "euclidean":
        return (query.mean - corpus.mean).square().sum(-1).sqrt()
    return query.kl_to(corpus)


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
        InputError: If `k` is less than 1, or there is no such metric; see also `check_texts`,
            whose numbers count within a part of 4096.
    """
    integer("k", k, 1)
    query, best, first, rest = encode(model, [text]), list[Neighbour](), 0, iter(corpus_texts)
    while part := list(islice(rest, CHUNK)):
        distances = latent_distances(query, encode(model, part), metric)
        nearest = distances.argsort(stable=True)[:k]
        best += [Neighbour(part[i], float(distances[i]), first + i) for i in nearest.tolist()]
        best = sorted(best, key=lambda neighbour: neighbour.distance)[:k]
        first += len(part)
    if first == 0:
        raise InputError("corpus_texts must hold at least one sentence, got 0")
    return best


def changes(sentences: Sequence[Decoded]) -> list[float]:
    """The share of tokens that change from each sentence to the next: edits over the longer one's.

    1 − their mean is how smooth a path is. Read it beside the number of different sentences: a
    collapsed model's path is perfectly smooth.
    """
    return [
        edit_distance(one.ids, other.ids) / max(len(one.ids), len(other.ids), 1)
        for one, other in pairwise(sentences)
    ]


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Fewest insertions, deletions and replacements (Wagner & Fischer 1974)."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        corner, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (left != right))
    return row[-1]
