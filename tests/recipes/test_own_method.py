"""A method of one's own, in a file of one's own, is trained, saved, resumed and diagnosed as ours.

A head whose means are normalised over the batch, an auxiliary loss, and a model with an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.sizes import TINY
from textvae import grammar, recipes
from textvae.batches import Batch
from textvae.checks import InputError
from textvae.config import ModelConfig, option
from textvae.corpus import Corpus, load_corpus
from textvae.diagnostics import Evaluation
from textvae.model import AUXILIARIES, HEADS, SentenceVAE
from textvae.model.posterior import GaussianHead
from textvae.recipes import Phase
from textvae.tokenizer import Tokenizer
from textvae.training import Trainer


class NormalisedHead(GaussianHead):
    """Means of variance 1 over the batch (Zhu et al. 2020), and a buffer that is no matrix."""

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__(input_size, config)
        self.mu = nn.Sequential(self.mu, nn.BatchNorm1d(config.latent_dim))  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class MyConfig(ModelConfig):
    """A model's options, and two more."""

    loudness: float = option(1.0, "factor on z", "(0, inf)")
    length: float = option(0.0, "weight of telling the length from z", "[0, inf)")


class LengthLoss(nn.Module):
    """Squared error of a sentence's length, told from z."""

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.of_z = nn.Linear(config.latent_dim, 1)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        return (self.of_z(z).squeeze(-1) - batch.lengths / 10).square()


class MyVAE(SentenceVAE):
    """The decoder hears z louder."""

    Config = MyConfig

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        assert isinstance(self.config, MyConfig)
        return super().log_likelihood(batch, self.config.loudness * z)


class LessWordDropout:
    """A remedy with a state: words are dropped less and less."""

    def __init__(self) -> None:
        self.num_steps, self.evaluations = 0, list[float]()

    def before_step(self, trainer: Trainer) -> None:
        trainer.model.decoder.word_dropout = 0.8 * 0.5**self.num_steps
        self.num_steps += 1

    def after_evaluation(self, trainer: Trainer, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation.elbo)

    def state_dict(self) -> dict[str, Any]:
        return {"num_steps": self.num_steps, "evaluations": self.evaluations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_steps, self.evaluations = state["num_steps"], state["evaluations"]


SPLITS = {"valid_fraction": 0.1, "test_fraction": 0.1}
OPTIONS: dict[str, Any] = {**TINY, **SPLITS, "posterior": "normalised", "log_every": 1}
OWN: dict[str, Any] = {**OPTIONS, "loudness": 2.0, "length": 0.5}


@pytest.fixture(autouse=True)
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "normalised", NormalisedHead)
    monkeypatch.setitem(AUXILIARIES, "length", LengthLoss)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("corpus") / "mine.txt"
    path.write_text("\n".join(x.text for x in grammar.sample(40, seed=2)), encoding="utf-8")
    return load_corpus(path, **SPLITS)


def state(path: Path) -> dict[str, Tensor]:
    return MyVAE.from_pretrained(path).state_dict()


def test_it_is_trained_saved_resumed_and_diagnosed(corpus: Corpus, tmp_path: Path) -> None:
    def own() -> dict[str, Any]:
        return {"model": MyVAE, "remedies": {"less": LessWordDropout()}}

    trainer = recipes.start(corpus, OWN, tmp_path / "whole", **own())
    assert trainer.model.config.loudness == 2.0  # type: ignore[attr-defined]
    trainer.fit()
    first = trainer.run.metrics()[0]
    assert first["length"] > 0
    cut = tmp_path / "cut"
    recipes.start(corpus, {**OWN, "max_steps": 2}, cut, **own()).fit()
    again = recipes.resume(cut, {"max_steps": 4}, **own())
    assert again.progress.step == 2
    again.fit()
    remedy = again.remedies["less"]
    assert isinstance(remedy, LessWordDropout)
    assert remedy.num_steps == 4
    assert again.model.decoder.word_dropout == pytest.approx(0.1)
    expected, found = state(tmp_path / "whole"), state(cut)
    assert expected["head.mu.1.num_batches_tracked"] == 4
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    options = {k: v for k, v in OWN.items() if k in MyConfig.__dataclass_fields__}
    run = recipes.diagnose_run(cut, num_samples=2, model=MyVAE)
    assert isinstance(run.model, MyVAE)
    assert run.config.model == run.model.config == MyConfig(**options)
    assert run.diagnosis.elbo.kl > 0


def test_its_options_are_known_to_it_alone(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"loudness must be in \(0, inf\), got 0.0"):
        recipes.start(corpus, {**OWN, "loudness": 0.0}, tmp_path / "run", model=MyVAE)
    with pytest.raises(InputError, match="unknown options: length, loudness"):
        recipes.start(corpus, OWN, tmp_path / "run")
    recipes.start(corpus, {**OWN, "max_steps": 1}, tmp_path / "run", model=MyVAE).fit()
    for read in (recipes.diagnose_run, recipes.resume):
        with pytest.raises(InputError, match="loudness"):
            read(tmp_path / "run")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"loudness is 2.0 in .*, got 3.0"):
        recipes.resume(tmp_path / "run", {"loudness": 3.0}, model=MyVAE)


# Phases


def test_every_parameter_and_buffer_comes_over_from_pretraining(
    corpus: Corpus, tmp_path: Path
) -> None:
    path, both = tmp_path / "run", {"autoencoder_epochs": 1, "language_model_epochs": 1}
    phases = recipes.phases(corpus, {**OWN, **both}, path, model=MyVAE)
    for _ in range(2):
        next(phases).fit()
    begun = next(phases).model.state_dict()
    encoder, decoder = state(path / "autoencoder"), state(path / "language_model")
    assert encoder["head.mu.1.num_batches_tracked"] > 0
    for name, weights in begun.items():
        if not name.startswith("decoder."):
            assert torch.equal(weights, encoder[name]), name
        elif name in decoder:
            assert torch.equal(weights[..., : decoder[name].shape[-1]], decoder[name]), name
    assert begun["auxiliaries.length.of_z.weight"].shape == (1, 2)


def test_a_warm_start_from_another_run(corpus: Corpus, tmp_path: Path) -> None:
    recipes.start(corpus, {**OWN, "seed": 1}, tmp_path / "first", model=MyVAE).fit()
    other = Phase("first", keeps=lambda name: "decoder" not in name, run=tmp_path / "first")
    run = tmp_path / "run"
    (trainer,) = recipes.phases(corpus, OWN, run, model=MyVAE, before=[other])
    begun, first, fresh = trainer.model.state_dict(), state(tmp_path / "first"), state(run)
    for name, weights in begun.items():
        assert torch.equal(weights, (fresh if "decoder" in name else first)[name]), name


def test_a_phase_of_ones_own_is_continued_where_it_was(corpus: Corpus, tmp_path: Path) -> None:
    quiet = Phase("quiet", options={"max_beta": 0.0, "annealer": "constant", "max_epochs": 2})
    phases = recipes.phases(corpus, OPTIONS, tmp_path / "run", before=[quiet])
    assert next(phases).run.path == tmp_path / "run" / "quiet"
    trainers = recipes.phases(None, {}, tmp_path / "run", before=[quiet])
    first = next(trainers)
    assert (first.run.path.name, first.config.max_epochs, first.config.max_beta) == ("quiet", 2, 0)
    first.fit()
    begun = next(trainers).model.state_dict()
    trained = SentenceVAE.from_pretrained(tmp_path / "run" / "quiet").state_dict()
    assert all(torch.equal(begun[name], trained[name]) for name in trained)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"latent_dim": 3},
            r"decoder.rnn.weight_ih_l0 \(24, 7\) has no place in the model",
        ),
        ({"embedding_dim": 3}, r"decoder.embedding.weight \(\d+, 3\) has no place .* \(\d+, 4\)"),
        ({"latent_to": "state", "decoder_num_layers": 2}, "_l1.* has no place .* has none"),
        ({"min_count": 2}, "taken from a model of the same vocabulary only: it has"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    corpus: Corpus, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    recipes.start(corpus, {**OPTIONS, **changed, "max_steps": 1}, tmp_path / "other").fit()
    keeps = lambda name: name.startswith("decoder") and "latent" not in name  # noqa: E731
    phase = Phase("other", keeps=keeps, run=tmp_path / "other")
    with pytest.raises(InputError, match=message):
        next(recipes.phases(corpus, OPTIONS, tmp_path / "run", before=[phase]))


def test_the_columns_of_words_come_first() -> None:
    tokenizer = Tokenizer.train(["a b c"])
    sizes = {"embedding_dim": 4, "decoder_hidden_size": 3, "encoder_hidden_size": 3}
    floor, vae = (
        SentenceVAE(len(tokenizer), tokenizer=tokenizer, latent_dim=z, **sizes) for z in (0, 2)
    )
    fresh = {name: weights.clone() for name, weights in vae.state_dict().items()}
    recipes.runs.take_weights(floor, vae, lambda name: True)
    place = vae.state_dict()["decoder.rnn.weight_ih_l0"]
    assert torch.equal(place[:, :4], floor.decoder.rnn.weight_ih_l0)
    assert torch.equal(place[:, 4:], fresh["decoder.rnn.weight_ih_l0"][:, 4:])
