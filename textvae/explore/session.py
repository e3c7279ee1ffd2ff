"""What the page shows, without the page: a run, sentences, and what can be asked of them.

Every input is bounded and checked here, whatever a browser sends: an `InputError` says in plain
words what is wrong.

Shapes: N sentences of the corpus, Z latent dimensions.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textvae.batches import BatchLoader, EncodedSplit
from textvae.checks import InputError, integer
from textvae.config import MAX_LENGTH
from textvae.corpus import DataError, load_corpus
from textvae.diagnostics import Diagnosis, diagnose
from textvae.files import find_pretrained
from textvae.generation import Neighbour, encode, generate_text, lerp, likeliest_labels, sample
from textvae.model import SentenceVAE
from textvae.recipes import CorpusChanged, is_changed, open_corpus
from textvae.report.text import CORPUS_NAMES
from textvae.run import RunDirectory

MAX_CHARACTERS = 1000  # of a sentence, typed or from a corpus
MAX_LABELS = 12  # different values of a column that can still be told apart by colour
MAX_SAMPLES = 50
MAX_SEED = 2**31 - 1
NUM_DIMENSIONS = 9  # most that are offered to be moved
SLIDER_STEP = 0.05


@dataclass(frozen=True)
class Sentences:
    """Sentences of a corpus, and the columns beside the text."""

    name: str
    texts: Sequence[str]
    columns: dict[str, list[str]] = field(default_factory=dict)
    notice: str = ""  # why they are not those of the run's corpus

    @property
    def labels(self) -> dict[str, list[str]]:
        """The columns that can be told by colour: of 2 to a dozen different values."""
        return {n: v for n, v in self.columns.items() if 2 <= len(set(v)) <= MAX_LABELS}


class Session:
    """A model, sentences, and what can be asked of them; `options` are for `diagnose`'s words.

    Labels that the model is told are a column of the sentences, or guessed, as of every other text.
    """

    def __init__(
        self, model: SentenceVAE, sentences: Sentences, *, name: str = "", **options: Any
    ) -> None:
        self.model, self.sentences, self.name = model, sentences, name
        self._code = lru_cache(maxsize=8)(self._read)  # an event asks for the same text repeatedly
        self.tokenizer, self._options = model.tokenizer, options
        has_labels = model.labels.values and {*model.labels.values} <= {*sentences.columns}
        self._told = (
            model.labels.numbered(sentences.columns)
            if has_labels
            else likeliest_labels(model, sentences.texts)
        )
        self.posterior = encode(model, sentences.texts, labels=self._told)  # (N, Z)
        self._ids = self.tokenizer.encode_batch(list(sentences.texts))
        self.lengths = [len(ids) for ids in self._ids]  # in tokens
        self._max_length = min(MAX_LENGTH, max(self.lengths) + 1)
        kl, mean = self.posterior.kl(), self.posterior.mean
        self.kl: list[float] = kl.sum(1).tolist()  # of each sentence, nats
        # Means in the plane in which they differ most, (N, 2), and its share of their variance.
        self.points, self.explained = _plane(mean)
        lows, highs = mean.amin(0).floor().clamp(max=-3), mean.amax(0).ceil().clamp(min=3)
        busiest = kl.mean(0).argsort(descending=True, stable=True)[:NUM_DIMENSIONS].tolist()
        # Of each: its index, its mean KL in nats, and the ends of its slider.
        self.dimensions = [
            (d, float(kl[:, d].mean()), float(lows[d]), float(highs[d])) for d in busiest
        ]

    def between(self, first: str, second: str, *shares: float) -> list[str]:
        """Sentences on the straight line from one to another, shares from 0 to 1 of the way."""
        points = torch.tensor([float(within("share", share, 0, 1)) for share in shares])
        start, told = self._code(first, "the first sentence")
        end, _ = self._code(second, "the second sentence")
        return self._texts(lerp(start, end, points), told)

    def reconstructed(self, text: str) -> str:
        """The sentence at a text's posterior mean."""
        mean, told = self._code(text)
        return self._texts(mean[None], told)[0]

    def told(self, text: str) -> list[str]:
        """The labels, by guess, that the model is told of a text."""
        (named,) = self.model.labels.named(self._code(text)[1])
        return list(named.values())

    def sliders(self, text: str) -> list[float]:
        """A text's posterior mean in each of `dimensions`, as its slider can show it."""
        mean = self._code(text)[0].tolist()
        values = (min(max(mean[d], low), high) for d, _, low, high in self.dimensions)
        return [round(round(value / SLIDER_STEP) * SLIDER_STEP, 2) for value in values]

    def moved(self, text: str, sliders: Sequence[float], told: Sequence[str] = ()) -> str:
        """The sentence at a text's posterior mean, moved where a slider is not as in `sliders`.

        Written with the labels `told`, if there are any, in place of its own.
        """
        mean, labels = self._code(text)
        z = mean.clone()
        if told:
            columns = zip(self.model.labels.values, told, strict=True)
            labels = self.model.labels.numbered({name: [value] for name, value in columns})
        moves = zip(self.dimensions, self.sliders(text), sliders, strict=True)
        for (d, _, low, high), own, value in moves:
            if value != own:
                z[d] = within(f"dimension {d}", value, low, high)
        return self._texts(z[None], labels)[0]

    def near(self, text: str) -> list[Neighbour]:
        """The 8 other sentences whose posterior means are nearest, by Euclidean distance."""
        distances = (self.posterior.mean - self._code(text)[0]).norm(dim=1)
        texts, order = self.sentences.texts, distances.argsort(stable=True).tolist()
        others = [row for row in order if texts[row] != text.strip()]
        return [Neighbour(texts[row], float(distances[row]), row) for row in others[:8]]

    def samples(
        self, number: float = 10, strategy: str = "sample", temperature: float = 1, seed: float = 0
    ) -> list[str]:
        """Sentences from the prior; only the strategy "sample" takes notice of the temperature."""
        options: dict[str, Any] = {"strategy": strategy, "max_length": self._max_length}
        if strategy == "sample":
            options["temperature"] = within("temperature", temperature, 0.1, 2)
        number = int(within("number", number, 1, MAX_SAMPLES))
        return sample(self.model, number, seed=int(within("seed", seed, 0, MAX_SEED)), **options)

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What `diagnose` finds on the corpus' sentences, without the NLL; measured once."""
        split = EncodedSplit.from_ids(self._ids)
        split.labels = self._told.numpy()
        batches = BatchLoader(split, batch_size=64, shuffle=False).epoch(0)
        return diagnose(self.model, batches, len(split), num_samples=None, **self._options)

    def unknown_words(self, *texts: str) -> list[str]:
        """Words of texts that the model has never seen, each once."""
        return list(dict.fromkeys(w for text in texts for w in self.tokenizer.unknown_words(text)))

    def _read(self, text: str, name: str = "the sentence") -> tuple[Tensor, Tensor]:
        """A text's posterior mean (Z,), and the labels (1, F) that it was read with."""
        if (length := len(text)) > MAX_CHARACTERS:
            raise InputError(f"{name} must have at most {MAX_CHARACTERS} characters, got {length}")
        if not self.tokenizer.encode(text):
            raise InputError(f"{name} is empty: type one")
        labels = likeliest_labels(self.model, [text])
        return encode(self.model, [text], labels=labels).mean[0], labels

    def _texts(self, z: Tensor, labels: Tensor) -> list[str]:
        return generate_text(self.model, z, labels=labels, max_length=self._max_length)


def _plane(mean: Tensor) -> tuple[Tensor, float]:
    """Means (N, Z) along the two axes of most variance, (N, 2), and the share these hold of it."""
    centred = mean - mean.mean(0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    points = centred @ axes[:2].T
    variances = sizes.square()
    explained = float(variances[:2].sum() / variances.sum()) if variances.sum() > 0 else 1.0
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1])), explained


def within(name: str, value: object, low: float, high: float) -> float:
    """The value, if it is a number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{name} must be from {low:g} to {high:g}, got {value}")
    return value


def open_session(
    run: str,
    corpus: str | None = None,
    *,
    data_dir: str | None = None,
    num_sentences: int = 2000,
    data_changed: bool = False,
) -> Session:
    """Load a run, a directory or hub id, and sentences to explore it with; see `read_sentences`.

    Where the run's own corpus can't be had, the model writes some sentences itself.
    """
    num_sentences = integer("num_sentences", num_sentences, 2, 20_000)
    model = SentenceVAE.from_pretrained(run)
    if model.latent_dim == 0:
        raise InputError(f"{run} is a language model (latent_dim 0): it has no z to explore")
    directory = RunDirectory.open(find_pretrained(run))
    try:
        sentences = read_sentences(corpus, directory, data_dir, num_sentences, data_changed)
    except DataError as error:
        if corpus is not None or data_dir is not None or isinstance(error, CorpusChanged):
            raise
        notice = f"The corpus can't be had: {error}. The map shows sentences of the model's own."
        texts = [text for text in sample(model, 300) if text.strip()]
        sentences = Sentences("its own", texts, notice=notice)
    trained = {"beta": directory.last_beta(), "free_bits": directory.config.training.free_bits}
    return Session(model, sentences, name=directory.path.resolve().name, **trained)


def read_sentences(
    source: str | None,
    run: RunDirectory,
    data_dir: str | None = None,
    num_sentences: int = 2000,
    data_changed: bool = False,
) -> Sentences:
    """Draw sentences of `source`, as `load_corpus` takes it, the same ones every time.

    None is the corpus that the run was trained on, now in `data_dir`, and its held-out sentences;
    others than then are refused unless `data_changed` allows them.
    """
    if source is not None and data_dir is not None:
        raise InputError(f"either corpus or data_dir can be given, got {source!r} and {data_dir!r}")
    config, text_field = run.config, run.config.data.text_field
    if source is None:
        corpus = open_corpus(config.data_source, config.data, data_dir)
    else:
        corpus = load_corpus(source, text_field=text_field, valid_fraction=0, test_fraction=0)
    split = next(name for name in ("test", "valid", "train") if name in corpus.splits)
    name = CORPUS_NAMES.get(corpus.name, corpus.name)
    if source is None:
        is_other = is_changed(run, corpus, split, allowed=data_changed) or run.data_changed
        name += f", {split} split{' (data changed)' if is_other else ''}"
    columns = _json_labels(Path(os.path.expanduser(source or "")), text_field) | corpus[split][:]
    texts = columns.pop("text")
    fitting = torch.tensor([row for row, text in enumerate(texts) if len(text) <= MAX_CHARACTERS])
    order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(0))
    rows = fitting[order[:num_sentences]].sort().values.tolist()
    chosen = {column: [str(values[row]) for row in rows] for column, values in columns.items()}
    return Sentences(name, [texts[row] for row in rows], chosen)


def _json_labels(path: Path, text_field: str) -> dict[str, Any]:
    """The plain columns of a file of JSON lines, of which a corpus keeps the text only."""
    import pandas as pd

    if not path.is_file() or path.suffix not in (".jsonl", ".ndjson", ".json"):
        return {}
    with path.open(encoding="utf-8-sig") as lines:
        table = pd.read_json(lines, lines=True, dtype=False)
    table = table[table[text_field].str.strip() != ""].astype(object)
    is_plain = table.map(lambda value: isinstance(value, str | bool | int)).all()
    return dict(table.loc[:, is_plain].drop(columns=text_field).to_dict("list"))
