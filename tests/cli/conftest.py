"""Runs of a few kilobytes, untrained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

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


@pytest.fixture(
    scope="session",
    params=[{"longest_sentence": 4}, {"run": {"data": {"max_length": 4}}}],
    ids=["noted", "older"],
)
def short_run(
    request: pytest.FixtureRequest,
    lively: SentenceVAE,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The same model, trained on sentences of at most 4 tokens."""
    path = tmp_path_factory.mktemp("runs") / "short"
    lively.save_pretrained(path)
    config = path / "config.json"
    write_json(config, {**read_json(config), **request.param})
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
