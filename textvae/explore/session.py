"""What the page shows, without the page: a run, sentences, and what can be asked of them.

Every input is bounded and checked here, whatever a browser sends: an `InputError` says in plain
words what is wrong.

Shapes: N sentences of the corpus, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textvae.batches import collate
from textvae.checks import InputError, integer
from textvae.config import MAX_LENGTH, RunConfig
from textvae.corpus import DataError, load_corpus
from textvae.diagnostics import Diagnosis, diagnose
from textvae.files import find_pretrained
from textvae.generation import Neighbour, encode, generate_text, lerp, sample
from textvae.model import SentenceVAE
from textvae.recipes import open_corpus
from textvae.report.text import CORPUS_NAMES
from textvae.run import RunDirectory

MAX_CHARACTERS = 1000  # of a sentence, typed or from a corpus
MAX_SENTENCES = 20_000
MAX_LABELS = 12  # different values of a column that can still be told apart by colour
MAX_SAMPLES = 50
MAX_NEIGHBOURS = 50
MAX_SEED = 2**31 - 1
TEMPERATURES = (0.1, 2.0)
NUM_DIMENSIONS = 6  # most that are offered to be moved
NUM_STEPS = 5  # sentences that a path is shown by, both ends included
OWN_SENTENCES = 300  # that the model writes where there is no corpus
SLIDER_STEP = 0.05
BATCH_SIZE = 64
CACHED = 256


@dataclass(frozen=True)
class Sentences:
    """Sentences of a corpus, and columns beside the text of 2 to a dozen different values."""

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
    """A model with a tokenizer, the sentences of a corpus, and what can be asked of them."""

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
        self.posterior = encode(model, sentences.texts)  # (N, Z)
        self._ids = self.tokenizer.encode_batch(list(sentences.texts))
        self.lengths = [len(ids) for ids in self._ids]  # in tokens
        kl, mean = self.posterior.kl(), self.posterior.mean
        self.kl: list[float] = kl.sum(1).tolist()  # of each sentence, nats
        # Means in the plane in which they differ most, (N, 2), and its share of their variance.
        self.points, self.explained = _plane(mean)
        ends = zip(mean.amin(0).floor().tolist(), mean.amax(0).ceil().tolist(), strict=True)
        dimensions = [
            Dimension(index, own, min(-3.0, low), max(3.0, high))
            for index, (own, (low, high)) in enumerate(zip(kl.mean(0).tolist(), ends, strict=True))
        ]
        # The busiest first.
        self.dimensions = sorted(dimensions, key=lambda found: -found.kl)[:NUM_DIMENSIONS]
        self._max_length = min(MAX_LENGTH, max(self.lengths) + 1)
        # Without the NLL; the others are for the verdict's words.
        self._how: dict[str, Any] = {"num_samples": None, "beta": beta, "free_bits": free_bits}
        # A slider asks for the same ends again and again.
        self._mean = lru_cache(CACHED)(self._encoded)
        self.reconstructed = lru_cache(CACHED)(lambda text: self._texts(self._mean(text)[None])[0])
        self._diagnosis: Diagnosis | None = None

    def between(self, first: str, second: str, share: float) -> str:
        """The sentence on the straight line from one to another, `share` from 0 to 1 of the way."""
        share = within("share", share, 0, 1)
        start = self._mean(first, "the first sentence")
        end = self._mean(second, "the second sentence")
        return self._texts(torch.lerp(start, end, share)[None])[0]

    def path(self, first: str, second: str) -> list[str]:
        """Sentences on the way from one to another, both reconstructions included."""
        ends = self._mean(first), self._mean(second)
        return self._texts(lerp(*ends, torch.linspace(0, 1, NUM_STEPS)))

    def sliders(self, text: str) -> list[float]:
        """A text's posterior mean in each of `dimensions`, as its slider can show it."""
        mean = self._mean(text)
        values = (min(max(float(mean[d.index]), d.low), d.high) for d in self.dimensions)
        return [round(round(value / SLIDER_STEP) * SLIDER_STEP, 2) for value in values]

    def moved(self, text: str, sliders: Sequence[float]) -> str:
        """The sentence at a text's posterior mean, moved where a slider is not as in `sliders`."""
        z = self._mean(text).clone()
        for dimension, own, value in zip(self.dimensions, self.sliders(text), sliders, strict=True):
            if value != own:
                name = f"dimension {dimension.index}"
                z[dimension.index] = within(name, value, dimension.low, dimension.high)
        return self._texts(z[None])[0]

    def near(self, text: str, k: int = 8) -> list[Neighbour]:
        """The corpus' other sentences whose posterior means are nearest, by Euclidean distance."""
        k = int(within("k", k, 1, MAX_NEIGHBOURS))
        distances = (self.posterior.mean - self._mean(text)).norm(dim=1)
        texts, order = self.sentences.texts, distances.argsort(stable=True).tolist()
        others = [row for row in order if texts[row] != text.strip()]
        return [Neighbour(texts[row], float(distances[row]), row) for row in others[:k]]

    def samples(
        self, number: float = 10, strategy: str = "sample", temperature: float = 1, seed: float = 0
    ) -> list[str]:
        """Sentences from the prior; only the strategy "sample" takes notice of the temperature."""
        temperature = within("temperature", temperature, *TEMPERATURES)
        return sample(
            self.model,
            int(within("number", number, 1, MAX_SAMPLES)),
            seed=int(within("seed", seed, 0, MAX_SEED)),
            strategy=strategy,
            max_length=self._max_length,
            temperature=temperature if strategy == "sample" else 1.0,
        )

    def diagnosis(self) -> Diagnosis:
        """What `diagnose` finds on the corpus' sentences, without the NLL; measured once."""
        if self._diagnosis is None:
            order = sorted(range(len(self._ids)), key=self.lengths.__getitem__)
            parts = [order[at : at + BATCH_SIZE] for at in range(0, len(order), BATCH_SIZE)]
            batches = [collate([self._ids[row] for row in rows], rows) for rows in parts]
            self._diagnosis = diagnose(self.model, batches, len(order), **self._how)
        return self._diagnosis

    def unknown_words(self, *texts: str) -> list[str]:
        """Words of texts that the model has never seen, each once."""
        return list(dict.fromkeys(w for text in texts for w in self.tokenizer.unknown_words(text)))

    def _encoded(self, text: str, name: str = "the sentence") -> Tensor:
        if len(text) > MAX_CHARACTERS:
            most = f"at most {MAX_CHARACTERS} characters"
            raise InputError(f"{name} must have {most}, got {len(text)}")
        if not self.tokenizer.encode(text):
            raise InputError(f"{name} is empty: type one")
        return encode(self.model, [text]).mean[0]

    def _texts(self, z: Tensor) -> list[str]:
        return generate_text(self.model, z, max_length=self._max_length)


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


def open_session(
    run: str, corpus: str | None = None, *, data_dir: str | None = None, num_sentences: int = 2000
) -> Session:
    """Load a run, a directory or hub id, and sentences to explore it with; see `read_sentences`.

    Where the run's own corpus can't be had, the model writes some sentences itself, and the
    session's notice says so.
    """
    num_sentences = integer("num_sentences", num_sentences, 2, MAX_SENTENCES)
    model, directory = SentenceVAE.from_pretrained(run), RunDirectory.open(find_pretrained(run))
    if model.latent_dim == 0:
        raise InputError(f"{run} is a language model (latent_dim 0): it has no z to explore")
    config, notice = directory.config, ""
    try:
        sentences = read_sentences(corpus, config, data_dir, num_sentences)
    except DataError as error:
        if corpus is not None or data_dir is not None:
            raise
        texts = [text for text in sample(model, OWN_SENTENCES) if text.strip()]
        sentences = Sentences("sentences of its own", texts)
        notice = f"The corpus can't be had: {error}. The map shows sentences of the model's own."
    return Session(
        model,
        sentences,
        name=directory.path.resolve().name,
        beta=directory.last_beta(),
        free_bits=config.training.free_bits,
        notice=notice,
    )


def read_sentences(
    source: str | None, config: RunConfig, data_dir: str | None = None, num_sentences: int = 2000
) -> Sentences:
    """Draw sentences of `source`, as `load_corpus` takes it, the same ones every time.

    None is the corpus that the run was trained on, now in `data_dir`, and its held-out sentences.
    """
    if source is not None and data_dir is not None:
        raise InputError(f"either corpus or data_dir can be given, got {source!r} and {data_dir!r}")
    text_field = config.data.text_field
    if source is None:
        corpus = open_corpus(config.data_source, config.data, data_dir)
    else:
        corpus = load_corpus(source, text_field=text_field, valid_fraction=0, test_fraction=0)
    split = next(name for name in ("test", "valid", "train") if name in corpus.splits)
    columns: dict[str, list[Any]] = {}
    path = Path(source or "").expanduser()
    if path.is_file() and path.suffix in (".jsonl", ".ndjson", ".json"):
        columns = _json_labels(path, text_field)
    columns |= corpus[split][:]
    texts = columns.pop("text")
    fitting = torch.tensor([row for row, text in enumerate(texts) if len(text) <= MAX_CHARACTERS])
    order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(0))
    rows = fitting[order[:num_sentences]].sort().values.tolist()
    chosen = {name: [str(values[row]) for row in rows] for name, values in columns.items()}
    labels = {name: v for name, v in chosen.items() if 2 <= len(set(v)) <= MAX_LABELS}
    name = CORPUS_NAMES.get(corpus.name, corpus.name) + (f", {split} split" if not source else "")
    return Sentences(name, [texts[row] for row in rows], labels)


def _json_labels(path: Path, text_field: str) -> dict[str, list[Any]]:
    """The plain columns of a file of JSON lines, of which a corpus keeps the text only."""
    import pandas as pd

    with path.open(encoding="utf-8-sig") as lines:
        table = pd.read_json(lines, lines=True, dtype=False)
    table = table[table[text_field].str.strip() != ""].astype(object)
    is_plain = table.map(lambda value: isinstance(value, str | bool | int)).all()
    plain: dict[str, list[Any]] = table.loc[:, is_plain].drop(columns=text_field).to_dict("list")
    return plain
