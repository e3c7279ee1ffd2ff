"""Models whose sentences differ with z."""

from collections.abc import Callable

import pytest
import torch

from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer

MakeModel = Callable[..., SentenceVAE]


def push(model: SentenceVAE, token: int, by: float) -> SentenceVAE:
    """Make one token likelier, or less likely, everywhere."""
    with torch.no_grad():
        model.decoder.output.bias[token] += by
    return model


@pytest.fixture
def language_model(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    return make_model(latent_dim=0, tokenizer=word_tokenizer)


@pytest.fixture
def lively_model(make_lively: MakeModel) -> SentenceVAE:
    """A lively one, that a test may push."""
    return make_lively()


@pytest.fixture
def told(make_lively: MakeModel) -> SentenceVAE:
    """One that is told how many and where, the former seldom one."""
    classes = {"number": {"many": 3, "one": 1}, "place": {"here": 5, "there": 5}}
    return make_lively(classes=classes)
