"""Tests of `textvae.recipes.options`."""

from __future__ import annotations

from pathlib import Path

import pytest

from textvae.recipes import RECIPES, source_and_recipe


def penn_treebank(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "ptb.train.txt").write_text("no it was n't\n")
    return directory


@pytest.mark.parametrize("said", [None, "grammar"])
def test_the_embedded_corpus(said: str | None) -> None:
    assert source_and_recipe(said) == ("grammar", "grammar", RECIPES["grammar"])


@pytest.mark.parametrize("said", ["ptb", "ptb:somewhere"])
def test_penn_treebank_as_a_corpus_is_named(said: str) -> None:
    assert source_and_recipe(said) == ("ptb", said, RECIPES["ptb"])


def test_a_directory_of_penn_treebank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = penn_treebank(tmp_path / "my data")
    assert source_and_recipe(str(there)) == ("ptb", f"ptb:{there}", RECIPES["ptb"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert source_and_recipe("~/my data") == ("ptb", f"ptb:{there}", RECIPES["ptb"])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("books.txt", "books"),
        ("texts/mine.jsonl", "mine"),
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


def test_a_file_named_as_the_embedded_corpus_is_not_it() -> None:
    name, source, recipe = source_and_recipe("texts/grammar.txt")
    assert (source, recipe) == ("texts/grammar.txt", {})
    assert name == "grammar"
