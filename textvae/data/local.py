"""Corpora from local files: plain text and JSON lines, one file or one for each split.

Offers `load_file` and `load_directory`, and `read_splits`, which both of them and the Penn
Treebank read their files with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from textvae.data.corpus import Corpus, DataError
from textvae.data.holding_out import hold_out
from textvae.data.store import SHARD_ROWS, cache_root, digest, file_digest
from textvae.data.texts import TextSplit, store_texts

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
) -> tuple[dict[str, TextSplit], dict[str, int]]:
    """Read and clean one file for each split, once: later calls find its content in the cache.

    Args:
        files: Path of every split; `.jsonl`, `.ndjson` and `.json` are JSON lines, all else plain
            text in UTF-8 with a sentence a line.
        text_field: Field of the sentence in JSON lines.
        cache_dir: Where the Arrow files lie; see `cache_root`.

    Returns:
        The splits, and the number of empty lines left out of each.

    Raises:
        DataError: If a file can't be read as what it is, if a sentence contains a reserved token,
            or if there is none.
    """
    splits: dict[str, TextSplit] = {}
    skipped: dict[str, int] = {}
    for name, path in files.items():
        splits[name], skipped[name] = _read(path, text_field, cache_root(cache_dir))
    return splits, skipped


def _read(path: Path, text_field: str, root: Path) -> tuple[TextSplit, int]:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    field = text_field if path.suffix in _JSON else None

    def sentences(first: int, lines: list[str]) -> Any:
        import pyarrow as pa

        if field is not None:
            numbered = enumerate(lines, start=first + 1)
            lines = [_sentence(line, f"line {i} of {path}", field) for i, line in numbered]
        return pa.array(lines, pa.string())

    return store_texts(
        lambda: _parts(path),
        sentences,
        where=str(path),
        unit="line",
        key=digest("file", file_digest(path), field),
        root=root,
    )


def _parts(path: Path) -> Iterator[list[str]]:
    # A byte order mark, as some editors write it, would else become part of the first word.
    with path.open(encoding="utf-8-sig") as lines:
        try:
            while part := list(islice(lines, SHARD_ROWS)):
                yield part
        except UnicodeDecodeError:
            _explain(path)
            raise


def _explain(path: Path) -> None:
    """Raise for the first line that is not UTF-8."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as fault:
                raise DataError(
                    f"{path} is not UTF-8: line {number} has byte 0x{line[fault.start]:02x} "
                    f"at position {fault.start + 1}"
                ) from None


def _sentence(line: str, where: str, text_field: str) -> str:
    """The sentence in a line of JSON; an empty line holds an empty one."""
    if not line.strip():
        return ""
    try:
        record = json.loads(line)
    except ValueError as fault:
        raise DataError(f"{where} is not JSON: {fault}") from None
    if not isinstance(record, dict):
        raise DataError(f"{where} must be a JSON object, got {line.strip()[:40]}")
    if text_field not in record:
        raise DataError(f"{where} has no field {text_field!r}; it has {', '.join(record)}")
    text = record[text_field]
    if not isinstance(text, str):
        raise DataError(f"{where} must have a string in {text_field!r}, got {json.dumps(text)}")
    return text


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
