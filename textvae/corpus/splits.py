"""What a corpus is: sentences in splits, those held out, and functions of all their rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from textvae.checks import InputError

if TYPE_CHECKING:
    from datasets import Dataset

ROWS_AT_ONCE = 100_000  # read, cleaned or made ids of together: some ten megabytes
LONG_WORK = 300_000  # sentences that take seconds, so that a terminal shows progress
VERSION = 6  # counted up when the same data would give others, so that no old cache is taken
MAX_CLASSES = 100  # values of a label above which it names no classes


class DataError(InputError):
    """A corpus that can't be used; the message says what is wrong, where, and what is allowed."""


class CorpusNotFound(DataError):  # noqa: N818 - reads as what it is where it is caught
    """A corpus that isn't there or can't be reached; `ways` to get it, where some are known."""

    def __init__(self, message: str, ways: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ways = tuple(ways)


@dataclass(frozen=True)
class Corpus:
    """Sentences in splits: `"train"`, `"valid"`, `"test"`, as far as there are.

    Each has a column `text` of sentences without surrounding whitespace, none of them empty, and a
    column for every label: numbers, if all are, or strings.
    """

    name: str  # what to call it in tables
    splits: Mapping[str, Dataset]
    source: str  # what `load_corpus` finds the same corpus by, from any directory
    skipped: dict[str, int]  # empty lines left out of each split
    labels: tuple[str, ...] = ()  # of the embedded corpus, its factors
    options: Mapping[str, Any] = field(default_factory=dict)  # of `DataConfig`, that made it so

    @property
    def factors(self) -> tuple[str, ...]:
        """The labels that name classes: no fractions, and of at most `MAX_CLASSES` values."""
        train = self["train"]
        whole = (name for name in self.labels if train.features[name].dtype != "float64")
        return tuple(name for name in whole if len(train.unique(name)) <= MAX_CLASSES)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(rows):,}" for name, rows in self.splits.items())
        labels = f"; labels: {', '.join(self.labels)}" if self.labels else ""
        return f"Corpus({self.name}: {sizes} sentences{labels})"

    def __getitem__(self, split: str) -> Dataset:
        """One split; a `DataError` if there is none of that name."""
        if split not in self.splits:
            raise DataError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split]


def hold_out(corpus: Corpus, shares: Mapping[str, float], seed: int) -> Corpus:
    """Draw the splits that are missing, a sentence at least for a share above 0, from training."""
    dataset, total = corpus["train"], len(corpus["train"])
    wanted = {split: share for split, share in shares.items() if split not in corpus.splits}
    sizes = {split: max(1, round(total * share)) for split, share in wanted.items() if share > 0}
    drawn = {f"{split}_fraction": share for split, share in wanted.items()} | {"split_seed": seed}
    if not sizes:
        return replace(corpus, options=drawn)
    if total <= sum(sizes.values()):
        held_out = " and ".join(f"{size} for {split}" for split, size in sizes.items())
        raise DataError(f"{corpus.source} has too few sentences: {total}, less {held_out}")
    order = np.arange(total, dtype=np.int32)
    np.random.default_rng(seed).shuffle(order)
    if factors := corpus.factors:
        kinds = list(map(repr, zip(*(dataset[name][:] for name in factors), strict=True)))
        order = _stratified(order, np.unique(kinds, return_inverse=True)[1])
    parts = np.split(order, np.cumsum([*sizes.values()]))
    splits = {**corpus.splits}
    for split, rows in zip([*sizes, "train"], parts, strict=True):
        is_chosen = np.isin(np.arange(total, dtype=np.int32), rows)
        splits[split] = mapped(dataset, _chosen, f"drawing {split}", is_chosen=is_chosen)
    return replace(corpus, splits=splits, options=drawn)


def _stratified(order: NDArray[np.int32], classes: NDArray[np.integer]) -> NDArray[np.int32]:
    """An order of which any part has its share of each row's class, drawn as `order` is."""
    of = classes[order]
    counts, by_class = np.bincount(of), np.argsort(of, kind="stable")
    place = np.empty(len(order))  # of each among its class, in (0, 1)
    place[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5
    return order[np.argsort(place / counts[of], kind="stable")]


def _chosen(table: pa.Table, rows: list[int], is_chosen: NDArray[np.bool_]) -> pa.Table:
    return table.filter(is_chosen[rows])


def mapped(
    dataset: Dataset, function: Callable[..., pa.Table], title: str, **options: object
) -> Dataset:
    """What `function(table, row numbers, **options)` makes of a data set, some rows at a time.

    `datasets` keeps it in its cache where the data set lies in files.
    """
    from datasets.fingerprint import Hasher

    with progress(len(dataset) > LONG_WORK):
        made = dataset.with_format("arrow").map(
            function,
            batched=True,
            batch_size=ROWS_AT_ONCE,
            writer_batch_size=ROWS_AT_ONCE,
            with_indices=True,
            remove_columns=dataset.column_names,
            fn_kwargs=options,
            new_fingerprint=Hasher.hash((VERSION, dataset, function, options)),
            desc=title,
        )
    return made.with_format(None)


@contextmanager
def progress(is_long: bool) -> Iterator[None]:
    """`datasets` shows its bars for long work, and at a terminal, only."""
    import datasets

    was_shown = not datasets.are_progress_bars_disabled()
    if was_shown and not (is_long and sys.stderr.isatty()):
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if was_shown:
            datasets.enable_progress_bars()
