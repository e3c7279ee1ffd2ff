"""Models whose sentences differ with z, and ways to write tests of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]
Push = Callable[[SentenceVAE, int, float], SentenceVAE]


@pytest.fixture(scope="session")
def codes() -> Callable[..., Tensor]:
    """Standard normal codes of a shape."""

    def draw(*shape: int, seed: int = 1) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture(scope="session")
def push() -> Push:
    """Makes one token likelier, or less likely, everywhere."""

    def change(model: SentenceVAE, token: int, by: float) -> SentenceVAE:
        with torch.no_grad():
            model.decoder.output.bias[token] += by
        return model

    return change


@pytest.fixture
def language_model(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    return make_model(word_tokenizer.vocab_size, latent_dim=0, tokenizer=word_tokenizer)


@pytest.fixture
def lively_model(make_model: MakeModel, word_tokenizer: Tokenizer, push: Push) -> SentenceVAE:
    """One whose sentences differ with z and end at unlike times, some never."""
    size = word_tokenizer.vocab_size
    return push(make_model(size, seed=5, std=1.5, tokenizer=word_tokenizer), EOS_ID, 3.0)
