"""Anything with sentences → splits for training, validation and test: `load_corpus`.

A split is a `datasets.Dataset` with a column `text` and one for each label, memory-mapped, so that
a corpus may be larger than memory. `datasets` reads it once and keeps what was read in its cache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from textvae import grammar
from textvae.checks import InputError, number
from textvae.corpus.ptb import load_ptb
from textvae.corpus.reading import files_of_splits, read_files, read_hub, selected, written
from textvae.corpus.splits import (
    ROWS_AT_ONCE,
    VERSION,
    Corpus,
    CorpusNotFound,
    DataError,
    hold_out,
    mapped,
    progress,
)
from textvae.tokenizer import Kind, Tokenizer

if TYPE_CHECKING:
    from datasets import Dataset


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
        CorpusNotFound: If there is nothing of that name, or the hub doesn't answer in time.
    """
    shares = {"valid": valid_fraction, "test": test_fraction}
    for split, share in shares.items():
        number(f"{split}_fraction", share, "[0, 1)")
    if not isinstance(source, str | Path):
        source = written(source, text_field, cache_dir)
    fields = [text_field, *(label_field.split(",") if label_field else ())]
    if "text" in fields[1:] or len({*fields[1:]}) < len(fields[1:]):
        allowed = "other columns than 'text', which is the sentence's, and each once"
        raise InputError(f"label_field must name {allowed}, got {label_field!r}")
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
        corpus = _draw(seed) if name == "grammar" else load_ptb(name[4:] or None, cache_dir)
        for split, rows in corpus.splits.items():
            selected(f"{name} ({split})", rows, ["text", *fields[1:]])
        return replace(corpus, labels=tuple(fields[1:]) or corpus.labels)
    if path.is_dir():
        return read_files(path, files_of_splits(path), fields, cache_dir)
    if path.is_file():
        corpus = read_files(path, {"train": path}, fields, cache_dir)
    else:
        corpus = read_hub(name, fields, cache_dir)
    return hold_out(corpus, shares, seed)


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


def train_tokenizer(dataset: Dataset, kind: Kind | Tokenizer = "word", **options: Any) -> Tokenizer:
    """`Tokenizer.train` (or `kind.extended`) on a data set's `text`; kept beside its files."""
    from datasets.fingerprint import Hasher

    pieces = dataset.select_columns("text").iter(batch_size=ROWS_AT_ONCE)
    bar = {"desc": "taking the vocabulary", "total": len(dataset), "delay": 1, "leave": False}
    texts = tqdm((text for piece in pieces for text in piece["text"]), disable=None, **bar)
    train = kind.extended if isinstance(kind, Tokenizer) else partial(Tokenizer.train, kind=kind)
    if not dataset.cache_files:
        return train(texts, **options)
    key = Hasher.hash((VERSION, dataset, kind, options))
    path = Path(dataset.cache_files[0]["filename"]).with_name(f"vocabulary-{key}.json")
    if not path.is_file():
        train(texts, **options).save(path)
    return Tokenizer.load(path)
