"""Tests of `textvae.data.store`, `texts` and `vocabulary`: made once, found again, gone on with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from tqdm import tqdm

from textvae.data import (
    DataError,
    TextSplit,
    encode_split,
    encoding,
    load_corpus,
    store,
    train_tokenizer,
    vocabulary,
)
from textvae.tokenizer import Tokenizer

LINES = [f"word{i % 7} word{i % 5} end" for i in range(95)]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("store", "texts", "local"):
        monkeypatch.setattr(f"textvae.data.{module}.SHARD_ROWS", 10)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "my.txt", LINES)


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def train(path: Path) -> TextSplit:
    return load_corpus(path, valid_fraction=0, test_fraction=0)["train"]


def shards(kind: str, tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "textvae").glob(f"{kind}-*/*.arrow"))


def refuse(*args: object, **options: object) -> Any:
    raise AssertionError("made again")


def test_a_corpus_lies_in_shards_and_reads_as_one(path: Path, tmp_path: Path) -> None:
    split = train(path)
    assert len(shards("texts", tmp_path)) == 10
    assert (len(split), split.num_rows, split.column_names) == (95, 95, ["text"])
    column = split["text"]
    assert list(column) == column[:] == LINES
    assert column[3:40:7] == LINES[3:40:7]
    assert column[40:3:-7] == LINES[40:3:-7]
    assert column[-5:] == LINES[-5:]
    assert [column[i] for i in (0, 9, 10, 94, -1)] == [LINES[i] for i in (0, 9, 10, 94, -1)]
    assert split[94] == {"text": LINES[94]}
    with pytest.raises(IndexError, match=r"row must lie in \[0, 94\], got 95"):
        split[95]
    with pytest.raises(KeyError, match="no column 'body'; there are text"):
        split["body"]


def test_a_part_of_a_part(path: Path) -> None:
    rows = np.arange(1, 95, 3)
    part = train(path).select(rows).select([0, 4, 30])
    assert part["text"][:] == [LINES[i] for i in rows[[0, 4, 30]]]
    assert part[-1] == {"text": LINES[rows[30]]}
    assert part.key != train(path).select([0, 4, 30]).key
    for wrong in ([2, 1], [1, 1], [-1], [95]):
        with pytest.raises(DataError, match=r"rows must increase and lie in \[0, 94\]"):
            train(path).select(wrong)


def test_content_decides_what_is_found_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(path)
    tokenizer = train_tokenizer(first)
    encode_split(first, tokenizer)
    os.utime(path, (1, 1))
    elsewhere = shutil.copy(path, tmp_path / "copy.txt")
    with monkeypatch.context() as patch:
        patch.setattr("textvae.data.texts._cleaned", refuse)
        patch.setattr(encoding, "_columns", refuse)
        patch.setattr(vocabulary, "Tokenizer", Tokenizer_that_only_loads)
        for same in (path, Path(elsewhere)):
            split = train(same)
            assert split.key == first.key
            assert train_tokenizer(split).fingerprint == tokenizer.fingerprint
            assert len(encode_split(split, tokenizer)) == 95
    written(path, [*LINES[:-1], "another end"])
    assert train(path)["text"][-1] == "another end"
    assert train(path).key != first.key
    assert "another" not in tokenizer.decode(range(4, len(tokenizer)))
    assert "another" in (fresh := train_tokenizer(train(path))).decode(range(4, len(fresh)))


class Tokenizer_that_only_loads:  # noqa: N801 - stands for a class
    load = Tokenizer.load
    train = refuse


def test_a_vocabulary_is_that_of_all_texts_and_of_its_options(path: Path) -> None:
    split = train(path)
    assert train_tokenizer(split).fingerprint == Tokenizer.train(LINES).fingerprint
    few = train_tokenizer(split, vocab_size=6)
    assert few.fingerprint == Tokenizer.train(LINES, vocab_size=6).fingerprint
    kinds = {train_tokenizer(split, kind).kind for kind in ("word", "char", "bpe")}
    assert kinds == {"word", "char", "bpe"}


def test_broken_off_work_goes_on_where_it_was(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = train(path)
    tokenizer = train_tokenizer(split)
    whole, made = encoding._columns, list[int]()

    def until_the_fourth(ids: Any, first: int, *rest: Any) -> Any:
        made.append(first)
        if len(made) == 4:
            raise KeyboardInterrupt
        return whole(ids, first, *rest)

    monkeypatch.setattr(encoding, "_columns", until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        encode_split(split, tokenizer, max_length=2)
    assert len(shards("ids", tmp_path)) == 3
    encoded = encode_split(split, tokenizer, max_length=2)
    assert made == [0, 10, 20, 30, 30, 40, 50, 60, 70, 80, 90]
    assert encoded.rows.tolist() == list(range(95))
    ids = [encoded.sentence(i).tolist() for i in range(95)]
    assert ids == [ids[:2] for ids in tokenizer.encode_batch(LINES)]


def test_a_shard_that_was_not_finished_is_no_shard(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object) -> Any:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.ipc.RecordBatchFileWriter.write_table", crash)
        with pytest.raises(OSError, match="no space left"):
            train(path)
    assert list((tmp_path / "cache" / "textvae").rglob("*.arrow")) == []
    assert train(path)["text"][:] == LINES


def test_dropped_sentences_keep_their_neighbours_rows(path: Path) -> None:
    written(path, ["a b c d", *["a"] * 24, "a b c d", "b"])
    split = train(path)
    encoded = encode_split(split, train_tokenizer(split), max_length=3, too_long="drop")
    assert encoded.rows.tolist() == [*range(1, 25), 26]
    assert (encoded.num_dropped, len(encoded)) == (2, 25)


def test_a_data_set_is_encoded_by_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_dict({"text": LINES})
    tokenizer = Tokenizer.train(LINES)
    encode_split(rows, tokenizer)
    part = rows.select(range(94, -1, -2))
    encoded = encode_split(part, tokenizer)
    assert encoded.sentence(1).tolist() == tokenizer.encode(LINES[92])
    monkeypatch.setattr(encoding, "_columns", refuse)
    encode_split(datasets.Dataset.from_dict({"text": LINES}), tokenizer)
    with pytest.raises(AssertionError, match="made again"):
        encode_split(datasets.Dataset.from_dict({"text": LINES[1:]}), tokenizer)


@pytest.mark.parametrize(("delay", "shown"), [(0.0, True), (60.0, False)])
def test_long_work_shows_its_progress(
    path: Path,
    delay: float,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for module in (store, vocabulary):
        monkeypatch.setattr(module, "PROGRESS_DELAY", delay)
        monkeypatch.setattr(module, "tqdm", at_once)
    split = train(path)
    encode_split(split, train_tokenizer(split))
    out, err = capfd.readouterr()
    assert out == ""
    titles = (f"reading {path}", "taking the vocabulary", "tokenising")
    assert [title in err for title in titles] == [shown] * 3
    encode_split(split, train_tokenizer(split))
    assert capfd.readouterr().err == ""


def at_once(*args: Any, **options: Any) -> Iterator[str] | tqdm[Any]:
    return tqdm(*args, **options, mininterval=0, miniters=1)
