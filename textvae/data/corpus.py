"""What a corpus is: `Corpus`, its errors, and the cleaning every source goes through.

Offers `Corpus`, `DataError`, `CorpusNotFound`, and for the modules that read one kind of source
each: `clean` (strips, skips empty lines, refuses reserved tokens), `hold_out` (cuts validation and
test sets off) and `quietly` (no progress bars).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from textvae.tokenizer import find_reserved

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

__all__ = [
    "Corpus",
    "CorpusNotFound",
    "DataError",
    "check_fractions",
    "clean",
    "hold_out",
    "quietly",
]

CLEANING = 1
"""Counted up when `clean` changes what it makes of a text, so that no old cache is taken."""


class DataError(ValueError):
    """A corpus that can't be used; the message says what is wrong, where, and what is allowed."""


class CorpusNotFound(DataError):  # noqa: N818 - reads as what it is where it is caught
    """A corpus that isn't there, or can't be reached.

    Attributes:
        ways: Ways to get it, a line each; empty where there is nothing to say.
    """

    def __init__(self, message: str, ways: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ways = tuple(ways)


@dataclass(frozen=True)
class Corpus:
    """Sentences in splits, memory-mapped.

    Attributes:
        name: What to call it in tables.
        splits: `"train"`, `"valid"`, `"test"`, as far as there are; each with a column `text` of
            sentences without surrounding whitespace, none of them empty. The embedded corpus has
            a column for every factor too.
        source: What `load_corpus` finds the same corpus by, from any directory.
        skipped: Empty lines left out of each split.
    """

    name: str
    splits: dict[str, Dataset]
    source: str
    skipped: dict[str, int]

    def __getitem__(self, split: str) -> Dataset:
        """One split.

        Raises:
            DataError: If there is no such split.
        """
        if split not in self.splits:
            raise DataError(
                f"{self.name} has no split {split!r}; it has {', '.join(self.splits) or 'none'}"
            )
        return self.splits[split]


@contextmanager
def quietly() -> Iterator[None]:
    """Keep `datasets` from drawing progress bars meanwhile."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def clean(
    dataset: Dataset, where: str, *, text_field: str = "text", unit: str = "line"
) -> tuple[Dataset, int]:
    """Strip every sentence and leave out the empty ones.

    Args:
        dataset: Rows as they were read, in the order of the source.
        where: The file or data set, for messages.
        text_field: The column that holds the sentences.
        unit: What a row is in the source, for messages.

    Returns:
        A data set with the one column `text`, and the number of empty rows left out.

    Raises:
        DataError: If the column is missing or holds no strings, if a sentence contains a reserved
            token, or if nothing is left.
    """
    if text_field not in dataset.column_names:
        fields = ", ".join(dataset.column_names)
        raise DataError(f"{where} has no field {text_field!r}; it has {fields}")
    kind = getattr(dataset.features[text_field], "dtype", None)
    if kind not in ("string", "large_string", "null"):
        raise DataError(f"the field {text_field!r} of {where} must hold strings, got {kind}")
    with quietly():
        cleaned = dataset.with_format("arrow").map(
            _clean_rows,
            batched=True,
            batch_size=10_000,
            writer_batch_size=10_000,
            with_indices=True,
            remove_columns=dataset.column_names,
            fn_kwargs={"where": where, "text_field": text_field, "unit": unit, "version": CLEANING},
        )
    skipped = dataset.num_rows - cleaned.num_rows
    if cleaned.num_rows == 0:
        raise DataError(f"{where} holds no sentences: {skipped} {unit}s, all empty")
    return cleaned.with_format(None), skipped


def hold_out(
    dataset: Dataset, fractions: dict[str, float], seed: int, where: str
) -> dict[str, Dataset]:
    """Draw held-out splits from a data set and leave the rest for training.

    Args:
        dataset: All sentences.
        fractions: Share of each held-out split, as `check_fractions` allows; at least one
            sentence is drawn for a share above 0, no split is made for 0.
        seed: The same seed draws the same sentences.
        where: The corpus, for messages.

    Returns:
        `"train"` and the held-out splits, each in the order of the data set.

    Raises:
        DataError: If there are too few sentences.
    """
    total = dataset.num_rows
    sizes = {name: max(1, round(total * share)) for name, share in fractions.items() if share > 0}
    if total <= sum(sizes.values()):
        raise DataError(
            f"{where} has too few sentences to be split into train, {', '.join(sizes)}: "
            f"at least {len(sizes) + 1} are needed, got {total}"
        )
    order = np.random.default_rng(seed).permutation(total)
    parts = np.split(order, np.cumsum(list(sizes.values())))
    named = {"train": parts[-1], **dict(zip(sizes, parts, strict=False))}
    return {name: dataset.select(np.sort(rows)) for name, rows in named.items()}


def check_fractions(valid_fraction: float, test_fraction: float) -> None:
    """Check shares of held-out sentences.

    Raises:
        DataError: If one is below 0 or they add up to 1 or more.
    """
    for name, share in (("valid_fraction", valid_fraction), ("test_fraction", test_fraction)):
        if not 0 <= share < 1:
            raise DataError(f"{name} must be at least 0 and below 1, got {share}")
    if valid_fraction + test_fraction >= 1:
        raise DataError(
            "valid_fraction and test_fraction must add up to less than 1, "
            f"got {valid_fraction} + {test_fraction}"
        )


def _clean_rows(
    table: pyarrow.Table, rows: list[int], where: str, text_field: str, unit: str, version: int
) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = table[text_field].cast(pa.string())
    missing = pc.index(pc.is_null(texts), True).as_py()
    if missing >= 0:
        raise DataError(f"{unit} {rows[missing] + 1} of {where} has no string in {text_field!r}")
    texts = pc.utf8_trim_whitespace(texts)
    found = pc.index(pc.match_substring_regex(texts, "<(pad|bos|eos)>"), True).as_py()
    if found >= 0:
        raise DataError(
            f"{unit} {rows[found] + 1} of {where} contains the reserved token "
            f"{find_reserved(texts[found].as_py())}; remove it or write it otherwise"
        )
    return pa.table({"text": texts.filter(pc.not_equal(texts, ""))})
