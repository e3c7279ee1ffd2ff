"""No model of the grammar's sentences can predict them better than the grammar itself."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from textvae import grammar
from textvae.corpus import load_corpus
from textvae.diagnostics import importance_nll
from textvae.recipes import SIZES, LoadedRun, start


def advantage(directory: Path, options: Mapping[str, Any]) -> tuple[float, float, float]:
    """NLL of a language model, what it has over the grammar, and the standard error of that."""
    corpus = load_corpus("grammar")
    recipe = {**SIZES["grammar"], "latent_dim": 0}
    start(corpus, {**recipe, **options}, directory).fit()
    run = LoadedRun.open(directory)
    measured = importance_nll(run.model, run.loader.epoch(0))
    exact = [-grammar.log_prob(text) for text in corpus["test"]["text"]]
    gains = torch.tensor(exact, dtype=torch.float64) - measured.per_sentence
    return measured.nll, float(gains.mean()), float(gains.std() / math.sqrt(len(gains)))


def test_a_language_model_is_never_under_the_entropy(tmp_path):
    nll, gain, error = advantage(tmp_path / "run", {"max_steps": 60, "decoder_hidden_size": 32})
    assert gain < 4 * error
    assert nll > grammar.entropy()


@pytest.mark.slow
def test_a_trained_language_model_comes_near_the_entropy_and_not_under_it(tmp_path):
    nll, gain, error = advantage(tmp_path / "run", {})
    assert -1 < gain < 4 * error, "an EOS or BOS more or less would show"
    assert grammar.entropy() < nll < grammar.entropy() + 1
