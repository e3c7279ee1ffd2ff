"""Tests of `textvae.recipes.options`."""

from __future__ import annotations

from pathlib import Path

import pytest

from textvae.recipes import SIZES, source_and_sizes


@pytest.mark.parametrize(
    ("said", "name", "source"),
    [
        (None, "grammar", "grammar"),
        ("grammar", "grammar", "grammar"),
        ("ptb", "ptb", "ptb"),
        ("ptb:somewhere", "ptb", "ptb:somewhere"),
        ("~/my data", "ptb", "ptb:{home}/my data"),  # a directory of its files
        # Any other has the defaults.
        ("texts/mine.jsonl", "mine", None),
        ("texts/grammar.txt", "grammar", None),  # not the embedded corpus
        ("owner/name", "name", None),  # on the hub
        ("my data/", "my data", None),
        (".", "home", None),
        ("../home/..", "above", None),
    ],
)
def test_a_corpus_and_its_recipe(
    said: str | None,
    name: str,
    source: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "above" / "home"
    (home / "my data").mkdir(parents=True)
    if source:
        (home / "my data" / "ptb.train.txt").write_text("no it was n't\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    expected = (said, {}) if source is None else (source.format(home=home), SIZES[name])
    assert source_and_sizes(said) == (name, *expected)
