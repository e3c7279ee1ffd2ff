"""Anything with sentences → splits for training, validation and test: `load_corpus`.

A split is a `datasets.Dataset` with a column `text`, memory-mapped, so that a corpus may be larger
than memory. `datasets` reads it once and keeps what was read in its cache.
"""

from __future__ import annotations

import glob
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from textvae import grammar, ptb
from textvae.checks import InputError, number
from textvae.files import require_repository
from textvae.ptb import CorpusNotFound as CorpusNotFound
from textvae.ptb import DataError as DataError
from textvae.tokenizer import Kind, Tokenizer, find_reserved

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

SPLIT_NAMES = {  # what a split may be called in a file's name or on the hub
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}
ROWS_AT_ONCE = 100_000  # read, cleaned or made ids of together: some ten megabytes
LONG_WORK = 300_000  # sentences that take seconds, so that a terminal shows progress
_VERSION = 4  # counted up when the same data would give others, so that no old cache is taken
_JSON = (".jsonl", ".ndjson", ".json")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_ENDING = re.compile(r"\.[A-Za-z]\w{0,7}")


@dataclass(frozen=True)
class Corpus:
    """Sentences in splits: `"train"`, `"valid"`, `"test"`, as far as there are.

    Each has a column `text` of sentences without surrounding whitespace, none of them empty; the
    embedded corpus has a column for every factor too.
    """

    name: str  # what to call it in tables
    splits: Mapping[str, Dataset]
    source: str  # what `load_corpus` finds the same corpus by, from any directory
    skipped: dict[str, int]  # empty lines left out of each split

    def __getitem__(self, split: str) -> Dataset:
        """One split; a `DataError` if there is none of that name."""
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
        source: `"grammar"`, the embedded corpus; `"ptb"`, Penn Treebank wherever it is, or
            `"ptb:DIR"`; a text file in UTF-8, a sentence a line; a file of JSON lines (`.jsonl`,
            `.ndjson`, `.json`); a directory with such files for train, valid and test, named like
            `train.txt` or `my.valid.jsonl` (`validation`, `val` and `dev` do as well; test may be
            missing); or, where there is no such path, a hub data set's id, `owner/name`.
        text_field: Field of the sentence in JSON lines and hub data sets.
        valid_fraction: Share held out where the source has no split of its own; 0 for none.
        test_fraction: The same for test.
        seed: Draws the held-out sentences, and the embedded corpus itself.
        cache_dir: Where the Arrow files lie; if None, where `datasets` keeps its own.

    Raises:
        CorpusNotFound: If there is nothing of that name, or the hub is out of reach (known within
            five seconds).
    """
    shares = {"valid": valid_fraction, "test": test_fraction}
    for split, share in shares.items():
        number(f"{split}_fraction", share, "[0, 1)")
    if valid_fraction + test_fraction >= 1:
        raise InputError(
            "valid_fraction and test_fraction must add up to less than 1, "
            f"got {valid_fraction} + {test_fraction}"
        )
    name, path = str(source), Path(source).expanduser()
    if name == "grammar":
        return _draw(seed)
    if name == "ptb" or name.startswith("ptb:"):
        return _load_ptb(name[4:] or None, cache_dir)
    if path.is_dir():
        return _read_files(path, _files_of_splits(path), text_field, cache_dir)
    if path.is_file():
        corpus, where = _read_files(path, {"train": path}, text_field, cache_dir), str(path)
    else:
        corpus, where = _read_hub(name, text_field, cache_dir), f"the data set {name!r}"
    return _hold_out(corpus, shares, seed, where)


def train_tokenizer(
    dataset: Dataset,
    kind: Kind = "word",
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
) -> Tokenizer:
    """`Tokenizer.train` on the column `text` of a data set; kept beside its files, if any."""
    from datasets.fingerprint import Hasher

    pieces = dataset.select_columns("text").iter(batch_size=ROWS_AT_ONCE)
    bar = {"desc": "taking the vocabulary", "total": len(dataset), "delay": 1, "leave": False}
    texts = tqdm((text for piece in pieces for text in piece["text"]), disable=None, **bar)
    if not dataset.cache_files:
        return Tokenizer.train(texts, kind, vocab_size=vocab_size, min_count=min_count)
    key = Hasher.hash((_VERSION, dataset, kind, vocab_size, min_count))
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


def mapped(
    dataset: Dataset, function: Callable[..., pyarrow.Table], title: str, **options: object
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
    return Corpus("grammar", splits, "grammar", dict.fromkeys(splits, 0))


def _load_ptb(data_dir: str | None, cache_dir: str | None) -> Corpus:
    import datasets

    if files := ptb.find_files(data_dir):
        corpus = _read_files(files["train"].parent, files, "text", cache_dir)
        return replace(corpus, name="ptb", source=f"ptb:{corpus.source}")
    with progress(False):
        loaded = datasets.load_dataset("parquet", data_files=ptb.download(), cache_dir=cache_dir)
    named = {split: f"the hub's copy of Penn Treebank ({ptb.HUB_ID}, {split})" for split in loaded}
    corpus = _clean(Corpus("ptb", loaded, "ptb", {}), named, "row", "sentence")
    for split, where in named.items():
        ptb.check_sentences(corpus[split]["text"], split, where)
    return corpus


@progress(is_long=True)
def _read_hub(name: str, text_field: str, cache_dir: str | None) -> Corpus:
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
        loaded = datasets.load_dataset(name, cache_dir=cache_dir)
    # Networks, repositories and formats fail in ways of their own; the first line says which.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorpusNotFound(f"the data set {name!r} could not be loaded: {reason}") from error
    named: dict[str, str] = {}
    for split, aliases in SPLIT_NAMES.items():
        for alias in [alias for alias in aliases if alias in loaded][:1]:
            loaded[split], named[split] = loaded[alias], f"the data set {name!r} ({alias})"
    if "train" not in named:
        raise DataError(f"the data set {name!r} has no split train; it has {', '.join(loaded)}")
    return _clean(Corpus(name, loaded, name, {}), named, "row", text_field)


def _require_hub_id(name: str) -> None:
    """Refuse what can only be a mistyped path: it must not cost a look-up on the hub."""
    owner, _, last = name.partition("/")
    if not _HUB_ID.fullmatch(name) or _FILE_ENDING.fullmatch(Path(last).suffix):
        reason = "a corpus is a path, grammar, ptb, or a hub data set named owner/name"
    elif Path(owner).is_dir():
        reason = f"there is a directory {owner!r}, so it was not looked for on the hub"
    else:
        return
    raise CorpusNotFound(f"no file or directory {name!r} ({reason})")


def _read_files(
    path: Path, files: Mapping[str, Path], text_field: str, cache_dir: str | None
) -> Corpus:
    """The corpus at a path, with a file for each split and a sentence a line."""
    import datasets

    sizes = {file: file.stat().st_size for file in files.values()}
    for file in [file for file, size in sizes.items() if size == 0]:
        raise DataError(f"{file} is empty")
    escaped = {split: [glob.escape(str(file.resolve()))] for split, file in files.items()}
    with progress(sum(sizes.values()) > 100 * LONG_WORK):
        try:
            # Lines of JSON too are read as text: only so can a fault be told with its line. A byte
            # order mark, as some editors write it, would else become part of the first word.
            options = {"encoding": "utf-8-sig", "writer_batch_size": ROWS_AT_ONCE}
            loaded = datasets.load_dataset(
                "text", data_files=escaped, cache_dir=cache_dir, **options
            )
        except datasets.exceptions.DatasetGenerationError:
            for file in files.values():
                _require_utf8(file)
            raise
        name = path.name.split(".")[0] if path.is_file() else path.resolve().name
        raw = Corpus(name, loaded, str(path.resolve()), {})
        named = {split: str(file) for split, file in files.items()}
        return _clean(raw, named, "line", text_field)


def _require_utf8(path: Path) -> None:
    """Refuse a file for its first line that is not UTF-8."""
    with path.open("rb") as lines:
        for count, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as fault:
                raise DataError(
                    f"{path} is not UTF-8: line {count} has byte 0x{line[fault.start]:02x} "
                    f"at position {fault.start + 1}"
                ) from None


def _clean(raw: Corpus, named: Mapping[str, str], unit: str, text_field: str) -> Corpus:
    """Strip every sentence and leave out empty ones, in the splits that are named for messages.

    `unit` is what a message calls a row: a line of a file, or a row with a field `text_field`.
    """
    splits: dict[str, Dataset] = {}
    for split, where in named.items():
        rows, column = raw.splits[split], text_field if unit == "row" else "text"
        if column not in rows.column_names:
            fields = ", ".join(rows.column_names)
            raise DataError(f"{where} has no field {column!r}; it has {fields}")
        kind = getattr(rows.features[column], "dtype", None)
        if kind not in ("string", "large_string", "null"):
            raise DataError(f"the field {column!r} of {where} must hold strings, got {kind}")
        rows = rows.select_columns(column)
        options = {"where": where, "unit": unit, "field": text_field}
        splits[split] = mapped(rows, _cleaned, f"reading {where}", **options)
        if not len(splits[split]):
            raise DataError(f"{where} holds no sentences: {len(rows)} {unit}s, all empty")
    skipped = {split: len(raw.splits[split]) - len(rows) for split, rows in splits.items()}
    return replace(raw, splits=splits, skipped=skipped)


def _cleaned(
    table: pyarrow.Table, rows: list[int], where: str, unit: str, field: str
) -> pyarrow.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = table.column(0).cast(pa.string())
    if unit == "line" and where.endswith(_JSON):
        lines = zip(rows, texts.to_pylist(), strict=True)
        sentences = [_sentence(line, f"line {row + 1} of {where}", field) for row, line in lines]
        texts = pa.array(sentences, pa.string())
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
    is_text = re.compile(r"[^.].*\.(txt|jsonl|ndjson|json)").fullmatch
    candidates = sorted(
        path for path in directory.iterdir() if is_text(path.name) and path.is_file()
    )
    files: dict[str, Path] = {}
    for split, aliases in SPLIT_NAMES.items():
        found = [path for path in candidates if set(re.split(r"[._-]", path.name)) & set(aliases)]
        names = ", ".join(path.name for path in found or candidates) or "no .txt or .jsonl file"
        if len(found) > 1:
            raise DataError(f"{directory} has more than one file for the {split} split: {names}")
        if found:
            files[split] = found[0]
        elif split != "test":
            raise DataError(
                f"{directory} has no file for the {split} split (such as {split}.txt); "
                f"it holds {names}"
            )
    return files


def _hold_out(corpus: Corpus, shares: Mapping[str, float], seed: int, where: str) -> Corpus:
    """Draw the splits that are missing, a sentence at least for a share above 0, from training."""
    dataset, total = corpus["train"], len(corpus["train"])
    wanted = {split: share for split, share in shares.items() if split not in corpus.splits}
    sizes = {split: max(1, round(total * share)) for split, share in wanted.items() if share > 0}
    if not sizes:
        return corpus
    if total <= sum(sizes.values()):
        raise DataError(
            f"{where} has too few sentences to be split into train, {', '.join(sizes)}: "
            f"at least {len(sizes) + 1} are needed, got {total}"
        )
    order = np.arange(total, dtype=np.int32)
    np.random.default_rng(seed).shuffle(order)
    parts = np.split(order, np.cumsum([*sizes.values()]))
    splits = {**corpus.splits}
    for split, rows in zip([*sizes, "train"], parts, strict=True):
        is_chosen = np.zeros(total, dtype=bool)
        is_chosen[rows] = True
        splits[split] = mapped(dataset, _chosen, f"drawing {split}", is_chosen=is_chosen)
    return replace(corpus, splits=splits)


def _chosen(table: pyarrow.Table, rows: list[int], is_chosen: NDArray[np.bool_]) -> pyarrow.Table:
    return table.filter(is_chosen[rows])
