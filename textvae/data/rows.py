"""Sentences from a data set of the `datasets` library, cleaned: `clean`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textvae.data.corpus import DataError
from textvae.data.store import SHARD_ROWS, digest
from textvae.data.texts import TextSplit, store_texts

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["clean"]


def clean(dataset: Dataset, where: str, *, text_field: str, root: Path) -> tuple[TextSplit, int]:
    """Take the sentences of a data set, strip them and leave out the empty ones.

    Args:
        dataset: Rows as they were loaded.
        where: The data set, for messages.
        text_field: The column that holds the sentences.
        root: Directory of the caches.

    Returns:
        A split with the one column `text`, and the number of empty rows left out.

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
    column = dataset.select_columns(text_field).with_format("arrow")
    return store_texts(
        lambda: column.iter(batch_size=SHARD_ROWS),
        lambda first, table: table[text_field].combine_chunks(),
        where=where,
        unit="row",
        key=digest("dataset", dataset._fingerprint, text_field),
        root=root,
    )
