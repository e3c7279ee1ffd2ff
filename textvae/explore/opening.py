"""A run made ready to be explored, with sentences of a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from textvae.checks import InputError, integer
from textvae.config import RunConfig
from textvae.corpus import DataError, load_corpus
from textvae.explore.session import MAX_CHARACTERS, Sentences, Session
from textvae.files import find_pretrained
from textvae.generation import sample
from textvae.model import SentenceVAE
from textvae.recipes import open_corpus
from textvae.report.text import CORPUS_NAMES
from textvae.run import RunDirectory

MAX_SENTENCES = 20_000

OWN_SENTENCES = 300
"""How many sentences the model writes where there is no corpus."""

MAX_LABELS = 12
"""Different values of a column that is still a label, and can be told apart by colour."""

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


def open_session(
    run: str,
    corpus: str | None = None,
    *,
    data_dir: str | None = None,
    num_sentences: int = 2000,
) -> Session:
    """Load a run and sentences to explore it with.

    Without `corpus` they are held-out ones of the run's own corpus; where that can't be had, the
    model writes some itself, and the session's notice says so.

    Args:
        run: A run directory or hub id.
        corpus: See `read_sentences`.
        data_dir: See `read_sentences`.
        num_sentences: Most sentences, from 2 to 20,000.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus was named and can't be had.
        InputError: If it is a language model, or `num_sentences` is outside its range.
    """
    num_sentences = integer("num_sentences", num_sentences, 2, MAX_SENTENCES)
    model, directory = SentenceVAE.from_pretrained(run), RunDirectory.open(find_pretrained(run))
    if model.latent_dim == 0:
        raise InputError(f"{run} is a language model (latent_dim 0): it has no z to explore")
    notice = ""
    try:
        sentences = read_sentences(
            corpus, directory.config, data_dir=data_dir, num_sentences=num_sentences
        )
    except DataError as error:
        if corpus is not None or data_dir is not None:
            raise
        texts = [text for text in sample(model, OWN_SENTENCES) if text.strip()]
        sentences = Sentences("sentences of its own", texts)
        notice = f"The corpus can't be had: {error}. The map shows sentences of the model's own."
    return Session(
        model,
        sentences,
        name=directory.path.resolve().name,
        beta=directory.last_beta(),
        free_bits=directory.config.training.free_bits,
        notice=notice,
    )


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
        InputError: If both `source` and `data_dir` are given.
    """
    if source is not None and data_dir is not None:
        raise InputError(f"either corpus or data_dir can be given, got {source!r} and {data_dir!r}")
    text_field = config.data.text_field
    if source is not None:
        corpus = load_corpus(source, text_field=text_field, valid_fraction=0, test_fraction=0)
    else:
        own = config.data_source
        if data_dir is not None:
            own = f"ptb:{data_dir}" if own.startswith("ptb") else data_dir
        corpus = open_corpus(own, config.data)
    split = next(name for name in ("test", "valid", "train") if name in corpus.splits)
    columns: dict[str, list[Any]] = corpus[split][:]
    path = Path(source or "").expanduser()
    if path.is_file() and path.suffix in JSON_ENDINGS:
        # A corpus keeps the text of such a file only.
        columns = _json_columns(path, text_field)
    texts = columns.pop("text")
    fitting = torch.tensor([row for row, text in enumerate(texts) if len(text) <= MAX_CHARACTERS])
    order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(0))
    rows = fitting[order[:num_sentences]].sort().values.tolist()
    chosen = {name: [str(values[row]) for row in rows] for name, values in columns.items()}
    labels = {name: v for name, v in chosen.items() if 2 <= len(set(v)) <= MAX_LABELS}
    name = CORPUS_NAMES.get(corpus.name, corpus.name)
    name = name if source is not None else f"{name}, {split} split"
    return Sentences(name, [texts[row] for row in rows], labels)


def _json_columns(path: Path, text_field: str) -> dict[str, list[Any]]:
    # Checked when the corpus was loaded: every line that is not blank is an object with a text.
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    records = [record for line in lines if line.strip() if (record := json.loads(line))]
    records = [record for record in records if record[text_field].strip()]
    plain = [
        name
        for name in records[0]
        if name not in (text_field, "text")
        and all(isinstance(record.get(name), str | bool | int) for record in records)
    ]
    columns = {name: [record[name] for record in records] for name in plain}
    return {"text": [record[text_field].strip() for record in records], **columns}
