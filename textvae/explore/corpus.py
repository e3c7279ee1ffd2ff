"""The sentences of a page: `Sentences`, and `read_sentences`, which takes them from a corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from textvae.config import DataConfig, RunConfig
from textvae.corpus import Corpus, load_corpus
from textvae.recipes import open_corpus
from textvae.report.text import CORPUS_NAMES

__all__ = ["MAX_CHARACTERS", "Sentences", "read_sentences"]

MAX_CHARACTERS = 1000
"""Of a sentence, typed or from a corpus."""

MAX_LABELS = 12
"""Different values of a column that is still a label, and can be told apart by colour."""

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Sentences:
    """Sentences of a corpus.

    Attributes:
        name: What they are, for a heading.
        texts: The sentences.
        labels: Columns beside the text, a value for each sentence: at least two different ones in
            each, at most a dozen.
    """

    name: str
    texts: Sequence[str]
    labels: dict[str, list[str]] = field(default_factory=dict)


def read_sentences(
    source: str | None, config: RunConfig, *, data_dir: str | None = None, num_sentences: int = 2000
) -> Sentences:
    """Draw sentences from a corpus, the same ones every time.

    Args:
        source: A corpus as `load_corpus` takes it, of which all sentences may be drawn; if None,
            the one that the run was trained on, of which only held-out ones are.
        config: The run's configuration.
        data_dir: Where the run's corpus is now, if not where the run found it.
        num_sentences: How many; all of a smaller corpus.

    Raises:
        DataError: If the corpus can't be had or can't be used.
        ValueError: If both `source` and `data_dir` are given.
    """
    if source is not None and data_dir is not None:
        raise ValueError(f"either corpus or data_dir can be given, got {source!r} and {data_dir!r}")
    if source is not None:
        corpus = load_corpus(
            source, text_field=config.data.text_field, valid_fraction=0, test_fraction=0
        )
    else:
        corpus = open_corpus(_moved(config.data_source, data_dir), config.data)
    split = next(name for name in ("test", "valid", "train") if name in corpus.splits)
    columns = _columns(corpus, split, source, config.data)
    texts = columns.pop("text")
    rows = _drawn([len(text) <= MAX_CHARACTERS for text in texts], num_sentences)
    chosen = {name: [str(values[row]) for row in rows] for name, values in columns.items()}
    labels = {name: v for name, v in chosen.items() if 2 <= len(set(v)) <= MAX_LABELS}
    name = CORPUS_NAMES.get(corpus.name, corpus.name)
    where = name if source is not None else f"{name}, {split} split"
    return Sentences(where, [texts[row] for row in rows], labels)


def _moved(source: str, data_dir: str | None) -> str:
    if data_dir is None:
        return source
    return f"ptb:{data_dir}" if source.startswith("ptb") else data_dir


def _columns(
    corpus: Corpus, split: str, source: str | None, config: DataConfig
) -> dict[str, list[Any]]:
    """The sentences of a split, and what is known of each.

    A corpus keeps the text of a JSON-lines file only, so the rest is read from the file itself.
    """
    path = Path(source if source is not None else "").expanduser()
    if path.is_file() and path.suffix in JSON_ENDINGS:
        return _json_columns(path, config.text_field)
    return {name: corpus[split][name][:] for name in corpus[split].column_names}


def _json_columns(path: Path, text_field: str) -> dict[str, list[Any]]:
    # Checked when the corpus was loaded: every line that is not blank is an object with a text.
    lines = path.read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line.strip()]
    records = [record for record in records if record[text_field].strip()]
    plain = [
        name
        for name in records[0]
        if name not in (text_field, "text")
        and all(isinstance(record.get(name), str | bool | int) for record in records)
    ]
    columns = {name: [record[name] for record in records] for name in plain}
    return {"text": [record[text_field].strip() for record in records], **columns}


def _drawn(fits: Sequence[bool], number: int) -> list[int]:
    """So many rows of those that fit, at random, in their order."""
    rows = torch.tensor(fits).nonzero()[:, 0]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:number]
    drawn: list[int] = rows[order].sort().values.tolist()
    return drawn
