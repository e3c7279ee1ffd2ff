"""What the page shows, without the page: `Session`, `Dimension`, `Map`.

Every input is bounded and checked here, whatever a browser sends: a `ValueError` says in plain
words what is wrong.

Shapes: N sentences of the corpus, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from textvae.batches import Batch, collate
from textvae.diagnostics import Diagnosis, diagnose
from textvae.explore.corpus import MAX_CHARACTERS, Sentences
from textvae.generation import (
    MAX_LENGTH,
    Neighbour,
    encode,
    generate_text,
    latent_distances,
    lerp,
    sample,
)
from textvae.losses import kl_per_dimension
from textvae.model import Gaussian, SentenceVAE
from textvae.tokenizer import Tokenizer

__all__ = ["MAX_SAMPLES", "NUM_DIMENSIONS", "TEMPERATURES", "Dimension", "Map", "Session", "within"]

NUM_DIMENSIONS = 6
"""Most dimensions that are offered to be moved."""

STEPS = 5
"""Sentences that a way is shown by, both ends included."""

FIRST, SECOND = "the first sentence", "the second sentence"
MAX_SAMPLES = 50
TEMPERATURES = (0.1, 2.0)
MAX_SEED = 2**31 - 1
MAX_NEIGHBOURS = 50

BATCH_SIZE = 64
CACHED = 256


@dataclass(frozen=True)
class Dimension:
    """A latent dimension that can be moved.

    Attributes:
        index: Which one, from 0.
        kl: Its mean KL over the corpus, nats.
        low: Least value; no posterior mean of the corpus is lower.
        high: Greatest value.
    """

    index: int
    kl: float
    low: float
    high: float


@dataclass(frozen=True)
class Map:
    """Sentences in the plane in which the corpus' posterior means differ most.

    Attributes:
        points: A place for each sentence, (x, y).
        kl: KL of each one's posterior, nats.
        lengths: Tokens of each.
    """

    points: list[tuple[float, float]]
    kl: list[float]
    lengths: list[int]


class Session:
    """A model, the sentences of a corpus, and what can be asked of them.

    Args:
        model: A model with a tokenizer, in evaluation mode.
        sentences: The corpus; at least one sentence.
        name: What to call the model.
        beta: Weight of the KL term it was last trained with, if known; for the verdict's words.
        free_bits: Floor under each dimension's KL in training, if known; likewise.
        notice: What a visitor should know, if anything.

    Attributes:
        model: The model.
        sentences: The corpus.
        name: See above.
        notice: See above.
        posterior: Of each sentence of the corpus, (N, Z).
        dimensions: The busiest dimensions by their KL, the busiest first.
        kl: Mean KL over the corpus, nats.
        explained: Share of the variance of the posterior means that the map shows, 0 to 1.

    Raises:
        ValueError: If the model is a language model, or there are no sentences.
    """

    def __init__(
        self,
        model: SentenceVAE,
        sentences: Sentences,
        *,
        name: str = "",
        beta: float | None = None,
        free_bits: float | None = None,
        notice: str = "",
    ) -> None:
        self.model, self.sentences, self.name, self.notice = model, sentences, name, notice
        self.posterior = encode(model, sentences.texts)
        kl = kl_per_dimension(*self.posterior).mean(0)
        self.kl = float(kl.sum())
        self.dimensions = _busiest(self.posterior.mu, kl)
        self._centre, self._axes, self.explained = _plane(self.posterior.mu)
        self._max_length = min(MAX_LENGTH, max(map(len, self._ids(sentences.texts))) + 1)
        self._beta, self._free_bits = beta, free_bits
        # A slider asks for the same ends again and again.
        self._mean = lru_cache(maxsize=CACHED)(self._encoded)
        self._reconstructed = lru_cache(maxsize=CACHED)(lambda text: self._spoken(self._mean(text)))
        self._way = lru_cache(maxsize=CACHED)(self._walked)
        self._diagnosed: Diagnosis | None = None

    def between(self, first: str, second: str, share: float) -> str:
        """The sentence on the straight line from one to another.

        Args:
            first: The sentence at share 0.
            second: The sentence at share 1.
            share: How far to go.

        Raises:
            ValueError: If a text is empty, too long or has a reserved token, or `share` is not
                from 0 to 1.
        """
        share = within("share", share, 0, 1)
        start, end = self._mean(first, FIRST), self._mean(second, SECOND)
        return self._spoken(torch.lerp(start, end, share))

    def way(self, first: str, second: str) -> list[str]:
        """Sentences on the way from one to another, both reconstructions included.

        Raises:
            ValueError: As for `between`.
        """
        return list(self._way(first, second))

    def reconstructed(self, text: str) -> str:
        """The sentence at a text's posterior mean.

        Raises:
            ValueError: As for `between`.
        """
        return self._reconstructed(text)

    def values(self, text: str) -> list[float]:
        """A text's posterior mean in each of `dimensions`, moved into its range where outside.

        Raises:
            ValueError: As for `between`.
        """
        mean = self._mean(text)
        return [min(max(float(mean[d.index]), d.low), d.high) for d in self.dimensions]

    def moved(self, text: str, values: Mapping[int, float]) -> str:
        """The sentence at a text's posterior mean with some dimensions set to values.

        Args:
            text: A sentence.
            values: By dimension; only those in `dimensions`, each within its range.

        Raises:
            ValueError: As for `between`, or if there is no such dimension, or a value is outside
                its range.
        """
        z = self._mean(text).clone()
        offered = {dimension.index: dimension for dimension in self.dimensions}
        for index, value in values.items():
            if index not in offered:
                raise ValueError(
                    f"dimension must be one of {', '.join(map(str, offered))}, got {index}"
                )
            found = offered[index]
            z[index] = within(f"dimension {index}", value, found.low, found.high)
        return self._spoken(z)

    def map_of(self, texts: Sequence[str]) -> Map:
        """Where sentences lie in the plane in which the corpus' posterior means differ most.

        Raises:
            ValueError: If there are no texts, or one is empty or has a reserved token.
        """
        posterior = self.posterior
        if texts is not self.sentences.texts:
            posterior = encode(self.model, texts)
        points = (posterior.mu - self._centre) @ self._axes
        return Map(
            [(x, y) for x, y in points.tolist()],
            kl_per_dimension(*posterior).sum(-1).tolist(),
            [len(ids) for ids in self._ids(texts)],
        )

    def near(self, text: str, k: int = 8) -> list[Neighbour]:
        """The corpus' other sentences whose posterior means are nearest to a text's.

        Args:
            text: A sentence.
            k: How many, at most 50.

        Returns:
            Nearest first, by Euclidean distance.

        Raises:
            ValueError: As for `between`, or if `k` is not from 1 to 50.
        """
        k = int(within("k", k, 1, MAX_NEIGHBOURS))
        mean, texts = self._mean(text)[None], self.sentences.texts
        distances = latent_distances(Gaussian(mean, mean), self.posterior, "euclidean")
        order = distances.argsort(stable=True).tolist()
        others = [row for row in order if texts[row] != text.strip()]
        return [Neighbour(texts[row], float(distances[row]), row) for row in others[:k]]

    def samples(
        self,
        num_sentences: float = 10,
        *,
        strategy: str = "sample",
        temperature: float = 1.0,
        seed: float = 0,
    ) -> list[str]:
        """Sentences from the prior.

        Args:
            num_sentences: How many, at most 50.
            strategy: `"sample"`, `"greedy"` or `"beam"`.
            temperature: Of `"sample"`, from 0.1 to 2; the others take no notice of it.
            seed: The same seed, the same sentences.

        Raises:
            ValueError: If an argument is outside its range.
        """
        temperature = within("temperature", temperature, *TEMPERATURES)
        return sample(
            self.model,
            int(within("num_sentences", num_sentences, 1, MAX_SAMPLES)),
            seed=int(within("seed", seed, 0, MAX_SEED)),
            strategy=strategy,
            max_length=self._max_length,
            temperature=temperature if strategy == "sample" else 1.0,
        )

    def diagnosis(self) -> Diagnosis:
        """What `diagnose` finds on the corpus' sentences, without the NLL; measured once.

        Raises:
            ValueError: If the corpus has but one sentence.
        """
        if self._diagnosed is None:
            self._diagnosed = diagnose(
                self.model,
                self._batches(),
                len(self.sentences.texts),
                num_samples=None,
                beta=self._beta,
                free_bits=self._free_bits,
            )
        return self._diagnosed

    def unknown_words(self, *texts: str) -> list[str]:
        """Words of texts that the model has never seen, each once."""
        found = (word for text in texts for word in self._tokenizer.unknown_words(text))
        return list(dict.fromkeys(found))

    @property
    def _tokenizer(self) -> Tokenizer:
        assert self.model.tokenizer is not None, "encode has refused a model without"
        return self.model.tokenizer

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer.encode_batch(list(texts))

    def _encoded(self, text: str, name: str = "the sentence") -> Tensor:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(
                f"{name} must have at most {MAX_CHARACTERS} characters, got {len(text)}"
            )
        if not self._tokenizer.encode(text):
            raise ValueError(f"{name} is empty: type one")
        return encode(self.model, [text]).mu[0]

    def _walked(self, first: str, second: str) -> list[str]:
        start, end = self._mean(first, FIRST), self._mean(second, SECOND)
        return self._all_spoken(lerp(start, end, torch.linspace(0, 1, STEPS)))

    def _spoken(self, z: Tensor) -> str:
        return self._all_spoken(z[None])[0]

    def _all_spoken(self, z: Tensor) -> list[str]:
        return generate_text(self.model, z, max_length=self._max_length)

    def _batches(self) -> Iterator[Batch]:
        """The corpus in batches of like length."""
        ids = self._ids(self.sentences.texts)
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            yield collate([ids[row] for row in rows], rows)


def _busiest(mu: Tensor, kl: Tensor) -> list[Dimension]:
    order = kl.argsort(descending=True, stable=True)[:NUM_DIMENSIONS].tolist()
    return [
        Dimension(
            index,
            float(kl[index]),
            min(-3.0, math.floor(float(mu[:, index].min()))),
            max(3.0, math.ceil(float(mu[:, index].max()))),
        )
        for index in order
    ]


def _plane(mu: Tensor) -> tuple[Tensor, Tensor, float]:
    """Centre (Z,) and two axes (Z, 2) of the means (N, Z), and the share of variance they hold."""
    centre = mu.mean(0)
    _, sizes, rows = torch.linalg.svd(mu - centre, full_matrices=False)
    axes = mu.new_zeros(2, mu.shape[1])
    axes[: min(2, len(rows))] = rows[:2]
    # The largest entry of each is positive: the same corpus, the same picture.
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    total = float(sizes.square().sum())
    explained = float(sizes[:2].square().sum()) / total if total > 0 else 1.0
    return centre, (axes * torch.where(signs == 0, 1.0, signs)).T, explained


def within(name: str, value: float | None, low: float, high: float) -> float:
    """The value, if it is a number from `low` to `high`.

    Raises:
        ValueError: If not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value}")
    return value
