"""Tables and labels: what becomes of columns, of lists, and of classes when splits are drawn."""

import csv
import gzip
import io
import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from tests.corpus.making import WHOLE, texts, write_lines
from textvae.checks import InputError
from textvae.corpus import DataError, load_corpus

ROWS = [
    ('so, "odd"', "good", "1.5"),
    ("a\u2028b", "bad", "2"),
    ("", "bad", "3"),
    ("NA", "good", "4"),
]
TABLES = ["a.csv", "a.tsv", "a.parquet", "a.jsonl", "a.csv.gz", "a.tsv.gz", "a.jsonl.gz"]


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
        plain = {"quoting": csv.QUOTE_NONE, "delimiter": "\t", "quotechar": None}
        csv.writer(text, **({} if ".csv" in name else plain)).writerows([columns, *table])
        path.write_text("\ufeff" + text.getvalue(), encoding="utf-8")
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize("name", TABLES)
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
        with pytest.raises(DataError, match=r"columns body \(of strings\), grades; it has grade,"):
            load_corpus(path, text_field="body", label_field="grades")


def test_an_only_column_needs_no_name_and_a_text_file_has_no_labels(tmp_path):
    path = write_lines(tmp_path / "a.csv", ["review", '"a, b"', "c"])
    assert texts(load_corpus(path, **WHOLE)) == ["a, b", "c"]
    path = write_lines(tmp_path / "a.txt", ["x", "y"])
    with pytest.raises(DataError, match=r"a\.txt must have .* \(of strings\), label; it has text"):
        load_corpus(path, label_field="label")
    with pytest.raises(DataError, match=r"line 1 .*'text', 'label', got {.text"):
        load_corpus(write_lines(tmp_path / "a.jsonl", ['{"text": "x"}']), label_field="label")
    with pytest.raises(DataError, match=r"grammar \(train\) must have .*, moods; it has text, to"):
        load_corpus("grammar", label_field="moods")
    nulls = write_lines(tmp_path / "b.jsonl", ['{"text": "x", "n": null}', '{"text": "y", "n": 1}'])
    assert load_corpus(nulls, label_field="n", **WHOLE)["train"]["n"][:] == ["", "1"]
    datasets.Dataset.from_dict({"text": ["x"], "n": [[1]]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"the columns text \(of strings\), n; it has text, n"):
        load_corpus(tmp_path / "a.parquet", label_field="n")
    assert load_corpus("grammar", label_field="mood").labels == ("mood",)
    with pytest.raises(InputError, match="label_field must name other columns than 'text'"):
        load_corpus(path, text_field="review", label_field="mood,text")
    with pytest.raises(InputError, match=r"each once, got 'mood,mood'"):
        load_corpus(path, label_field="mood,mood")


def test_numbers_stay_what_they_are(tmp_path):
    large, apart = 2**53, 2**53 + 1  # one number in floats
    path = write_lines(tmp_path / "a.csv", ["text,n,stars", f"x,{large},4.0", f"y,{apart},5.0"])
    rows = load_corpus(path, label_field="n,stars", **WHOLE)["train"]
    assert (rows["n"][:], rows["stars"][:]) == ([large, apart], [4, 5])
    assert rows.features["stars"].dtype == "int64"


def test_a_class_that_is_missing_is_none(tmp_path):
    features = datasets.Features(text=datasets.Value("string"), n=datasets.ClassLabel(names=["a"]))
    rows = datasets.Dataset.from_dict({"text": ["x", "y"], "n": [0, None]}, features=features)
    rows.to_parquet(tmp_path / "a.parquet")
    assert load_corpus(tmp_path / "a.parquet", label_field="n", **WHOLE)["train"]["n"][:] == [
        "a",
        "",
    ]


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


def test_names_of_classes_on_the_hub_are_labels(monkeypatch):
    columns = {"text": ["a", "b", "c"], "label": [1, 0, -1], "more": [1, 2, 3]}
    rows = datasets.Dataset.from_dict(columns)
    rows = rows.cast_column("label", datasets.ClassLabel(names=["neg", "pos"]))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, cache_dir: {"train": rows})
    corpus = load_corpus("owner/name", label_field="label", **WHOLE)
    assert corpus["train"][:] == {"text": ["a", "b", "c"], "label": ["pos", "neg", ""]}
