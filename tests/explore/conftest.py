"""A session of a lively model, and a tiny run on a text file."""

from pathlib import Path

import pytest

from tests.sizes import TINY
from textvae import recipes
from textvae.corpus import load_corpus
from textvae.explore import Sentences, Session
from textvae.model import SentenceVAE


@pytest.fixture(scope="session")
def session(lively: SentenceVAE, texts: list[str]) -> Session:
    return Session(lively, Sentences("six sentences", texts), name="lively")


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty sentences, all different words, one of them hostile to a page."""
    path = tmp_path_factory.mktemp("corpus") / "sixty.txt"
    lines = [f"the {animal} {deed} a mouse {i}" for i in range(10) for animal in ("cat", "dog")
             for deed in ("sees", "hears", "eats")]  # fmt: skip
    path.write_text("\n".join([*lines[1:], "<img src=x onerror=alert(1)> ${1} {{value}}"]) + "\n")
    return path


@pytest.fixture(scope="session")
def run(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE trained for an epoch on all of it."""
    path = tmp_path_factory.mktemp("runs") / "tiny"
    recipes.start(load_corpus(corpus_file), {**TINY, "latent_dim": 3, "batch_size": 16}, path).fit()
    return path
