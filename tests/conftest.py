"""Every test runs offline, on one thread, and leaves nothing in anyone's caches."""

import os
import tempfile

# Before anything imports the libraries that read them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="textvae-tests-")

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from tests.draws import drawn_anew
from textvae import recipes
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.tokenizer import EOS_ID, Tokenizer

MakeModel = Callable[..., SentenceVAE]

# A busy machine is no fault of the code.
settings.register_profile("textvae", deadline=None)
settings.load_profile("textvae")


@pytest.fixture(scope="session", autouse=True)
def _surroundings() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _hasty_disk() -> Iterator[None]:
    """Nothing outlives the tests: waiting for the disk would be a third of the time of some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """A few sentences of unlike length over nine words."""
    return [
        "the cat sees a dog",
        "a dog runs",
        "the dog sees the old cat",
        "cats run",
        "a cat sees",
        "the cat runs",
    ]


@pytest.fixture(scope="session")
def word_tokenizer(texts: list[str]) -> Tokenizer:
    """A word tokenizer over all of `texts`."""
    return Tokenizer.train(texts)


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Builds tiny models in evaluation mode, with large random weights; 13 ids are `texts`'.

    Nothing is trained, but no distribution is near uniform and no state near zero, so that a
    mix-up anywhere shows. Even padding has an embedding, which a leak would carry.
    """

    def make(vocab_size: int = 13, *, seed: int = 0, std: float = 0.8, **arguments: Any) -> Any:
        sizes = {"latent_dim": 3, "embedding_dim": 5}
        sizes |= {"encoder_hidden_size": 4, "decoder_hidden_size": 5}
        sizes |= {"embedding_dropout": 0.0, "output_dropout": 0.0}
        return drawn_anew(SentenceVAE(vocab_size, **sizes | arguments), seed, std).eval()

    return make


@pytest.fixture
def tiny_model(make_model: MakeModel, word_tokenizer: Tokenizer) -> SentenceVAE:
    """One such model, with `word_tokenizer`."""
    return make_model(tokenizer=word_tokenizer)


@pytest.fixture(scope="session")
def make_lively(make_model: MakeModel, word_tokenizer: Tokenizer) -> MakeModel:
    """Builds models whose sentences differ with z and end at unlike times, some never."""

    def make(**arguments: Any) -> SentenceVAE:
        model = make_model(seed=5, std=1.5, tokenizer=word_tokenizer, **arguments)
        with torch.no_grad():
            model.decoder.output.bias[EOS_ID] += 3.0
        return model

    return make


@pytest.fixture(scope="session")
def lively(make_lively: MakeModel) -> SentenceVAE:
    """One such model, for tests that leave it as it is."""
    return make_lively()


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that a sweep begins or goes on with; they are trained in this process."""
    names: list[str] = []

    class Done:
        exitcode = sentinel = 0
        is_alive = staticmethod(lambda: False)

    def spawn(run: RunDirectory, afterwards: Callable[[Path], object]) -> Done:
        names.append(run.path.name)
        source, data = run.config.data_source, run.config.data
        corpus = None if run.path.exists() else recipes.open_corpus(source, data)
        for trainer in recipes.phases(corpus, run.config.flat(), run.path):
            trainer.fit()
        afterwards(run.path)
        return Done()

    module = importlib.import_module("textvae.recipes.sweep")
    monkeypatch.setattr(module, "_spawn", spawn)
    monkeypatch.setattr(module, "wait", lambda sentinels, seconds: None)
    return names
