"""Runs of a few kilobytes, untrained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.calling import SIZES, Said, call
from textvae import grammar
from textvae.files import read_json, write_json
from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, Tokenizer


@pytest.fixture(scope="session")
def lively(make_model: Callable[..., Any], word_tokenizer: Tokenizer) -> SentenceVAE:
    """A model whose sentences differ with z, most of them ending by themselves."""
    model: SentenceVAE = make_model(
        word_tokenizer.vocab_size, seed=5, std=1.5, tokenizer=word_tokenizer
    )
    with torch.no_grad():
        model.decoder.output.bias[EOS_ID] += 3.0
    return model


@pytest.fixture(scope="session")
def lively_run(lively: SentenceVAE, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("runs") / "lively"
    lively.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="session")
def short_run(lively: SentenceVAE, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model, trained on sentences of at most 4 tokens."""
    path = tmp_path_factory.mktemp("runs") / "short"
    lively.save_pretrained(path)
    config = path / "config.json"
    write_json(config, {**read_json(config), "longest_sentence": 4})
    return str(path)


@pytest.fixture(scope="session")
def language_run(
    make_model: Callable[..., Any],
    word_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    path: Path = tmp_path_factory.mktemp("runs") / "language"
    make_model(word_tokenizer.vocab_size, latent_dim=0, tokenizer=word_tokenizer).save_pretrained(
        path
    )
    return str(path)


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
