"""Anything with sentences → splits for training, validation and test: `load_corpus`.

A split is a `datasets.Dataset` with a column `text`, memory-mapped, so that a corpus may be larger
than memory. `datasets` reads it once and keeps what was read in its cache.
"""

from __future__ import annotations

import glob
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textvae import grammar, ptb
from textvae.checks import number
from textvae.files import require_repository

# These two are raised here and there, and belong to whoever loads a corpus.
from textvae.ptb import CorpusNotFound as CorpusNotFound
from textvae.ptb import DataError as DataError
from textvae.tokenizer import Kind, Tokenizer, find_reserved

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
"""What a split may be called in a file's name or on the hub."""

ROWS_AT_ONCE = 10_000
"""Rows that are cleaned or made ids of together: a megabyte or two."""

LONG_WORK = 300_000
"""Rows from which on work takes seconds, so that a terminal shows its progress."""

_CLEANING = 3  # counted up when the cleaning gives other texts, so that no old cache is taken
_JSON = (".jsonl", ".ndjson", ".json")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_ENDING = re.compile(r"\.[A-Za-z]\w{0,7}")


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
    splits: Mapping[str, Dataset]
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


def load_corpus(
    source: str | Path,
    *,
    text_field: str = "text",
    valid_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
    cache_dir: str | None = None,
) -> Corpus:
    """Load a corpus by name, path or hub id.

    Args:
        source: One of:

            - `"grammar"`, the embedded corpus;
            - `"ptb"`, Penn Treebank wherever it is, or `"ptb:DIR"`;
            - a text file, a sentence a line, in UTF-8;
            - a file of JSON lines (`.jsonl`, `.ndjson`, `.json`);
            - a directory with files for train, valid and test, named such as `train.txt` or
              `my.valid.jsonl` (`validation`, `val` and `dev` do as well); test may be missing;
            - a hub data set id, `owner/name`.

            Local paths are tried before the hub.
        text_field: Field of the sentence in JSON lines and hub data sets.
        valid_fraction: Share of sentences held out for validation where the source has no split
            of its own; 0 for none.
        test_fraction: The same for test.
        seed: Draws the held-out sentences, and the embedded corpus itself.
        cache_dir: Where the Arrow files lie; if None, where `datasets` keeps its own.

    Returns:
        The corpus; empty lines are left out and counted.

    Raises:
        CorpusNotFound: If there is nothing of that name, or the hub can't be reached (known
            within five seconds).
        DataError: If what was found can't be used.
        InputError: If a fraction is out of its range.
    """
    held_out = {"valid": valid_fraction, "test": test_fraction}
    for split, share in held_out.items():
        number(f"{split}_fraction", share, "[0, 1)")
    if valid_fraction + test_fraction >= 1:
        raise DataError(
            "valid_fraction and test_fraction must add up to less than 1, "
            f"got {valid_fraction} + {test_fraction}"
        )
    name, path = str(source), Path(source).expanduser()
    if name == "grammar":
        splits = _draw(seed)
        return Corpus(name, splits, name, dict.fromkeys(splits, 0))
    if name == "ptb" or name.startswith("ptb:"):
        return _load_ptb(name[4:] or None, cache_dir)
    if path.is_dir():
        splits, skipped = _read(_files_of_splits(path), text_field, cache_dir)
        return Corpus(path.resolve().name, splits, str(path.resolve()), skipped)
    if path.is_file():
        splits, skipped = _read({"train": path}, text_field, cache_dir)
        splits = _hold_out(splits["train"], held_out, seed, str(path))
        return Corpus(path.name.split(".")[0], splits, str(path.resolve()), skipped)
    where = f"the data set {name!r}"
    splits, skipped = _read_hub(name, where, text_field, cache_dir)
    wanted = {split: share for split, share in held_out.items() if split not in splits}
    splits |= _hold_out(splits["train"], wanted, seed, where)
    return Corpus(name, splits, name, skipped)


def train_tokenizer(
    dataset: Dataset,
    kind: Kind = "word",
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
) -> Tokenizer:
    """`Tokenizer.train` on the column `text` of a split, kept beside the split's Arrow files.

    Args:
        dataset: The sentences.
        kind: See `Tokenizer.train`, as for the rest.
        vocab_size: Most ids in all.
        min_count: Tokens seen less often become `<unk>`.

    Raises:
        ValueError: As `Tokenizer.train`.
    """
    from datasets.fingerprint import Hasher

    pieces = dataset.select_columns("text").iter(batch_size=ROWS_AT_ONCE)
    texts = (text for piece in pieces for text in piece["text"])
    if not dataset.cache_files:
        return Tokenizer.train(texts, kind, vocab_size=vocab_size, min_count=min_count)
    key = Hasher.hash((dataset, kind, vocab_size, min_count))
    path = Path(dataset.cache_files[0]["filename"]).with_name(f"vocabulary-{key}.json")
    if not path.is_file():
        Tokenizer.train(texts, kind, vocab_size=vocab_size, min_count=min_count).save(path)
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


def _draw(seed: int) -> dict[str, Dataset]:
    """The embedded corpus, with a column for every factor."""
    import datasets

    drawn = grammar.splits(seed)
    return {
        split: datasets.Dataset.from_list(
            [{"text": sentence.text, **sentence.factors} for sentence in getattr(drawn, split)]
        )
        for split in SPLIT_NAMES
    }


def _load_ptb(data_dir: str | None, cache_dir: str | None) -> Corpus:
    import datasets

    directory = ptb.find_directory(data_dir)
    if directory is not None:
        splits, skipped = _read(ptb.checked_files(directory), "text", cache_dir)
        return Corpus("ptb", splits, f"ptb:{directory.resolve()}", skipped)
    files = ptb.download()
    with progress(False):
        loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=cache_dir)
    splits, skipped = {}, {}
    for split in files:
        where = f"the hub's copy of Penn Treebank ({ptb.HUB_ID}, {split})"
        splits[split], skipped[split] = _take(loaded[split], where, "sentence")
        ptb.check_sentences(splits[split]["text"], split, where)
    return Corpus("ptb", splits, "ptb", skipped)


def _read_hub(
    name: str, where: str, text_field: str, cache_dir: str | None
) -> tuple[dict[str, Dataset], dict[str, int]]:
    import datasets

    _require_hub_id(name)
    try:
        require_repository(name, "dataset")
    except OSError as error:
        raise CorpusNotFound(
            f"no file or directory {name!r}, and {error}",
            ["set HF_HUB_OFFLINE=1 to use what was downloaded before"],
        ) from None
    try:
        with progress(True):
            loaded: dict[str, Any] = datasets.load_dataset(name, cache_dir=cache_dir)
    # Networks, repositories and formats fail in ways of their own; the first line says which.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorpusNotFound(f"{where} could not be loaded: {reason}") from error
    splits: dict[str, Dataset] = {}
    skipped: dict[str, int] = {}
    for split, aliases in SPLIT_NAMES.items():
        found = next((alias for alias in aliases if alias in loaded), None)
        if found is not None:
            named = f"{where} ({found})"
            splits[split], skipped[split] = _take(loaded[found], named, text_field)
    if "train" not in splits:
        raise DataError(f"{where} has no split train; it has {', '.join(loaded)}")
    return splits, skipped


def _require_hub_id(name: str) -> None:
    """Raise for what can only be a mistyped path: it must not cost a look-up on the hub."""
    owner, _, last = name.partition("/")
    if not _HUB_ID.fullmatch(name) or _FILE_ENDING.fullmatch(Path(last).suffix):
        raise CorpusNotFound(
            f"no file or directory {name!r} (a corpus is a path, grammar, ptb, or a hub data set "
            "named owner/name)"
        )
    if Path(owner).is_dir():
        raise CorpusNotFound(
            f"no file or directory {name!r} (there is a directory {owner!r}, so it was not looked "
            "for on the hub)"
        )


def _take(dataset: Dataset, where: str, text_field: str) -> tuple[Dataset, int]:
    """The sentences of one column, cleaned."""
    if text_field not in dataset.column_names:
        fields = ", ".join(dataset.column_names)
        raise DataError(f"{where} has no field {text_field!r}; it has {fields}")
    kind = getattr(dataset.features[text_field], "dtype", None)
    if kind not in ("string", "large_string", "null"):
        raise DataError(f"the field {text_field!r} of {where} must hold strings, got {kind}")
    column = dataset.select_columns(text_field)
    if text_field != "text":
        column = column.rename_column(text_field, "text")
    return _clean(column, where, "row")


def _read(
    files: Mapping[str, Path], text_field: str, cache_dir: str | None
) -> tuple[dict[str, Dataset], dict[str, int]]:
    """The sentences of a file for each split, and how many lines were empty."""
    import datasets

    sizes = {path: path.stat().st_size for path in files.values()}
    for path, size in sizes.items():
        if size == 0:
            raise DataError(f"{path} is empty")
    names = {split: [glob.escape(str(path.resolve()))] for split, path in files.items()}
    try:
        # Lines of JSON too are read as text: only so can a fault be told with its line. A byte
        # order mark, as some editors write it, would else become part of the first word.
        with progress(sum(sizes.values()) > 100 * LONG_WORK):
            loaded = datasets.load_dataset(
                "text", data_files=names, encoding="utf-8-sig", cache_dir=cache_dir
            )
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            for path in files.values():
                _require_utf8(path)
        raise
    splits: dict[str, Dataset] = {}
    skipped: dict[str, int] = {}
    for split, path in files.items():
        field = text_field if path.suffix in _JSON else None
        splits[split], skipped[split] = _clean(loaded[split], str(path), "line", field)
    return splits, skipped


def _require_utf8(path: Path) -> None:
    """Raise for the first line that is not UTF-8."""
    with path.open("rb") as lines:
        for count, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as fault:
                raise DataError(
                    f"{path} is not UTF-8: line {count} has byte 0x{line[fault.start]:02x} "
                    f"at position {fault.start + 1}"
                ) from None


def _clean(
    dataset: Dataset, where: str, unit: str, json_field: str | None = None
) -> tuple[Dataset, int]:
    """Strip every sentence and leave out the empty ones; gives how many these were."""
    with progress(len(dataset) > LONG_WORK):
        cleaned = dataset.with_format("arrow").map(
            _cleaned,
            batched=True,
            batch_size=ROWS_AT_ONCE,
            with_indices=True,
            fn_kwargs={
                "where": where,
                "unit": unit,
                "json_field": json_field,
                "version": _CLEANING,
            },
            desc=f"reading {where}",
        )
    skipped = len(dataset) - len(cleaned)
    if not len(cleaned):
        raise DataError(f"{where} holds no sentences: {skipped} {unit}s, all empty")
    return cleaned.with_format(None), skipped


def _cleaned(
    table: pyarrow.Table,
    rows: list[int],
    where: str,
    unit: str,
    json_field: str | None,
    version: int,
) -> pyarrow.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = table["text"].cast(pa.string())
    if json_field is not None:
        numbered = zip(rows, texts.to_pylist(), strict=True)
        named = ((line, f"line {row + 1} of {where}") for row, line in numbered)
        texts = pa.array([_sentence(*one, json_field) for one in named], pa.string())
    missing = pc.index(pc.is_null(texts), True).as_py()
    if missing >= 0:
        raise DataError(f"{unit} {rows[missing] + 1} of {where} has no sentence")
    texts = pc.utf8_trim_whitespace(texts)
    found = pc.index(pc.match_substring_regex(texts, "<(pad|bos|eos)>"), True).as_py()
    if found >= 0:
        raise DataError(
            f"{unit} {rows[found] + 1} of {where} contains the reserved token "
            f"{find_reserved(texts[found].as_py())}; remove it or write it otherwise"
        )
    return pa.table({"text": texts.filter(pc.not_equal(texts, ""))})


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


def _hold_out(
    dataset: Dataset, fractions: Mapping[str, float], seed: int, where: str
) -> dict[str, Dataset]:
    """Draw at least one sentence for each share above 0, and leave the rest for training."""
    total = len(dataset)
    sizes = {name: max(1, round(total * share)) for name, share in fractions.items() if share > 0}
    if total <= sum(sizes.values()):
        raise DataError(
            f"{where} has too few sentences to be split into train, {', '.join(sizes)}: "
            f"at least {len(sizes) + 1} are needed, got {total}"
        )
    if not sizes:
        return {"train": dataset}
    order = np.arange(total, dtype=np.int32)
    np.random.default_rng(seed).shuffle(order)
    parts = np.split(order, np.cumsum(list(sizes.values())))
    named = {"train": parts[-1], **dict(zip(sizes, parts, strict=False))}
    return {name: dataset.select(np.sort(rows)) for name, rows in named.items()}
