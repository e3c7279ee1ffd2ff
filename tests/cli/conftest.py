"""Runs of a few kilobytes, untrained, and a way to call commands on them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser

from tests.cli.calling import Said, call
from textvae import cli
from textvae.files import read_json, write_json
from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, Tokenizer


@pytest.fixture(scope="session")
def parser() -> ArgumentParser:
    """Of all commands: to build it takes longer than most of them."""
    return cli.parser_of_all()


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, parser: ArgumentParser) -> Callable[..., Said]:
    """One command in this process, with what comes from standard input."""
    monkeypatch.setattr(cli, "parser_of_all", lambda: parser)

    def say(*arguments: str, stdin: str = "") -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        return call(*arguments)

    return say


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
