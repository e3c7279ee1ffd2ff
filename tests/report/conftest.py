"""A tiny run, made and diagnosed once for all tests of what is said of it."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.sizes import TINY
from textvae import recipes
from textvae.corpus import Corpus
from textvae.recipes import LoadedRun

HOSTILE = "<script>alert('x')</script> & <b>bold</b>"
"""A sentence that must reach no page as it is."""

SIZES = {**TINY, "latent_dim": 3, "max_epochs": 2, "log_every": 1}


def sentences(count: int) -> dict[str, list[str]]:
    """Sentences that two factors decide, a hostile one first."""
    animals = [("cat", "dog", "bird")[i % 3] for i in range(count)]
    deeds = [("sees", "hears")[i // 3 % 2] for i in range(count)]
    texts = [f"the {animal} {deed} a mouse" for animal, deed in zip(animals, deeds, strict=True)]
    return {"text": [HOSTILE, *texts[1:]], "animal": animals, "deed": deeds}


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    sizes = {"train": 24, "valid": 12, "test": 12}
    splits = {name: Dataset.from_dict(sentences(size)) for name, size in sizes.items()}
    return Corpus("animals", splits, "animals", dict.fromkeys(sizes, 0), ("animal", "deed"))


def train(corpus: Corpus, path: Path, **options: Any) -> Path:
    recipes.start(corpus, {**SIZES, **options}, path).fit()
    return path


@pytest.fixture(scope="session")
def runs(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[LoadedRun]:
    """A VAE, another, and a language model."""
    directory = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textvae.recipes.loaded.open_corpus", lambda *_: corpus)
        paths = [
            train(corpus, directory / "annealed", seed=1),
            train(corpus, directory / "plain", seed=2, annealer="constant"),
            train(corpus, directory / "floor", latent_dim=0),
        ]
        return [recipes.diagnose_run(path, num_samples=3) for path in paths]


@pytest.fixture(scope="session")
def diagnosed(runs: list[LoadedRun]) -> LoadedRun:
    """The first of them."""
    return runs[0]
