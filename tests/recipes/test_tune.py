"""The search: what it tries, what it drops, and that it goes on where it was."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textvae import load_corpus, recipes
from textvae.config import RunConfig
from textvae.corpus import Corpus
from textvae.recipes import SPACE, Trial, best, combined, tune
from textvae.run import RunDirectory
from textvae.training import Trainer, TrainingError

TINY = {"latent_dim": 2, "embedding_dim": 4, "encoder_hidden_size": 4, "decoder_hidden_size": 4}
QUICK = {**TINY, "max_epochs": 1, "warmup_epochs": 0.0, "autoencoder_epochs": 0}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    lines = [f"{who} {what} {where}\n" for who in "abcde" for what in "fghij" for where in "klm"]
    (tmp_path / "some.txt").write_text("".join(lines), encoding="utf-8")
    return load_corpus(tmp_path / "some.txt")


def test_recipes_and_their_options_exist(corpus):
    for recipe, options in SPACE.items():
        combined(recipe)
        for name, (low, high) in options.items():
            assert 0 < low < high
            RunConfig.from_flat("", recipes.chosen(corpus, {name: low}, recipe))


def test_it_begins_with_the_default(corpus, tmp_path):
    found = tune(corpus, QUICK, tmp_path / "t", minutes=5, max_trials=1)
    (first,) = found
    assert (first.recipe, first.state, first.number) == ("default", "complete", 0)
    own = recipes.RECIPES["default"].options
    assert all(first.options[name] == own[name] for name in SPACE["default"])
    config = RunDirectory.open(first.directory).config
    assert config.model.bag_of_words == own["bag_of_words"]
    assert config.model.latent_dim == 2


def test_given_options_are_not_searched(corpus, tmp_path):
    given = {**QUICK, "lr": 0.01, "free_bits": 1.0}
    (trial,) = tune(corpus, given, tmp_path / "t", minutes=5, max_trials=1)
    assert not given.keys() & trial.options.keys()
    training = RunDirectory.open(trial.directory).config.training
    assert (training.lr, training.free_bits) == (0.01, 1.0)


def test_what_time_ends_is_dropped_but_the_first(corpus, tmp_path):
    (first,) = tune(corpus, QUICK, tmp_path / "t", minutes=1e-6, max_trials=1)
    assert first.state == "complete"
    again, second = tune(corpus, QUICK, tmp_path / "t", minutes=1e-6, max_trials=1)
    assert again == first
    assert (second.number, second.state, second.nll) == (1, "pruned", None)
    assert second.directory == str(tmp_path / "t" / "trial-1")


def test_an_interrupted_training_goes_on(corpus, tmp_path, monkeypatch):
    fit = Trainer.fit

    def interrupted(trainer: Trainer) -> str:
        monkeypatch.setattr(Trainer, "fit", fit)
        trainer.save()
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(corpus, QUICK, tmp_path / "t", minutes=5, max_trials=1)
    found = tune(corpus, QUICK, tmp_path / "t", minutes=5, max_trials=1)
    assert [trial.state for trial in found] == ["fail", "complete"]
    assert found[0].directory == found[1].directory
    assert found[0].options == found[1].options


def test_one_that_diverges_is_dropped_and_the_search_goes_on(corpus, tmp_path, monkeypatch):
    fit = Trainer.fit

    def diverging(trainer: Trainer) -> str:
        monkeypatch.setattr(Trainer, "fit", fit)
        raise TrainingError("not finite")

    monkeypatch.setattr(Trainer, "fit", diverging)
    found = tune(corpus, QUICK, tmp_path / "t", minutes=5, max_trials=2)
    assert [trial.state for trial in found] == ["pruned", "complete"]


def test_a_judgement_cut_short_is_none(corpus, tmp_path, monkeypatch):
    # Not by name, which is the function's, too.
    judging, diagnose = sys.modules[tune.__module__], recipes.diagnose_run

    def cut(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(judging, "diagnose_run", diagnose)
        found = diagnose(*args, **options)
        return replace(found, diagnosis=replace(found.diagnosis, interrupted=True))

    monkeypatch.setattr(judging, "diagnose_run", cut)
    with pytest.raises(KeyboardInterrupt):
        tune(corpus, QUICK, tmp_path / "t", minutes=5, max_trials=1)
    found = tune(corpus, QUICK, tmp_path / "t", minutes=5, max_trials=1)
    assert [trial.state for trial in found] == ["fail", "complete"]


def trial(number: int, nll: float | None, verdict: str | None, state: str = "complete") -> Trial:
    figures: dict[str, Any] = {"kl": 1.0, "mi": 1.0, "au": 1, "minutes": 1.0}
    return Trial(number, "default", {}, f"t/{number}", state, nll, verdict=verdict, **figures)


def test_the_best_is_healthy():
    found = [trial(0, 9.0, "collapsed"), trial(1, 11.0, "healthy"), trial(2, 10.0, "healthy")]
    assert best([*found, trial(3, None, None, "pruned")]) == found[2]
    assert best(found[:1]) is None
