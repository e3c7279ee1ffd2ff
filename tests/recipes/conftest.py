"""Forty sentences of a file, and a run of them, made once for all tests of recipes."""

from pathlib import Path

import pytest

from tests.recipes.making import FRACTIONS, OPTIONS
from textvae import grammar, recipes
from textvae.corpus import Corpus, load_corpus


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "mine.txt"
    texts = [sentence.text for sentence in grammar.sample(40, seed=2)]
    path.write_text("\n".join([*texts, "", "", ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus(text_file: Path) -> Corpus:
    """28 sentences to train on, which are four steps, 4 to judge by, 8 for the test."""
    return load_corpus(text_file, **FRACTIONS)


@pytest.fixture(scope="session")
def run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `OPTIONS`, trained and finished."""
    trainer = recipes.start(corpus, OPTIONS, tmp_path_factory.mktemp("runs") / "run")
    trainer.fit()
    recipes.finish(trainer.run.path)
    return trainer.run.path


@pytest.fixture(scope="session")
def language_model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "floor"
    recipes.start(corpus, {**OPTIONS, "latent_dim": 0, "seed": 7}, path).fit()
    return path
