"""What the page shows, without the page.

Every input is bounded and checked here, whatever a browser sends: an `InputError` says in plain
words what is wrong.

Shapes: N sentences of the corpus, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from textvae.batches import Batch, collate
from textvae.checks import InputError
from textvae.diagnostics import Diagnosis, diagnose
from textvae.generation import MAX_LENGTH, Neighbour, encode, generate_text, lerp, sample
from textvae.model import SentenceVAE

MAX_CHARACTERS = 1000
"""Of a sentence, typed or from a corpus."""

NUM_DIMENSIONS = 6
"""Most dimensions that are offered to be moved."""

NUM_STEPS = 5
"""Sentences that a path is shown by, both ends included."""

MAX_SAMPLES = 50
MAX_NEIGHBOURS = 50
TEMPERATURES = (0.1, 2.0)
MAX_SEED = 2**31 - 1

BATCH_SIZE = 64
CACHED = 256


@dataclass(frozen=True)
class Sentences:
    """Sentences of a corpus.

    Attributes:
        name: What they are, for a heading.
        texts: The sentences.
        labels: Columns beside the text, a value for each sentence: at least two different ones in
            each, at most a dozen.
    """

    name: str
    texts: Sequence[str]
    labels: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dimension:
    """A latent dimension that can be moved: its mean KL in nats, and the ends of its slider."""

    index: int
    kl: float
    low: float
    high: float


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
        posterior: Of each sentence of the corpus, (N, Z).
        kl: KL of each of these, nats.
        lengths: Tokens of each sentence.
        points: Their posterior means in the plane in which they differ most, (N, 2).
        explained: Share of the means' variance that this plane shows, 0 to 1.
        dimensions: The busiest dimensions by their KL, the busiest first.

    Raises:
        InputError: If the model is a language model, or there are no sentences.
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
        self.tokenizer = model.tokenizer
        self.posterior = encode(model, sentences.texts)
        self._ids = self.tokenizer.encode_batch(list(sentences.texts))
        self.lengths = [len(ids) for ids in self._ids]
        kl, mean = self.posterior.kl(), self.posterior.mean
        self.kl: list[float] = kl.sum(1).tolist()
        self.points, self.explained = _plane(mean)
        self.dimensions = [
            Dimension(
                index,
                float(kl[:, index].mean()),
                min(-3.0, math.floor(float(mean[:, index].min()))),
                max(3.0, math.ceil(float(mean[:, index].max()))),
            )
            for index in kl.mean(0).argsort(descending=True, stable=True)[:NUM_DIMENSIONS].tolist()
        ]
        self._max_length = min(MAX_LENGTH, max(self.lengths) + 1)
        self._beta, self._free_bits = beta, free_bits
        # A slider asks for the same ends again and again.
        self._mean = lru_cache(CACHED)(self._encoded)
        self.reconstructed = lru_cache(CACHED)(lambda text: self._texts(self._mean(text)[None])[0])
        self._path = lru_cache(CACHED)(self._decoded_path)
        self._diagnosis: Diagnosis | None = None

    def between(self, first: str, second: str, share: float) -> str:
        """The sentence on the straight line from one to another, `share` from 0 to 1 of the way."""
        share = within("share", share, 0, 1)
        start, end = (
            self._mean(first, "the first sentence"),
            self._mean(second, "the second sentence"),
        )
        return self._texts(torch.lerp(start, end, share)[None])[0]

    def path(self, first: str, second: str) -> list[str]:
        """Sentences on the way from one to another, both reconstructions included."""
        return list(self._path(first, second))

    def values(self, text: str) -> list[float]:
        """A text's posterior mean in each of `dimensions`, moved into its range where outside."""
        mean = self._mean(text)
        return [min(max(float(mean[d.index]), d.low), d.high) for d in self.dimensions]

    def moved(self, text: str, values: Mapping[int, float]) -> str:
        """The sentence at a text's posterior mean with some of `dimensions` set to values."""
        z = self._mean(text).clone()
        offered = {dimension.index: dimension for dimension in self.dimensions}
        for index, value in values.items():
            if index not in offered:
                known = ", ".join(map(str, offered))
                raise InputError(f"dimension must be one of {known}, got {index}")
            found = offered[index]
            z[index] = within(f"dimension {index}", value, found.low, found.high)
        return self._texts(z[None])[0]

    def near(self, text: str, k: int = 8) -> list[Neighbour]:
        """The corpus' other sentences whose posterior means are nearest, by Euclidean distance."""
        k = int(within("k", k, 1, MAX_NEIGHBOURS))
        distances = (self.posterior.mean - self._mean(text)).norm(dim=1)
        texts = self.sentences.texts
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
        """Sentences from the prior; only the strategy "sample" takes notice of the temperature."""
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
        """What `diagnose` finds on the corpus' sentences, without the NLL; measured once."""
        if self._diagnosis is None:
            self._diagnosis = diagnose(
                self.model,
                list(self._batches()),
                len(self._ids),
                num_samples=None,
                beta=self._beta,
                free_bits=self._free_bits,
            )
        return self._diagnosis

    def unknown_words(self, *texts: str) -> list[str]:
        """Words of texts that the model has never seen, each once."""
        found = (word for text in texts for word in self.tokenizer.unknown_words(text))
        return list(dict.fromkeys(found))

    def _encoded(self, text: str, name: str = "the sentence") -> Tensor:
        if len(text) > MAX_CHARACTERS:
            raise InputError(
                f"{name} must have at most {MAX_CHARACTERS} characters, got {len(text)}"
            )
        if not self.tokenizer.encode(text):
            raise InputError(f"{name} is empty: type one")
        return encode(self.model, [text]).mean[0]

    def _decoded_path(self, first: str, second: str) -> list[str]:
        start, end = self._mean(first), self._mean(second)
        return self._texts(lerp(start, end, torch.linspace(0, 1, NUM_STEPS)))

    def _texts(self, z: Tensor) -> list[str]:
        return generate_text(self.model, z, max_length=self._max_length)

    def _batches(self) -> Iterator[Batch]:
        """The corpus in batches of like length."""
        order = sorted(range(len(self._ids)), key=self.lengths.__getitem__)
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            yield collate([self._ids[row] for row in rows], rows)


def _plane(mean: Tensor) -> tuple[Tensor, float]:
    """Means (N, Z) along the two axes of most variance, (N, 2), and the share these hold of it."""
    centred = mean - mean.mean(0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = torch.nn.functional.pad(axes[:2], (0, 0, 0, max(0, 2 - len(axes))))
    # The largest entry of each is positive: the same corpus, the same picture.
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    total = float(sizes.square().sum())
    explained = float(sizes[:2].square().sum()) / total if total > 0 else 1.0
    return centred @ (axes * torch.where(signs == 0, 1.0, signs)).T, explained


def within(name: str, value: object, low: float, high: float) -> float:
    """The value, if it is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{name} must be from {low:g} to {high:g}, got {value}")
    return value
