"""Tests of `textvae.explore.opening`: which run, which sentences, and what is known of them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from textvae.checks import InputError
from textvae.config import RunConfig
from textvae.corpus import DataError
from textvae.explore import open_session, read_sentences
from textvae.explore.session import MAX_CHARACTERS

CONFIG = RunConfig.from_flat("grammar", {})


def test_all_of_a_file_or_some_the_same_every_time(tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    path.write_text("one\n\n  two  \nthree\n" + "x" * (MAX_CHARACTERS + 1) + "\n")
    found = read_sentences(str(path), CONFIG)
    assert (found.name, found.texts, found.labels) == ("my", ["one", "two", "three"], {})
    path.write_text("\n".join(f"sentence {i:03}" for i in range(200)))
    texts = read_sentences(str(path), CONFIG, num_sentences=50).texts
    assert texts == read_sentences(str(path), CONFIG, num_sentences=50).texts
    assert texts == sorted(set(texts))
    assert (len(texts), texts[-1] > "sentence 150") == (50, True)  # from all over


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
    with pytest.raises(InputError, match="either corpus or data_dir can be given, got 'a' and 'b'"):
        read_sentences("a", CONFIG, data_dir="b")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"}\n{"text": 1}\n')
    with pytest.raises(DataError, match=r"line 2 of .* with a string in 'text'"):
        read_sentences(str(broken), CONFIG)


def test_a_run_is_opened_with_its_held_out_sentences_or_any(run: Path, corpus_file: Path) -> None:
    session = open_session(str(run))
    assert (session.name, session.sentences.notice) == ("tiny", "")
    assert session.sentences.name == "sixty, test split"
    assert len(session.sentences.texts) == 3
    assert not session.model.training
    assert session.diagnosis.verdict
    session = open_session(str(run), str(corpus_file), num_sentences=20)
    assert (session.sentences.name, len(session.sentences.texts)) == ("sixty", 20)


def test_a_corpus_that_is_gone_is_made_up_for(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = moved / "config.json"
    config.write_text(config.read_text().replace("sixty.txt", "gone.txt"))
    session = open_session(str(moved))
    assert "gone.txt" in session.sentences.notice
    assert "sentences of the model's own" in session.sentences.notice
    assert len(session.sentences.texts) > 10
    with pytest.raises(DataError, match="no file or directory"):
        open_session(str(moved), data_dir=str(tmp_path / "nowhere.txt"))


def test_what_can_not_be_opened(run: Path, floor: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_session(str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"floor is a language model \(latent_dim 0\)"):
        open_session(str(floor))
    with pytest.raises(DataError, match="no file or directory"):
        open_session(str(run), str(tmp_path / "none.txt"))
    for number in (1, 20_001):
        said = f"num_sentences must be at least 2 and at most 20000, got {number}"
        with pytest.raises(InputError, match=said):
            open_session(str(run), num_sentences=number)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def test_a_strangers_run_executes_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        theirs = shutil.copytree(run, tmp_path / name)
        (theirs / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError):  # noqa: PT011 - each file has words of its own
            open_session(str(theirs))
    assert not (tmp_path / "executed").exists()
