"""Models whose sentences differ with z."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from textvae.model import SentenceVAE
from textvae.tokenizer import EOS_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]


def push(model: SentenceVAE, token: int, by: float) -> SentenceVAE:
    """Make one token likelier, or less likely, everywhere."""
    with torch.no_grad():
        model.decoder.output.bias[token] += by
    return model


@pytest.fixture
def language_model(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    return make_model(word_tokenizer.vocab_size, latent_dim=0, tokenizer=word_tokenizer)


@pytest.fixture
def lively_model(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    """One whose sentences differ with z and end at unlike times, some never."""
    size = word_tokenizer.vocab_size
    return push(make_model(size, seed=5, std=1.5, tokenizer=word_tokenizer), EOS_ID, 3.0)


@pytest.fixture
def told(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    """A lively model that is told how many and where, the former seldom one."""
    classes = {"number": {"many": 3, "one": 1}, "place": {"here": 5, "there": 5}}
    options: Any = {"seed": 5, "std": 1.5, "tokenizer": word_tokenizer, "classes": classes}
    return push(make_model(word_tokenizer.vocab_size, **options), EOS_ID, 3.0)
