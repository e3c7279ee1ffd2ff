"""Sentences and labels from files, a list, or the hub: cleaned, and kept as Arrow."""

from __future__ import annotations

import csv
import glob
import gzip
import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from textvae.corpus.splits import (
    LONG_WORK,
    ROWS_AT_ONCE,
    Corpus,
    CorpusNotFound,
    DataError,
    mapped,
    progress,
)
from textvae.files import first_line, replacing, require_repository
from textvae.tokenizer import find_reserved

if TYPE_CHECKING:
    from datasets import Dataset

SPLIT_NAMES = {  # what a split may be called in a file's name or on the hub
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
_JSON = (".jsonl", ".ndjson", ".json")
UNREADABLE = (OSError, EOFError)  # of a .gz that is none, or half of one
_TABLES: Mapping[str, Mapping[str, Any]] = {
    ".csv": {"sep": ",", "quoting": csv.QUOTE_MINIMAL},
    ".tsv": {"sep": "\t", "quoting": csv.QUOTE_NONE},
    ".parquet": {},  # says by itself how to read it
}


def read_files(
    path: Path, files: Mapping[str, Path], fields: list[str], cache_dir: str | None
) -> Corpus:
    """The corpus at a path, with a file for each split."""
    import datasets
    from pandas.errors import ParserWarning

    raw: dict[str, tuple[str, Dataset]] = {}
    with (
        warnings.catch_warnings(),
        progress(sum(file.stat().st_size for file in files.values()) > 100 * LONG_WORK),
    ):
        warnings.simplefilter("error", ParserWarning)  # fields left out
        for split, file in files.items():
            options = {"data_files": glob.escape(str(file.resolve())), "cache_dir": cache_dir}
            try:
                rows = datasets.load_dataset(split="train", **_format(file), **options)
            except (datasets.exceptions.DatasetGenerationError, *UNREADABLE, ValueError) as error:
                _explain(file)
                reason = getattr(error, "__cause__", None) or error
                raise DataError(f"{file}: {first_line(reason)}") from None
            raw[split] = str(file), rows
        name = path.name.split(".")[0] if path.is_file() else path.resolve().name
        name = f"my-{name}" if name in ("grammar", "ptb") else name  # which are ours
        return clean(name, str(path.resolve()), raw, fields)


@progress(is_long=True)
def read_hub(name: str, fields: list[str], cache_dir: str | None) -> Corpus:
    """The data set of that id."""
    import datasets

    try:
        require_repository(name, "dataset")
        loaded = datasets.load_dataset(name, cache_dir=cache_dir)
    # Networks, repositories and formats fail in ways of their own; the first line says which.
    except Exception as error:
        reason, ways = first_line(error), ["set HF_HUB_OFFLINE=1 to use what was downloaded before"]
        raise CorpusNotFound(
            f"no file or directory {name!r}, and {reason}",
            ways if isinstance(error, ConnectionError) else (),
        ) from error
    raw: dict[str, tuple[str, Dataset]] = {}
    for split, aliases in SPLIT_NAMES.items():
        for alias in [alias for alias in aliases if alias in loaded][:1]:
            raw[split] = f"the data set {name!r} ({alias})", loaded[alias]
    if "train" not in raw:
        raise DataError(f"the data set {name!r} has no split train; it has {', '.join(loaded)}")
    return clean(name, name, raw, fields)


def written(sentences: Sequence[str], field: str, cache_dir: str | None) -> Path:
    """A file of these sentences, where a run finds them again."""
    import datasets

    lines = "".join(json.dumps({field: each}) + "\n" for each in sentences)
    key = hashlib.sha256(lines.encode()).hexdigest()
    directory = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "textvae" / key
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(path := directory / "sentences.jsonl") as temporary:
        temporary.write_text(lines, encoding="utf-8")
    return path


def files_of_splits(directory: Path) -> dict[str, Path]:
    """By their names; a `DataError` where train or valid has none, or one has several."""
    files: dict[str, Path] = {}
    for split, aliases in SPLIT_NAMES.items():
        found = [
            path
            for path in sorted(directory.glob("[!.]*"))
            if _suffix(path.name) in (".txt", *_JSON, *_TABLES)
            and {*re.split("[._-]", path.name)} & {*aliases}
        ]
        if len(found) > 1 or (not found and split != "test"):
            names = ", ".join(path.name for path in found) or "none"
            needed = f"one file for the {split} split, such as {split}.txt"
            raise DataError(f"{directory} must have {needed}, got {names}")
        if found:
            files[split] = found[0]
    return files


def _suffix(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix


def _format(file: Path) -> dict[str, Any]:
    """What `datasets` reads a file with."""
    import pandas as pd
    from datasets import Features, Value

    # A byte order mark, as some editors write it, would else become part of the first word.
    options: dict[str, Any] = {"encoding": "utf-8-sig", **_TABLES.get(_suffix(file.name), {})}
    if _suffix(file.name) == ".parquet":
        return {"path": "parquet"}
    if "sep" not in options:
        # Lines of JSON too: only so can a fault be told with its line.
        return {"path": "text", "writer_batch_size": ROWS_AT_ONCE, **options}
    # All columns as strings: types guessed from the first rows may not be those of the last.
    columns = pd.read_csv(file, nrows=0, **options).columns
    strings = Features(dict.fromkeys(columns, Value("string")))
    # Else a surplus field in every row would make the first column an index.
    options |= {"keep_default_na": False, "index_col": False}
    return {"path": "csv", "features": strings, **options}


def _explain(path: Path) -> None:
    """Refuse an empty file, or one for its first line that is not UTF-8."""
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    with (
        suppress(*UNREADABLE),  # the reader's own words tell
        gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines,
    ):
        for count, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as fault:
                raise DataError(f"line {count} of {path} is not UTF-8: {fault}") from None


def clean(
    name: str, source: str, raw: Mapping[str, tuple[str, Dataset]], fields: list[str]
) -> Corpus:
    """Strip sentences and leave out empty ones; each split has a place, for messages, and rows."""
    from datasets import Value

    splits: dict[str, Dataset] = {}
    skipped: dict[str, int] = {}
    for split, (where, rows) in raw.items():
        if _suffix(where) not in _JSON:
            rows = selected(where, rows, fields)
        options = {"where": where, "fields": fields, "features": rows.features}
        kept = mapped(rows, _cleaned, f"reading {where}", **options)
        if not len(kept):
            raise DataError(f"{where} holds no sentences: {len(rows)} lines, all empty")
        splits[split], skipped[split] = kept, len(rows) - len(kept)
    for label in fields[1:]:
        for kind in ("int64", "float64", "int64"):  # not all by way of floats, which end at 2^53
            with suppress(pa.ArrowInvalid), progress(False):
                splits |= {k: rows.cast_column(label, Value(kind)) for k, rows in splits.items()}
                if kind == "int64":
                    break
    return Corpus(name, splits, source, skipped, tuple(fields[1:]))


def selected(where: str, rows: Dataset, fields: list[str]) -> Dataset:
    """The columns of a table that are asked for; where there is but one, it holds the sentences."""
    names = rows.column_names
    chosen = [names[0] if len(names) == 1 else fields[0], *fields[1:]]
    kind = rows.features.get(chosen[0])
    is_text = "string" in getattr(kind, "dtype", "") or hasattr(kind, "feature")
    plain = {name for name, feature in rows.features.items() if hasattr(feature, "dtype")}
    if not is_text or not {*fields[1:]} <= plain:
        asked = ", ".join([f"{chosen[0]} (of strings)", *fields[1:]])
        ways = "name the sentence's with --text-field, labels with --label-field"
        raise DataError(f"{where} must have the columns {asked}; it has {', '.join(names)}: {ways}")
    return rows.select_columns(chosen)


def _cleaned(
    table: pa.Table, rows: list[int], where: str, fields: list[str], features: Mapping[str, Any]
) -> pa.Table:
    columns = table.columns
    if _suffix(where) in _JSON:
        lines = zip(rows, columns[0].to_pylist(), strict=True)
        found = [_fields(line, f"line {row + 1} of {where}", fields) for row, line in lines]
        columns = [pa.array(column, pa.string()) for column in zip(*found, strict=True)]
    elif pa.types.is_list(columns[0].type):
        columns[0] = pa.array(map(_text, columns[0].to_pylist()), pa.string())
    for i, name in enumerate(table.column_names):
        if names := getattr(features[name], "names", None):  # of classes; -1 is none
            columns[i] = pa.array(
                [names[k] if k is not None and k >= 0 else "" for k in columns[i].to_pylist()]
            )
    columns = [pc.fill_null(column.cast(pa.string()), "") for column in columns]
    texts = columns[0] = pc.utf8_trim_whitespace(columns[0])
    found = pc.index(pc.match_substring_regex(texts, "(?i)<(pad|bos|eos)>"), True).as_py()
    if found >= 0:
        unit = "row" if _suffix(where) in _TABLES else "line"
        raise DataError(
            f"{unit} {rows[found] + 1} of {where} contains the reserved token "
            f"{find_reserved(texts[found].as_py())}; remove it or write it otherwise"
        )
    return pa.table(columns, ["text", *fields[1:]]).filter(pc.not_equal(texts, ""))


def _fields(line: str, where: str, fields: list[str]) -> list[str]:
    """Sentence and labels in a line of JSON, an object or a list; an empty line has empty ones."""
    if not line.strip():
        return [""] * len(fields)
    try:
        found = json.loads(line)
        text, *labels = [found] if isinstance(found, list) else [found[name] for name in fields]
    except (ValueError, LookupError, TypeError, RecursionError):
        text, labels = None, []
    text = _text(text)
    if text is None or len(labels) < len(fields) - 1:
        asked = ", ".join(map(repr, fields))
        got = f"{line.strip()[:80]} (--text-field, --label-field)"
        raise DataError(f"{where} must be a JSON object with a string in {asked}, got {got}")
    labels = ["" if label is None else label for label in labels]
    return [text, *(label if isinstance(label, str) else json.dumps(label) for label in labels)]


def _text(value: Any) -> str | None:
    """A string, or a list of tokens as a JSON array; None for anything else."""
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return value if isinstance(value, str) else None
