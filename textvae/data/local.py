"""Corpora from local files: plain text and JSON lines, one file or one for each split.

Offers `load_file` and `load_directory`, and `read_splits`, which both of them and the Penn
Treebank read their files with.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.data.corpus import Corpus, DataError, clean, hold_out, quietly

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SPLIT_NAMES", "load_directory", "load_file", "read_splits"]

SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
"""What a split may be called in a file's name or on the hub."""

_JSON = (".jsonl", ".ndjson", ".json")


def load_file(
    path: Path, *, text_field: str, fractions: dict[str, float], seed: int, cache_dir: str | None
) -> Corpus:
    """One file, a sentence a line, split by seed and fractions; see `load_corpus`."""
    splits, skipped = read_splits({"train": path}, text_field=text_field, cache_dir=cache_dir)
    parts = hold_out(splits["train"], fractions, seed, str(path))
    return Corpus(path.name.split(".")[0], parts, str(path.resolve()), skipped)


def load_directory(path: Path, *, text_field: str, cache_dir: str | None) -> Corpus:
    """A directory with a file for each split; see `load_corpus`.

    Raises:
        DataError: If there is no file for training or validation, or two for one split.
    """
    files = _files_of_splits(path)
    splits, skipped = read_splits(files, text_field=text_field, cache_dir=cache_dir)
    return Corpus(path.resolve().name, splits, str(path.resolve()), skipped)


def read_splits(
    files: Mapping[str, Path], *, text_field: str = "text", cache_dir: str | None = None
) -> tuple[dict[str, Dataset], dict[str, int]]:
    """Read and clean one file for each split.

    Args:
        files: Path of every split; `.jsonl`, `.ndjson` and `.json` are JSON lines, all else plain
            text in UTF-8 with a sentence a line.
        text_field: Field of the sentence in JSON lines.
        cache_dir: Where `datasets` keeps its Arrow files; its own default if None.

    Returns:
        The splits, and the number of empty lines left out of each.

    Raises:
        DataError: If a file can't be read as what it is, or `clean` refuses it.
    """
    splits: dict[str, Dataset] = {}
    skipped: dict[str, int] = {}
    for name, path in files.items():
        is_json = path.suffix in _JSON
        splits[name], skipped[name] = clean(
            _read(path, name, is_json, text_field, cache_dir),
            str(path),
            text_field=text_field if is_json else "text",
        )
    return splits, skipped


def _read(path: Path, split: str, is_json: bool, text_field: str, cache_dir: str | None) -> Dataset:
    import datasets

    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    # A byte order mark, as some editors write it, would else become part of the first word.
    options: dict[str, Any] = {} if is_json else {"encoding": "utf-8-sig"}
    try:
        with quietly():
            dataset = datasets.load_dataset(
                "json" if is_json else "text",
                data_files={split: glob.escape(str(path.resolve()))},
                split=split,
                cache_dir=cache_dir,
                **options,
            )
    # What goes wrong inside comes wrapped in the library's own errors, without place or reason.
    except Exception as error:
        _explain(path, is_json, text_field)
        raise DataError(f"{path} could not be read: {error}") from error
    if is_json and getattr(dataset.features.get(text_field), "dtype", None) != "string":
        _explain(path, is_json, text_field)
    return dataset


def _explain(path: Path, is_json: bool, text_field: str) -> None:
    """Raise for the first line that is at fault, if there is one."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode()
            except UnicodeDecodeError as fault:
                raise DataError(
                    f"{path} is not UTF-8: line {number} has byte 0x{line[fault.start]:02x} "
                    f"at position {fault.start + 1}"
                ) from None
            if is_json and text.strip():
                _check_record(text, number, path, text_field)


def _check_record(text: str, number: int, path: Path, text_field: str) -> None:
    where = f"line {number} of {path}"
    try:
        record = json.loads(text)
    except ValueError as fault:
        raise DataError(f"{where} is not JSON: {fault}") from None
    if not isinstance(record, dict):
        raise DataError(f"{where} must be a JSON object, got {text.strip()[:40]}")
    if text_field not in record:
        raise DataError(f"{where} has no field {text_field!r}; it has {', '.join(record)}")
    if not isinstance(record[text_field], str):
        raise DataError(
            f"{where} must have a string in {text_field!r}, got {json.dumps(record[text_field])}"
        )


def _files_of_splits(directory: Path) -> dict[str, Path]:
    candidates = sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and path.suffix in (".txt", *_JSON) and not path.name.startswith(".")
    )
    files: dict[str, Path] = {}
    for split, aliases in SPLIT_NAMES.items():
        found = [path for path in candidates if set(re.split(r"[._-]", path.name)) & set(aliases)]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise DataError(f"{directory} has more than one file for the {split} split: {names}")
        if found:
            files[split] = found[0]
    missing = [split for split in ("train", "valid") if split not in files]
    if missing:
        names = ", ".join(path.name for path in candidates) or "no .txt or .jsonl file"
        raise DataError(
            f"{directory} has no file for the {missing[0]} split (such as {missing[0]}.txt); "
            f"it holds {names}"
        )
    return files
