"""Runs of a few kilobytes, untrained."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import SIZES, Said, call
from textvae import grammar
from textvae.files import read_json, write_json
from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer


def saved(model: SentenceVAE, factory: pytest.TempPathFactory, **noted: Any) -> str:
    """A run of a model, its configuration noting something more."""
    path = factory.mktemp("runs") / "run"
    model.save_pretrained(path)
    write_json(path / "config.json", read_json(path / "config.json") | noted)
    return str(path)


@pytest.fixture(scope="session")
def lively_run(lively: SentenceVAE, tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(lively, tmp_path_factory)


@pytest.fixture(scope="session")
def short_run(lively: SentenceVAE, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model, trained on sentences of at most 4 tokens."""
    return saved(lively, tmp_path_factory, longest_sentence=4)


@pytest.fixture(scope="session")
def language_run(make_model: Any, word_tokenizer: Tokenizer, tmp_path_factory: Any) -> str:
    return saved(make_model(latent_dim=0, tokenizer=word_tokenizer), tmp_path_factory)


@pytest.fixture(scope="session")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "fifty.txt"
    texts = [sentence.text for sentence in grammar.sample(50, seed=3)]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(fifty: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    run = tmp_path_factory.mktemp("cli") / "run"
    return run, call("train", str(fifty), *SIZES, f"--output-dir={run}")


@pytest.fixture(scope="session")
def trained_floor(fifty: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """A language model of the same sentences."""
    run = tmp_path_factory.mktemp("cli") / "floor"
    return run, call("train", str(fifty), *SIZES, "--latent-dim=0", f"--output-dir={run}")
