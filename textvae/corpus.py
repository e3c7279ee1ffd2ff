"""Anything with sentences → splits for training, validation and test: `load_corpus`.

A split is a `datasets.Dataset` with a column `text` and one for each label, memory-mapped, so that
a corpus may be larger than memory. `datasets` reads it once and keeps what was read in its cache.
"""

from __future__ import annotations

import csv
import glob
import gzip
import hashlib
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from textvae import grammar
from textvae.checks import InputError, number
from textvae.files import first_line, replacing, require_repository
from textvae.tokenizer import Kind, Tokenizer, find_reserved

if TYPE_CHECKING:
    from datasets import Dataset

SPLIT_NAMES = {  # what a split may be called in a file's name or on the hub
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
ROWS_AT_ONCE = 100_000  # read, cleaned or made ids of together: some ten megabytes
LONG_WORK = 300_000  # sentences that take seconds, so that a terminal shows progress
_VERSION = 6  # counted up when the same data would give others, so that no old cache is taken
_JSON = (".jsonl", ".ndjson", ".json")
_TABLES: Mapping[str, Mapping[str, Any]] = {
    ".csv": {"sep": ",", "quoting": csv.QUOTE_MINIMAL},
    ".tsv": {"sep": "\t", "quoting": csv.QUOTE_NONE},
    ".parquet": {},  # says by itself how to read it
}
MAX_CLASSES = 100  # values of a label above which it names no classes

PTB_HUB_ID = "ptb-text-only/ptb_text_only"
PTB_WAYS = (
    "put ptb.train.txt, ptb.valid.txt and ptb.test.txt into data/ptb/, or",
    "name the directory that holds them (--data-dir), or",
    f"be online: the hub's copy is {PTB_HUB_ID}",
)
PTB = {  # lines, words and SHA-256 of the files everyone trains on: Mikolov's
    "train": (42_068, 887_521, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    "valid": (3_370, 70_390, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    "test": (3_761, 78_669, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
}


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


def load_corpus(
    source: str | Path | Sequence[str],
    *,
    text_field: str = "text",
    label_field: str | None = None,
    valid_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
    cache_dir: str | None = None,
) -> Corpus:
    """Load a corpus by name, path or hub id.

    Args:
        source: `"grammar"`, the embedded corpus; `"ptb"`, Penn Treebank wherever it is, or
            `"ptb:DIR"`; a file in UTF-8: a table (`.csv`, `.tsv`, both with a header, `.parquet`),
            JSON lines (`.jsonl`, `.ndjson`, `.json`) or, of any other name, a sentence a line, each
            also as `.gz`; a directory with such files for train, valid and test, named like
            `train.txt` or `my.valid.jsonl` (`validation`, `val` and `dev` do as well; test may be
            missing); where there is no such path, a hub data set's id, `owner/name`; or
            sentences, which are written to the cache.
        text_field: Where several columns or fields are, that of the sentence: a string, or a list
            of tokens, which becomes a JSON array (for the tokenizer `"pre-split"`).
        label_field: Columns or fields to keep as labels, `"NAME"` or `"NAME,NAME"`. Splits are
            drawn so that each has its share of every class.
        valid_fraction: Share held out where the source has no split of its own; 0 for none.
        test_fraction: The same for test.
        seed: Draws the held-out sentences, and the embedded corpus itself.
        cache_dir: Where the Arrow files lie; if None, where `datasets` keeps its own.

    Raises:
        CorpusNotFound: If there is nothing of that name, or the hub doesn't answer in 5 seconds.
    """
    shares = {"valid": valid_fraction, "test": test_fraction}
    for split, share in shares.items():
        number(f"{split}_fraction", share, "[0, 1)")
    if not isinstance(source, str | Path):
        source = _written(source, text_field, cache_dir)
    fields = [text_field, *(label_field.split(",") if label_field else ())]
    if "text" in fields[1:]:
        raise InputError("label_field must not have 'text', which is the sentence's column")
    corpus = _found(source, fields, shares, seed, cache_dir)
    columns = {"text_field": text_field, "label_field": label_field}
    return replace(corpus, options={**columns, **corpus.options})


def _found(
    source: str | Path,
    fields: list[str],
    shares: Mapping[str, float],
    seed: int,
    cache_dir: str | None,
) -> Corpus:
    name, path = str(source), Path(os.path.expanduser(source))
    if name == "grammar" or name.split(":")[0] == "ptb":
        corpus = _draw(seed) if name == "grammar" else _load_ptb(name[4:] or None, cache_dir)
        for split, rows in corpus.splits.items():
            _selected(f"{name} ({split})", rows, ["text", *fields[1:]])
        return replace(corpus, labels=tuple(fields[1:]) or corpus.labels)
    if path.is_dir():
        return _read_files(path, _files_of_splits(path), fields, cache_dir)
    if path.is_file():
        corpus = _read_files(path, {"train": path}, fields, cache_dir)
    else:
        corpus = _read_hub(name, fields, cache_dir)
    return _hold_out(corpus, shares, seed)


def train_tokenizer(dataset: Dataset, kind: Kind | Tokenizer = "word", **options: Any) -> Tokenizer:
    """`Tokenizer.train` (or `kind.extended`) on a data set's `text`; kept beside its files."""
    from datasets.fingerprint import Hasher

    pieces = dataset.select_columns("text").iter(batch_size=ROWS_AT_ONCE)
    bar = {"desc": "taking the vocabulary", "total": len(dataset), "delay": 1, "leave": False}
    texts = tqdm((text for piece in pieces for text in piece["text"]), disable=None, **bar)
    train = kind.extended if isinstance(kind, Tokenizer) else partial(Tokenizer.train, kind=kind)
    if not dataset.cache_files:
        return train(texts, **options)
    key = Hasher.hash((_VERSION, dataset, kind, options))
    path = Path(dataset.cache_files[0]["filename"]).with_name(f"vocabulary-{key}.json")
    if not path.is_file():
        train(texts, **options).save(path)
    return Tokenizer.load(path)


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
            new_fingerprint=Hasher.hash((_VERSION, dataset, function, options)),
            desc=title,
        )
    return made.with_format(None)


def _draw(seed: int) -> Corpus:
    """The embedded corpus, with a column for every factor."""
    from datasets import Dataset

    splits = {
        split: Dataset.from_list([{"text": text, **factors} for text, factors in sentences])
        for split, sentences in grammar.splits(seed)._asdict().items()
    }
    factors = tuple(splits["train"].column_names[1:])
    drawn = {"split_seed": seed}
    return Corpus("grammar", splits, "grammar", dict.fromkeys(splits, 0), factors, drawn)


def _load_ptb(data_dir: str | None, cache_dir: str | None) -> Corpus:
    import datasets

    if files := _find_ptb(data_dir):
        corpus = _read_files(files["train"].parent, files, ["text"], cache_dir)
        corpus = replace(corpus, name="ptb", source=f"ptb:{corpus.source}")
    else:
        options = {"data_files": _download_ptb(), "cache_dir": cache_dir}
        with progress(False):
            loaded = datasets.load_dataset("parquet", **options)
        raw = {split: (f"{PTB_HUB_ID} ({split})", rows) for split, rows in loaded.items()}
        corpus = _clean("ptb", "ptb", raw, ["text"])
    _check_ptb(corpus, files)
    return corpus


def _find_ptb(data_dir: str | None) -> dict[str, Path]:
    """Each split's file: in `data_dir`, or `data/ptb/` here or beside the package; or none."""
    usual = (Path("data/ptb"), Path(__file__).resolve().parents[1] / "data" / "ptb")
    for directory in usual if data_dir is None else (Path(data_dir),):
        files = {split: directory / f"ptb.{split}.txt" for split in PTB}
        missing = [path.name for path in files.values() if not path.is_file()]
        if not missing:
            return files
        if data_dir is not None or len(missing) < len(files):
            found = f"no {', '.join(missing)} in {directory}"
            raise CorpusNotFound(f"Penn Treebank not found: {found}", PTB_WAYS)
    return {}


def _download_ptb() -> dict[str, str]:
    """The hub's parquet file of every split; that it is out of reach is known in five seconds."""
    from huggingface_hub import constants, hf_hub_download

    files = {split: f"penn_treebank/{split}/0000.parquet" for split in PTB}
    files["valid"] = "penn_treebank/validation/0000.parquet"
    fetch = partial(
        hf_hub_download, PTB_HUB_ID, repo_type="dataset", revision="refs/convert/parquet"
    )
    reason = "the hub is not asked, as HF_HUB_OFFLINE is set"
    for is_here in (True,) if constants.is_offline_mode() else (True, False):
        try:
            if not is_here:
                require_repository(PTB_HUB_ID, "dataset")
            return {split: fetch(file, local_files_only=is_here) for split, file in files.items()}
        except (OSError, ValueError) as error:
            reason = reason if is_here else first_line(error)
    raise CorpusNotFound(f"Penn Treebank not found: it is not in data/ptb/, and {reason}", PTB_WAYS)


def _check_ptb(corpus: Corpus, files: Mapping[str, Path]) -> None:
    """Refuse other text than the original's, whitespace apart; of the hub's copy, other sizes."""
    told, known = "{} lines, {} words, sha256 {:.12}…".format, 3 if files else 2
    for split, expected in PTB.items():
        lines = [text.split() for text in corpus[split]["text"]]
        # As in the original, a space at both ends.
        text = "".join(f" {' '.join(words)} \n" for words in lines)
        found = len(lines), sum(map(len, lines)), hashlib.sha256(text.encode()).hexdigest()
        if found[:known] != expected[:known]:
            raise DataError(
                f"{files.get(split, f'{PTB_HUB_ID} ({split})')} is not the Penn Treebank file of "
                f"that name: expected {told(*expected)}; found {told(*found)}"
            )


@progress(is_long=True)
def _read_hub(name: str, fields: list[str], cache_dir: str | None) -> Corpus:
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
    return _clean(name, name, raw, fields)


def _read_files(
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
            except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
                _explain(file)
                reason = getattr(error, "__cause__", None) or error
                raise DataError(f"{file}: {first_line(reason)}") from None
            raw[split] = str(file), rows
        name = path.name.split(".")[0] if path.is_file() else path.resolve().name
        return _clean(name, str(path.resolve()), raw, fields)


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
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for count, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as fault:
                raise DataError(f"line {count} of {path} is not UTF-8: {fault}") from None


def _written(sentences: Sequence[str], field: str, cache_dir: str | None) -> Path:
    """A file of these sentences, where a run finds them again."""
    import datasets

    lines = "".join(json.dumps({field: each}) + "\n" for each in sentences)
    key = hashlib.sha256(lines.encode()).hexdigest()
    directory = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "textvae" / key
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(path := directory / "sentences.jsonl") as temporary:
        temporary.write_text(lines, encoding="utf-8")
    return path


def _clean(
    name: str, source: str, raw: Mapping[str, tuple[str, Dataset]], fields: list[str]
) -> Corpus:
    """Strip sentences and leave out empty ones; each split has a place, for messages, and rows."""
    from datasets import Value

    splits: dict[str, Dataset] = {}
    skipped: dict[str, int] = {}
    for split, (where, rows) in raw.items():
        if _suffix(where) not in _JSON:
            rows = _selected(where, rows, fields)
        options = {"where": where, "fields": fields, "features": rows.features}
        kept = mapped(rows, _cleaned, f"reading {where}", **options)
        if not len(kept):
            raise DataError(f"{where} holds no sentences: {len(rows)} lines, all empty")
        splits[split], skipped[split] = kept, len(rows) - len(kept)
    for label in fields[1:]:
        for kind in ("float64", "int64"):
            with suppress(pa.ArrowInvalid), progress(False):
                splits |= {k: rows.cast_column(label, Value(kind)) for k, rows in splits.items()}
    return Corpus(name, splits, source, skipped, tuple(fields[1:]))


def _selected(where: str, rows: Dataset, fields: list[str]) -> Dataset:
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
    columns = [table.column(name) for name in table.column_names]
    if _suffix(where) in _JSON:
        lines = zip(rows, columns[0].to_pylist(), strict=True)
        found = [_fields(line, f"line {row + 1} of {where}", fields) for row, line in lines]
        columns = [pa.array(column, pa.string()) for column in zip(*found, strict=True)]
    elif pa.types.is_list(columns[0].type):
        columns[0] = pa.array(map(_text, columns[0].to_pylist()), pa.string())
    for i, name in enumerate(table.column_names):
        if names := getattr(features[name], "names", None):  # of classes; -1 is none
            columns[i] = pa.array([names[k] if k >= 0 else "" for k in columns[i].to_pylist()])
    columns = [pc.fill_null(column.cast(pa.string()), "") for column in columns]
    texts = columns[0] = pc.utf8_trim_whitespace(columns[0])
    found = pc.index(pc.match_substring_regex(texts, "<(pad|bos|eos)>"), True).as_py()
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


def _files_of_splits(directory: Path) -> dict[str, Path]:
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


def _hold_out(corpus: Corpus, shares: Mapping[str, float], seed: int) -> Corpus:
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
