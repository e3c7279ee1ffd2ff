"""Splits that are drawn, vocabularies of them, and that what was read once is found again."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets
import numpy as np
import pytest

from tests import docs
from tests.corpus.making import LINES, WHOLE, texts, write_lines
from textvae import batches, grammar
from textvae.checks import InputError
from textvae.corpus import DataError, load_corpus, reading, splits, train_tokenizer
from textvae.tokenizer import Tokenizer


def test_a_file_is_split_by_fraction_and_seed(hundred):
    for seed in (0, 5):
        corpus = load_corpus(str(hundred), valid_fraction=0.1, test_fraction=0.2, seed=seed)
        drawn = np.arange(100, dtype=np.int32)
        np.random.default_rng(seed).shuffle(drawn)
        parts = {"train": drawn[30:], "valid": drawn[:10], "test": drawn[10:30]}
        for name, rows in parts.items():
            assert texts(corpus, name) == [LINES[row] for row in sorted(rows)]
        assert (corpus.name, list(corpus.splits)) == ("my", ["train", "valid", "test"])
        assert corpus["train"].column_names == ["text"]


def test_a_fraction_of_zero_makes_no_split(hundred):
    corpus = load_corpus(hundred, test_fraction=0)
    assert set(corpus.splits) == {"train", "valid"}
    with pytest.raises(DataError, match="my has no split 'test'; it has train, valid"):
        corpus["test"]


def test_small_files_still_hold_a_sentence_out(tmp_path):
    corpus = load_corpus(write_lines(tmp_path / "three.txt", ["a", "b", "c"]))
    assert {split.num_rows for split in corpus.splits.values()} == {1}
    two = write_lines(tmp_path / "two.txt", ["a", "b"])
    with pytest.raises(DataError, match=r"two\.txt has too few sentences: 2, less 1 for valid"):
        load_corpus(two)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((-0.1, 0.1), r"valid_fraction must be in \[0, 1\), got -0\.1"),
        ((0.1, 1.7), r"test_fraction must be in \[0, 1\), got 1\.7"),
        ((0.5, 0.5), "too few sentences: 100, less 50 for valid and 50 for test"),
    ],
)
def test_fractions_out_of_range(hundred, shares, message):
    with pytest.raises(InputError, match=message):
        load_corpus(hundred, valid_fraction=shares[0], test_fraction=shares[1])


def train(path: Path) -> datasets.Dataset:
    return load_corpus(path, **WHOLE)["train"]


def test_a_vocabulary_is_that_of_all_texts_and_of_its_options(hundred):
    split = train(hundred)
    for _ in range(2):  # taken, then found
        assert train_tokenizer(split).fingerprint == Tokenizer.train(LINES).fingerprint
        for options in ({"vocab_size": 6}, {"min_count": 2}, {"kind": "char"}, {"kind": "bpe"}):
            expected = Tokenizer.train(LINES, **options).fingerprint
            assert train_tokenizer(split, **options).fingerprint == expected
    part = split.select([7, 3])
    assert train_tokenizer(part).unknown_words("sentence 7 3 4") == ["4"]
    in_memory = datasets.Dataset.from_dict({"text": LINES, "label": [0] * 100})
    assert train_tokenizer(in_memory).fingerprint == Tokenizer.train(LINES).fingerprint


def test_what_was_read_is_found_again(hundred, monkeypatch):
    vocabulary = train_tokenizer(train(hundred)).fingerprint
    refuse = Mock(side_effect=AssertionError("made again"))
    monkeypatch.setattr(reading, "find_reserved", refuse)
    monkeypatch.setattr(Tokenizer, "train", refuse)
    assert train_tokenizer(train(hundred)).fingerprint == vocabulary
    monkeypatch.setattr("pyarrow.compute.utf8_trim_whitespace", refuse)
    assert train(hundred)["text"][3] == "sentence 3"
    write_lines(hundred, ["another"])
    with pytest.raises(AssertionError, match="made again"):
        train(hundred)


@pytest.mark.parametrize(("is_terminal", "long"), [(True, 5), (True, 500), (False, 5)])
def test_long_work_shows_its_progress_at_a_terminal(hundred, is_terminal, long, monkeypatch, capfd):
    for room in (reading, splits):
        monkeypatch.setattr(room, "LONG_WORK", long)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    split = train(hundred)
    batches.encode_split(split, train_tokenizer(split))
    out, err = capfd.readouterr()
    assert out == ""
    shown = is_terminal and long < 100
    assert [said in err for said in (f"reading {hundred}", "tokenising")] == [shown] * 2
    assert not datasets.are_progress_bars_disabled()


def test_the_code_of_the_page_on_large_corpora_runs(tmp_path, monkeypatch):
    write_lines(tmp_path / "my.txt", [sentence.text for sentence in grammar.sample(60)])
    monkeypatch.chdir(tmp_path)
    (code,) = docs.blocks(docs.text("docs/large-corpora.md"))
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["batch"].num_sentences > 1
