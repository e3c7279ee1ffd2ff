"""Tests of `textvae.explore.corpus`: which sentences, and what is known of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textvae.config import RunConfig
from textvae.corpus import DataError
from textvae.explore.corpus import MAX_CHARACTERS, read_sentences

CONFIG = RunConfig.from_flat("grammar", {})


def test_all_of_a_file_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    path.write_text("one\n\n  two  \nthree\n" + "x" * (MAX_CHARACTERS + 1) + "\n")
    found = read_sentences(str(path), CONFIG)
    assert (found.name, found.labels) == ("my", {})
    assert found.texts == ["one", "two", "three"]


def test_some_of_a_file_the_same_every_time(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n".join(f"sentence {i:03}" for i in range(200)))
    found = read_sentences(str(path), CONFIG, num_sentences=50).texts
    assert found == read_sentences(str(path), CONFIG, num_sentences=50).texts
    assert len(set(found)) == 50
    assert found == sorted(found)
    assert found[-1] > "sentence 150"  # from all over


def test_labels_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "my.jsonl"
    rows = [
        {"text": "good", "stars": 5, "fun": True, "id": "a", "same": "x", "more": [1], "rare": "r"},
        {"text": " bad ", "stars": 1, "fun": False, "id": "b", "same": "x", "more": [2]},
        {"text": "", "stars": 9, "fun": False, "id": "c", "same": "x", "more": [3]},
    ]
    rows += [{"text": f"so {i}", "stars": 3, "fun": True, "id": f"{i}", "same": "x", "more": []}
             for i in range(11)]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    found = read_sentences(str(path), CONFIG)
    assert found.texts[:3] == ["good", "bad", "so 0"]
    # Not `id`, of 13 values; nor `same`, of one; nor what is no plain value, or not everywhere.
    assert list(found.labels) == ["stars", "fun"]
    assert found.labels["stars"][:3] == ["5", "1", "3"]
    assert found.labels["fun"][:3] == ["True", "False", "True"]


def test_the_embedded_corpus_brings_its_factors() -> None:
    found = read_sentences(None, CONFIG, num_sentences=40)
    assert "EMBEDDED CORPUS" in found.name
    assert "topic" in found.labels
    assert all(len(values) == 40 for values in found.labels.values())


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or directory"):
        read_sentences(str(tmp_path / "none.txt"), CONFIG)
    with pytest.raises(ValueError, match="either corpus or data_dir can be given, got 'a' and 'b'"):
        read_sentences("a", CONFIG, data_dir="b")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"}\n{"text": 1}\n')
    with pytest.raises(DataError, match=r"line 2 of .* must have a string in 'text'"):
        read_sentences(str(broken), CONFIG)
