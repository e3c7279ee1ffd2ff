"""How far sentences are from each other: in the latent space, and word by word."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from textvae.checks import InputError, choose, integer
from textvae.generation.codes import encode
from textvae.generation.decoding import Decoded
from textvae.model import Posterior, SentenceVAE

CHUNK = 4096  # sentences of a corpus that are encoded and held at a time


class Neighbour(NamedTuple):
    """A sentence of a corpus near the one asked for."""

    text: str
    distance: float  # in the metric asked for
    position: int  # in the corpus, counted from 0


METRICS: dict[str, Callable[[Posterior, Posterior], Tensor]] = {
    "cosine": lambda one, two: (1 - torch.cosine_similarity(one.mean, two.mean)).clamp(min=0),
    "euclidean": lambda query, other: (query.mean - other.mean).square().sum(-1).sqrt(),
    "kl": lambda query, other: query.kl_to(other),
}


def latent_distances(query: Posterior, corpus: Posterior, metric: str = "cosine") -> Tensor:
    """How far the posteriors (N, Z) of a corpus of N sentences are from one, (1, Z).

    `"cosine"` is 1 − the cosine between means, 1 from a mean of zero; `"euclidean"` is between
    means; `"kl"` is KL(query ‖ other), nats.
    """
    return choose(METRICS, "metric", metric)(query, corpus)


def neighbours(
    model: SentenceVAE,
    text: str,
    corpus_texts: Iterable[str],
    k: int = 10,
    *,
    metric: str = "cosine",
) -> list[Neighbour]:
    """The `k` sentences of a corpus whose posteriors are nearest to a text's, the nearest first.

    A text that the corpus has is its own neighbour. The corpus is read once and in parts, so that
    it may be larger than memory. For metrics see `latent_distances`, for what is refused `encode`.
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

    1 − their mean is how smooth a path is: perfectly, where a collapsed model says but one thing.
    """
    pairs = pairwise([sentence.ids for sentence in sentences])
    return [edit_distance(one, other) / max(len(one), len(other), 1) for one, other in pairs]


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Fewest insertions, deletions and replacements (Wagner & Fischer 1974)."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        corner, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (left != right))
    return row[-1]
