"""Where sentences come from: files, directories, the hub; and what is said of those at fault."""

import gzip
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets
import pytest

from tests.corpus.making import WHOLE, texts, write_lines
from textvae import grammar
from textvae.corpus import CorpusNotFound, DataError, load_corpus, reading, splits


def test_a_corpus_is_found_again_by_its_source(hundred, monkeypatch):
    monkeypatch.chdir(hundred.parent)
    corpus = load_corpus("my.txt")
    monkeypatch.chdir("/")
    assert texts(load_corpus(corpus.source), "valid") == texts(corpus, "valid")


@pytest.mark.parametrize(
    ("content", "kept", "skipped"),
    [
        ("\n a \nb\n \t\nc\nd\n\n", ["a", "b", "c", "d"], 3),  # empty lines
        ("\ufeffé\r\nb\u2028b\x1cb\r\nc", ["é", "b\u2028b\x1cb", "c"], 0),  # mark, line ends
    ],
)
def test_lines_are_stripped_and_empty_ones_skipped(tmp_path, content, kept, skipped):
    path = tmp_path / "od[d] *na{me}.txt"
    path.write_bytes(content.encode())
    corpus = load_corpus(path, **WHOLE)
    assert (texts(corpus), corpus.skipped) == (kept, {"train": skipped})


@pytest.mark.parametrize("name", ["grammar", "ptb"])
def test_a_file_is_not_taken_for_ours(tmp_path, name):
    (tmp_path / f"{name}.txt").write_text("a b\nc d\n")
    assert load_corpus(tmp_path / f"{name}.txt", **WHOLE).name == f"my-{name}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"hello world\n" * 5000)[:50], "ended before the end-of-stream marker"),
        (b"hello", "Not a gzipped file"),
    ],
)
def test_a_broken_gz_is_named(tmp_path, content, message):
    (tmp_path / "a.txt.gz").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.txt\.gz: .*{message}"):
        load_corpus(tmp_path / "a.txt.gz")


def test_short_work_prints_nothing_and_lies_in_cache_dir(hundred, tmp_path, capfd):
    corpus = load_corpus(hundred, cache_dir=str(tmp_path / "cache"))
    assert capfd.readouterr() == ("", "")
    (file,) = corpus["train"].cache_files
    assert Path(file["filename"]).is_relative_to(tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a <unk>\n\nc <pad>\nd", "line 3 of .*a.txt contains the reserved token <pad>"),
        ("a.txt", b"a <unk>\nc<bos>\nd", "line 2 of .*a.txt contains the reserved token <bos>"),
        ("a.txt", b"a <eos> b", "line 1 of .* contains the reserved token <eos>; remove it or w"),
        ("a.txt", b"", "a.txt is empty"),
        ("a.txt", b"\n  \n", "a.txt holds no sentences: 2 lines, all empty"),
        ("a.txt", b"fine\nna\xefve", "line 2 of .*a.txt is not UTF-8: .* byte 0xef in position 2"),
        ("a.jsonl", b'{"body": "x"}', "line 1 .*a.jsonl must be a .* in 'text', got {.body"),
        ("a.jsonl", b'{"text": "x"}\n{oops', "line 2 of .* a JSON object .* 'text', got {oops"),
        ("a.jsonl", b'{"text": "x"}\n[[1]]', r"line 2 of .* must be a JSON object .* got \[\[1\]"),
        ("a.csv", b"text\n" + b"a\n" * 9 + b"b,c\n", "a.csv: .* Expected 1 .* in line 11, saw 2"),
        ("a.tsv", b"", "a.tsv is empty"),
        ("a.csv", b"text,n\na,1,\nb,2,\n", "a.csv: Length of header or names does not match len"),
        ("a.tsv.gz", b"text\nna\xefve", "line 2 of .*a.tsv.gz is not UTF-8"),
        ("a.csv", b"text,n\nx <pad>,1\n", "row 1 of .*a.csv contains the reserved token <pad>"),
        ("a.json", b'{"text": "x"}\n\n{"text": 5}', "line 3 of .* a string in 'text', got .*5}"),
        ("a.ndjson", b'{"text": null}', "line 1 of .* a string in 'text', got .*null}"),
        ("a.jsonl", b'{"text": "a <eos>"}', "line 1 of .* contains the reserved token <eos>"),
    ],
)
def test_a_file_at_fault_is_named_with_its_line(tmp_path, monkeypatch, name, content, message):
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for rows_at_once in (100, 1):
        monkeypatch.setattr(splits, "ROWS_AT_ONCE", rows_at_once)
        with pytest.raises(DataError, match=message):
            load_corpus(tmp_path / name, **WHOLE)


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        ("my_train.json", "my_dev.jsonl", "my_test.txt"),
        ("a-training.txt", "a-val.txt.gz", "a-test.ndjson"),
    ],
)
def test_a_directory_has_a_file_for_each_split(tmp_path, train, valid, test):
    for name, word in ((train, "a"), (valid, "b"), (test, "c")):
        line = word if ".txt" in name else json.dumps({"body": word, "more": {"x": [1]}})
        path = write_lines(tmp_path / name, [line, ""])
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    write_lines(tmp_path / "notes.txt", ["ignored"])
    corpus = load_corpus(tmp_path, text_field="body")
    found = {name: texts(corpus, name) for name in corpus.splits}
    assert found == {"train": ["a"], "valid": ["b"], "test": ["c"]}
    assert all(split.column_names == ["text"] for split in corpus.splits.values())
    assert corpus.skipped == {"train": 1, "valid": 1, "test": 1}
    assert corpus.name == tmp_path.name
    assert load_corpus(corpus.source, text_field="body").splits.keys() == corpus.splits.keys()
    alone = load_corpus(tmp_path / test, text_field="body", **WHOLE)
    assert texts(alone) == ["c"]  # a file by itself


def test_sentences_are_a_corpus_that_is_found_again(tmp_path):
    sentences = ["a b", "c\u2028, d", " ", "e"]
    corpus = load_corpus(sentences, cache_dir=str(tmp_path), **WHOLE)
    assert texts(corpus) == ["a b", "c\u2028, d", "e"]
    assert corpus.name == "sentences"
    assert texts(load_corpus(corpus.source, **WHOLE)) == texts(corpus)
    with pytest.raises(DataError, match=r"line 2 of .* a string in 'text', got .*5}"):
        load_corpus(["a", 5], cache_dir=str(tmp_path))


def test_missing_and_doubled_splits_are_named(tmp_path):
    with pytest.raises(DataError, match=r"one file for the train .* such as train\.txt, got none"):
        load_corpus(tmp_path)
    for name in ("train.txt", "valid.txt", "dev.txt"):
        write_lines(tmp_path / name, ["a"])
    with pytest.raises(DataError, match=r"one file for the valid .* got dev\.txt, valid\.txt"):
        load_corpus(tmp_path)


def test_the_embedded_corpus_brings_its_factors():
    corpus, drawn = load_corpus("grammar"), grammar.splits(0)._asdict()
    for name, expected in drawn.items():
        assert texts(corpus, name) == [sentence.text for sentence in expected]
        assert corpus[name][7] == {"text": expected[7].text, **expected[7].factors}
    assert (corpus.name, corpus.source) == ("grammar", "grammar")
    sizes = "train 20,000, valid 2,000, test 2,000 sentences"
    labels = "topic, temper, tense, number, mood, polarity"
    assert repr(corpus) == f"Corpus(grammar: {sizes}; labels: {labels})"


@pytest.mark.parametrize("source", ["corpus.txt", "owner/a.jsonl", "~/nothing", "/no", "here/x"])
def test_a_mistyped_path_is_never_looked_up_on_the_hub(tmp_path, source, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", None)  # asked next
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    reason = "the hub was not asked, as" if source == "here/x" else "it is no hub id, owner/name"
    with pytest.raises(CorpusNotFound, match=f"no file or directory {source!r}, and {reason}"):
        load_corpus(source)


def test_an_unreachable_hub_is_said_in_one_line(monkeypatch):
    refuse = Mock(side_effect=ConnectionError("the hub is asked in vain"))
    monkeypatch.setattr(reading, "require_repository", refuse)
    message = "^no file or directory 'o/n', and the hub is asked in vain$"
    with pytest.raises(CorpusNotFound, match=message) as caught:
        load_corpus("o/n")
    refuse.assert_called_once_with("o/n", "dataset")
    assert caught.value.ways[-1] == "set HF_HUB_OFFLINE=1 to use what was downloaded before"


def test_offline_without_a_downloaded_copy():
    with pytest.raises(CorpusNotFound, match="no file or directory 'owner/name', and "):
        load_corpus("owner/name")


def put_on_hub(monkeypatch: pytest.MonkeyPatch, splits: dict[str, dict[str, list[Any]]]) -> None:
    found = {name: datasets.Dataset.from_dict(rows) for name, rows in splits.items()}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, cache_dir: found)


def test_a_hub_data_set_gets_the_splits_it_lacks(monkeypatch):
    found = {"train": [f"train {i}" for i in range(20)], "test": ["test", "", None]}
    put_on_hub(monkeypatch, {name: {"body": rows} for name, rows in found.items()})
    corpus = load_corpus("owner/name", text_field="body", valid_fraction=0.25)
    sizes = {name: split.num_rows for name, split in corpus.splits.items()}
    assert sizes == {"train": 15, "test": 1, "valid": 5}
    assert (corpus.source, corpus.skipped) == ("owner/name", {"train": 0, "test": 2})


@pytest.mark.parametrize(
    ("split", "column", "rows", "message"),
    [
        ("odd", "text", ["a"], "'owner/name' has no split train; it has odd"),
        ("train", "body", [{"a": 1}], r"must have the columns body \(of strings\); it has body"),
        ("training", "text", [1, 2], r"\(training\) must have .* \(of strings\); it has text"),
        ("train", "text", ["", "a <eos>"], r"line 2 of .*name' \(train\) contains the reserved t"),
        ("train", "text", ["", ""], r"\(train\) holds no sentences: 2 lines, all empty"),
    ],
)
def test_what_a_hub_data_set_must_be(monkeypatch, split, column, rows, message):
    monkeypatch.setattr(splits, "ROWS_AT_ONCE", 1)
    put_on_hub(monkeypatch, {split: {column: rows}})
    with pytest.raises(DataError, match=message):
        load_corpus("owner/name")
