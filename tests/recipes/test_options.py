"""Tests of `textvae.recipes.options`."""

from __future__ import annotations

from pathlib import Path

import pytest

from textvae.recipes import RECIPES, source_and_recipe


@pytest.mark.parametrize(
    ("said", "name", "source"),
    [
        (None, "grammar", "grammar"),
        ("grammar", "grammar", "grammar"),
        ("ptb", "ptb", "ptb"),
        ("ptb:somewhere", "ptb", "ptb:somewhere"),
        ("~/my data", "ptb", "ptb:{home}/my data"),  # a directory of its files
    ],
)
def test_a_corpus_with_a_recipe(
    said: str | None, name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my data").mkdir()
    (tmp_path / "my data" / "ptb.train.txt").write_text("no it was n't\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert source_and_recipe(said) == (name, source.format(home=tmp_path), RECIPES[name])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("books.txt", "books"),
        ("texts/mine.jsonl", "mine"),
        ("texts/grammar.txt", "grammar"),  # not the embedded corpus
        ("owner/name", "name"),  # on the hub
        ("here/", "here"),
        (".", "here"),
        ("../here/..", "above"),
    ],
)
def test_any_other_corpus_has_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, name: str
) -> None:
    (tmp_path / "above" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    assert source_and_recipe(said) == (name, said, {})
