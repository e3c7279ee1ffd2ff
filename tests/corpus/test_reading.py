"""Tests of `textvae.corpus`: what a corpus is, where it comes from, and its vocabulary."""

import csv
import gzip
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from textvae import batches, grammar
from textvae.checks import InputError
from textvae.corpus import (
    Corpus,
    CorpusNotFound,
    DataError,
    load_corpus,
    reading,
    splits,
    train_tokenizer,
)
from textvae.tokenizer import Tokenizer

LINES = [f"sentence {i}" for i in range(100)]
WHOLE: dict[str, Any] = {"valid_fraction": 0, "test_fraction": 0}


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def texts(corpus: Corpus, split: str = "train") -> list[str]:
    return list(corpus[split]["text"])


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "my.txt", LINES)


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


def test_a_corpus_is_found_again_by_its_source(hundred, monkeypatch):
    monkeypatch.chdir(hundred.parent)
    corpus = load_corpus("my.txt")
    monkeypatch.chdir("/")
    assert texts(load_corpus(corpus.source), "valid") == texts(corpus, "valid")


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
        (
            "a.csv",
            b"text\n" + b"a\n" * 9 + b"b,c\n",
            "a.csv: .* Expected 1 fields in line 11, saw 2",
        ),
        ("a.tsv", b"", "a.tsv is empty"),
        (
            "a.csv",
            b"text,n\na,1,\nb,2,\n",
            "a.csv: Length of header or names does not match length",
        ),
        (
            "a.tsv.gz",
            gzip.compress(b"text\nna\xefve", mtime=0),
            "line 2 of .*a.tsv.gz is not UTF-8",
        ),
        ("a.csv", b"text,n\nx <pad>,1\n", "row 1 of .*a.csv contains the reserved token <pad>"),
        ("a.json", b'{"text": "x"}\n\n{"text": 5}', "line 3 of .* a string in 'text', got .*5}"),
        ("a.ndjson", b'{"text": null}', "line 1 of .* a string in 'text', got .*null}"),
        ("a.jsonl", b'{"text": "a <eos>"}', "line 1 of .* contains the reserved token <eos>"),
    ],
)
def test_a_file_at_fault_is_named_with_its_line(tmp_path, monkeypatch, name, content, message):
    (tmp_path / name).write_bytes(content)
    for rows_at_once in (100, 1):
        monkeypatch.setattr(splits, "ROWS_AT_ONCE", rows_at_once)
        with pytest.raises(DataError, match=message):
            load_corpus(tmp_path / name, **WHOLE)


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


ROWS = [
    ('so, "odd"', "good", "1.5"),
    ("a\u2028b", "bad", "2"),
    ("", "bad", "3"),
    ("NA", "good", "4"),
]


def written_as(directory: Path, name: str) -> Path:
    """`ROWS` as a table of whatever kind its name says."""
    path, columns = directory / name, ("grade", "body", "score")
    table = [(grade, body, score) for body, grade, score in ROWS]
    if name.endswith(".parquet"):
        values = dict(zip(columns, map(list, zip(*table, strict=True)), strict=True))
        values["score"] = [float(score) for score in values["score"]]
        datasets.Dataset.from_dict(values).to_parquet(path)
    elif ".jsonl" in name:
        objects = [{"grade": g, "body": b, "score": float(s), "n": [{}]} for g, b, s in table]
        path.write_text("".join(json.dumps(each) + "\n" for each in objects))
    else:
        text = io.StringIO()
        is_csv = ".csv" in name
        options = (
            {} if is_csv else {"quoting": csv.QUOTE_NONE, "delimiter": "\t", "quotechar": None}
        )
        csv.writer(text, **options).writerows([columns, *table])
        path.write_text("\ufeff" + text.getvalue(), encoding="utf-8")
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.parquet", "a.jsonl", "a.csv.gz", "a.tsv.gz", "a.jsonl.gz"]
)
def test_tables_of_all_kinds_keep_labels(tmp_path, name):
    path = written_as(tmp_path, name)
    corpus = load_corpus(path, text_field="body", label_field="grade,score", **WHOLE)
    assert corpus["train"][:] == {
        "text": ['so, "odd"', "a\u2028b", "NA"],
        "grade": ["good", "bad", "good"],
        "score": [1.5, 2.0, 4.0],
    }
    assert (corpus.labels, corpus.factors) == (("grade", "score"), ("grade",))
    assert (corpus.name, corpus.skipped) == ("a", {"train": 1})
    if "json" not in name:
        ways = "it has grade, body, score: name the sentence's with --text-field, labels with"
        with pytest.raises(DataError, match=rf"{name} must have .* text \(of strings\); {ways}"):
            load_corpus(path)
        with pytest.raises(
            DataError, match=r"columns body \(of strings\), grades; it has grade, bo"
        ):
            load_corpus(path, text_field="body", label_field="grades")


def test_an_only_column_needs_no_name_and_a_text_file_has_no_labels(tmp_path):
    path = write_lines(tmp_path / "a.csv", ["review", '"a, b"', "c"])
    assert texts(load_corpus(path, **WHOLE)) == ["a, b", "c"]
    path = write_lines(tmp_path / "a.txt", ["x", "y"])
    with pytest.raises(
        DataError, match=r"a\.txt must have .* text \(of strings\), label; it has text"
    ):
        load_corpus(path, label_field="label")
    with pytest.raises(DataError, match=r"line 1 .*'text', 'label', got {.text"):
        load_corpus(write_lines(tmp_path / "a.jsonl", ['{"text": "x"}']), label_field="label")
    with pytest.raises(DataError, match=r"grammar \(train\) must have .*, moods; it has text, to"):
        load_corpus("grammar", label_field="moods")
    nulls = write_lines(tmp_path / "b.jsonl", ['{"text": "x", "n": null}', '{"text": "y", "n": 1}'])
    assert load_corpus(nulls, label_field="n", **WHOLE)["train"]["n"][:] == ["", "1"]
    datasets.Dataset.from_dict({"text": ["x"], "n": [[1]]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"must have the columns text \(of strings\), n; it has text, n"
    ):
        load_corpus(tmp_path / "a.parquet", label_field="n")
    assert load_corpus("grammar", label_field="mood").labels == ("mood",)
    with pytest.raises(InputError, match="label_field must not have 'text'"):
        load_corpus(path, text_field="review", label_field="mood,text")


def test_a_type_that_changes_far_down_is_no_fault(tmp_path):
    # Guessed from its first 10,000 rows this would be a column of numbers.
    path = write_lines(tmp_path / "a.csv", ["text,label", *["12,1"] * 12_000, "a dozen,x"])
    corpus = load_corpus(path, label_field="label", **WHOLE)
    assert corpus["train"][-1] == {"text": "a dozen", "label": "x"}


def test_splits_are_stratified_by_classes_and_labels_go_with_their_sentences(tmp_path):
    kinds = ["a"] * 70 + ["b"] * 20 + ["c"] * 10  # in order, as labelled files often are
    lines = [f"{kind}\t{i % 2}\t{kind} {i}" for i, kind in enumerate(kinds)]
    path = write_lines(tmp_path / "a.tsv", ["kind\tpart\ttext", *lines])
    held_out = {"valid_fraction": 0.1, "test_fraction": 0.2}
    for seed in (0, 1):
        corpus = load_corpus(path, label_field="kind", seed=seed, **held_out)
        assert Counter(corpus["valid"]["kind"]) == {"a": 7, "b": 2, "c": 1}
        assert Counter(corpus["test"]["kind"]) == {"a": 14, "b": 4, "c": 2}
    corpus = load_corpus(path, label_field="kind,part", **held_out)
    for split in corpus.splits.values():
        assert [text.split()[0] for text in split["text"]] == list(split["kind"])
        assert [int(text.split()[1]) % 2 for text in split["text"]] == list(split["part"])


def test_lists_of_tokens_become_json_arrays(tmp_path):
    lists = [["New York", 'is "big"'], ["é"], []]
    expected = ['["New York", "is \\"big\\""]', '["é"]']
    write_lines(tmp_path / "a.jsonl", list(map(json.dumps, lists)))
    write_lines(tmp_path / "b.jsonl", [json.dumps({"text": each}) for each in lists])
    datasets.Dataset.from_dict({"text": lists}).to_parquet(tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.jsonl", "c.parquet"):
        corpus = load_corpus(tmp_path / name, **WHOLE)
        assert (texts(corpus), corpus.skipped) == (expected, {"train": 1})


def test_sentences_are_a_corpus_that_is_found_again(tmp_path):
    sentences = ["a b", "c\u2028, d", " ", "e"]
    corpus = load_corpus(sentences, cache_dir=str(tmp_path), **WHOLE)
    assert texts(corpus) == ["a b", "c\u2028, d", "e"]
    assert corpus.name == "sentences"
    assert texts(load_corpus(corpus.source, **WHOLE)) == texts(corpus)
    with pytest.raises(DataError, match=r"line 2 of .* a string in 'text', got .*5}"):
        load_corpus(["a", 5], cache_dir=str(tmp_path))


def test_names_of_classes_on_the_hub_are_labels(monkeypatch):
    rows = datasets.Dataset.from_dict(
        {"text": ["a", "b", "c"], "label": [1, 0, -1], "more": [1, 2, 3]}
    )
    rows = rows.cast_column("label", datasets.ClassLabel(names=["neg", "pos"]))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, cache_dir: {"train": rows})
    corpus = load_corpus("owner/name", label_field="label", **WHOLE)
    assert corpus["train"][:] == {"text": ["a", "b", "c"], "label": ["pos", "neg", ""]}


def test_missing_and_doubled_splits_are_named(tmp_path):
    with pytest.raises(DataError, match=r"one file for the train .* such as train\.txt, got none"):
        load_corpus(tmp_path)
    for name in ("train.txt", "valid.txt", "dev.txt"):
        write_lines(tmp_path / name, ["a"])
    with pytest.raises(DataError, match=r"one file for the valid .* got dev\.txt, valid\.txt"):
        load_corpus(tmp_path)


def test_the_embedded_corpus_brings_its_factors():
    corpus, drawn = load_corpus("grammar"), grammar.splits(0)._asdict()
    assert [len(split) for split in drawn.values()] == [20_000, 2_000, 2_000]
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
    def refuse(name: str, kind: str) -> None:
        raise ConnectionError(f"the hub is asked for the {kind} {name} in vain")

    monkeypatch.setattr(reading, "require_repository", refuse)
    message = "^no file or directory 'o/n', and the hub is asked for the dataset o/n in vain$"
    with pytest.raises(CorpusNotFound, match=message) as caught:
        load_corpus("o/n")
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
        (
            "train",
            "text",
            ["", "a <eos>"],
            r"line 2 of .*name' \(train\) contains the reserved token",
        ),
        ("train", "text", ["", ""], r"\(train\) holds no sentences: 2 lines, all empty"),
    ],
)
def test_what_a_hub_data_set_must_be(monkeypatch, split, column, rows, message):
    monkeypatch.setattr(splits, "ROWS_AT_ONCE", 1)
    put_on_hub(monkeypatch, {split: {column: rows}})
    with pytest.raises(DataError, match=message):
        load_corpus("owner/name")


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

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("made again")

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
    page = Path(__file__).parents[2] / "docs" / "large-corpora.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["batch"].num_sentences > 1
