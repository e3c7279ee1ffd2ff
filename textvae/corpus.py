"""Anything with sentences → splits for training, validation and test: `load_corpus`.

A split is a `datasets.Dataset` with a column `text`, memory-mapped, so that a corpus may be larger
than memory. `datasets` reads it once and keeps what was read in its cache.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from textvae.files import first_line, require_repository
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
            raise DataError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
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
        CorpusNotFound: If there is nothing of that name, or the hub doesn't answer in 5 seconds.
    """
    shares = {"valid": valid_fraction, "test": test_fraction}
    for split, share in shares.items():
        number(f"{split}_fraction", share, "[0, 1)")
    name, path = str(source), Path(source).expanduser()
    if name == "grammar":
        return _draw(seed)
    if name == "ptb" or name.startswith("ptb:"):
        return _load_ptb(name[4:] or None, cache_dir)
    if path.is_dir():
        return _read_files(path, _files_of_splits(path), text_field, cache_dir)
    if path.is_file():
        corpus = _read_files(path, {"train": path}, text_field, cache_dir)
    else:
        corpus = _read_hub(name, text_field, cache_dir)
    return _hold_out(corpus, shares, seed)


def train_tokenizer(
    dataset: Dataset, kind: Kind = "word", *, vocab_size: int | None = None, min_count: int = 1
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
    return Corpus("grammar", splits, "grammar", dict.fromkeys(splits, 0))


def _load_ptb(data_dir: str | None, cache_dir: str | None) -> Corpus:
    import datasets

    if files := _find_ptb(data_dir):
        corpus = _read_files(files["train"].parent, files, "text", cache_dir)
        corpus = replace(corpus, name="ptb", source=f"ptb:{corpus.source}")
    else:
        options = {"data_files": _download_ptb(), "cache_dir": cache_dir}
        with progress(False):
            loaded = datasets.load_dataset("parquet", **options)
        raw = {split: (f"{PTB_HUB_ID} ({split})", rows) for split, rows in loaded.items()}
        corpus = _clean("ptb", "ptb", raw)
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
def _read_hub(name: str, text_field: str, cache_dir: str | None) -> Corpus:
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
            where, rows = f"the data set {name!r} ({alias})", loaded[alias]
            if "string" not in getattr(rows.features.get(text_field), "dtype", ""):
                fields = ", ".join(rows.column_names)
                raise DataError(f"{where} must have strings in {text_field!r}, one of its {fields}")
            raw[split] = where, rows.select_columns(text_field)
    if "train" not in raw:
        raise DataError(f"the data set {name!r} has no split train; it has {', '.join(loaded)}")
    return _clean(name, name, raw)


def _read_files(
    path: Path, files: Mapping[str, Path], text_field: str, cache_dir: str | None
) -> Corpus:
    """The corpus at a path, with a file for each split and a sentence a line."""
    import datasets

    size = sum(file.stat().st_size for file in files.values())
    options: dict[str, Any] = {"encoding": "utf-8-sig", "writer_batch_size": ROWS_AT_ONCE}
    options["data_files"] = {k: [glob.escape(str(file.resolve()))] for k, file in files.items()}
    with progress(size > 100 * LONG_WORK):
        try:
            # Lines of JSON too are read as text: only so can a fault be told with its line. A byte
            # order mark, as some editors write it, would else become part of the first word.
            loaded = datasets.load_dataset("text", cache_dir=cache_dir, **options)
        except datasets.exceptions.DatasetGenerationError:
            for file in files.values():
                _explain(file)
            raise
        name = path.name.split(".")[0] if path.is_file() else path.resolve().name
        raw = {split: (str(file), loaded[split]) for split, file in files.items()}
        return _clean(name, str(path.resolve()), raw, text_field)


def _explain(path: Path) -> None:
    """Refuse an empty file, or one for its first line that is not UTF-8."""
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    with path.open("rb") as lines:
        for count, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as fault:
                raise DataError(f"line {count} of {path} is not UTF-8: {fault}") from None


def _clean(
    name: str, source: str, raw: Mapping[str, tuple[str, Dataset]], field: str = "text"
) -> Corpus:
    """Strip sentences and leave out empty ones; each split has a place, for messages, and rows."""
    splits: dict[str, Dataset] = {}
    skipped: dict[str, int] = {}
    for split, (where, rows) in raw.items():
        kept = mapped(rows, _cleaned, f"reading {where}", where=where, field=field)
        if not len(kept):
            raise DataError(f"{where} holds no sentences: {len(rows)} lines, all empty")
        splits[split], skipped[split] = kept, len(rows) - len(kept)
    return Corpus(name, splits, source, skipped)


def _cleaned(table: pa.Table, rows: list[int], where: str, field: str) -> pa.Table:
    texts = table.column(0).cast(pa.string())
    if where.endswith(_JSON):
        lines = zip(rows, texts.to_pylist(), strict=True)
        sentences = [_sentence(line, f"line {row + 1} of {where}", field) for row, line in lines]
        texts = pa.array(sentences, pa.string())
    texts = pc.utf8_trim_whitespace(pc.fill_null(texts, ""))
    found = pc.index(pc.match_substring_regex(texts, "<(pad|bos|eos)>"), True).as_py()
    if found >= 0:
        raise DataError(
            f"line {rows[found] + 1} of {where} contains the reserved token "
            f"{find_reserved(texts[found].as_py())}; remove it or write it otherwise"
        )
    return pa.table({"text": texts.filter(pc.not_equal(texts, ""))})


def _sentence(line: str, where: str, field: str) -> str:
    """The sentence in a line of JSON; an empty line holds an empty one."""
    if not line.strip():
        return ""
    try:
        text = json.loads(line)[field]
    except (ValueError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        got = line.strip()[:80]
        raise DataError(f"{where} must be a JSON object with a string in {field!r}, got {got}")
    return text


def _files_of_splits(directory: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for split, aliases in SPLIT_NAMES.items():
        found = [
            path
            for path in sorted(directory.glob("[!.]*"))
            if path.suffix in (".txt", *_JSON) and {*re.split("[._-]", path.name)} & {*aliases}
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
    if not sizes:
        return corpus
    if total <= sum(sizes.values()):
        held_out = " and ".join(f"{size} for {split}" for split, size in sizes.items())
        raise DataError(f"{corpus.source} has too few sentences: {total}, less {held_out}")
    order = np.arange(total, dtype=np.int32)
    np.random.default_rng(seed).shuffle(order)
    parts = np.split(order, np.cumsum([*sizes.values()]))
    splits = {**corpus.splits}
    for split, rows in zip([*sizes, "train"], parts, strict=True):
        is_chosen = np.isin(np.arange(total, dtype=np.int32), rows)
        splits[split] = mapped(dataset, _chosen, f"drawing {split}", is_chosen=is_chosen)
    return replace(corpus, splits=splits)


def _chosen(table: pa.Table, rows: list[int], is_chosen: NDArray[np.bool_]) -> pa.Table:
    return table.filter(is_chosen[rows])
