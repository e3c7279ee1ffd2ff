"""Remedies at work: a small model on the embedded corpus' first words, which `vanilla` collapses.

Each trains for some seconds, with the same sizes, sentences and seed.
"""

from collections.abc import Callable
from typing import Any

import pytest
from datasets import Dataset

from textvae import grammar, recipes
from textvae.corpus import Corpus
from textvae.diagnostics import Evaluation

SIZES: dict[str, Any] = {
    **{"latent_dim": 4, "embedding_dim": 24, "encoder_hidden_size": 32, "decoder_hidden_size": 32},
    **{"embedding_range": 1.7, "embedding_dropout": 0.0, "output_dropout": 0.0, "lr": 0.01},
    **{"max_steps": 200, "warmup_epochs": 1.0, "precision": "fp32", "device": "cpu"},
}

Trained = Callable[..., Evaluation]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The evaluation on validation data that a training with a recipe ends with."""
    drawn = grammar.sample(2500, seed=0)
    texts = [" ".join(sentence.text.split()[:8]) for sentence in drawn]
    parts = {"train": texts[:2250], "valid": texts[2250:]}
    splits = {name: Dataset.from_dict({"text": part}) for name, part in parts.items()}
    corpus = Corpus("words", splits, "words", {})

    def train(recipe: str, **options: Any) -> Evaluation:
        options = {**SIZES, **recipes.combined(recipe), **options}
        trainer = recipes.start(corpus, options, tmp_path_factory.mktemp("runs") / "run")
        trainer.fit()
        return trainer._last_evaluation

    return train


def test_vanilla_collapses(trained):
    found = trained("vanilla")
    assert found.kl < 0.01
    assert found.mi < 0.02
    assert found.au == 0


@pytest.mark.parametrize(
    ("recipe", "options", "least_kl", "mi", "au"),
    [
        ("delta", {}, 0.2 - 1e-5, 0.1, 2),  # its rate, in every dimension
        ("skip", {"decoder_num_layers": 2, "max_steps": 300}, 0, 0.1, 3),
        ("mmd", {"max_steps": 300}, 0, 0.5, 2),
    ],
)
def test_z_is_kept_in_use(trained, recipe, options, least_kl, mi, au):
    found = trained(recipe, **options)
    assert min(found.kl_per_dim) >= least_kl
    assert found.mi > mi
    assert found.au >= au


def test_a_tighter_bound_is_no_cure(trained):
    assert trained("iwae+vanilla", importance_samples=3).au == 0


def test_a_decoder_that_sees_every_word_at_the_end_tells_them_better(trained):
    blinded = {"word_dropout": 0.5, "max_steps": 150}
    fading = trained("linear", word_dropout_epochs=2.0, **blinded)
    assert fading.rec < trained("linear", **blinded).rec - 0.2


def test_a_mean_of_weights_is_better_than_the_last_ones(trained):
    hasty = {"lr": 0.04, "max_steps": 300}
    assert trained("average+vanilla", **hasty).elbo > trained("vanilla", **hasty).elbo + 0.2
