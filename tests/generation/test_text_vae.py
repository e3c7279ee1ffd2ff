"""Tests of `textvae.generation.text_vae`: every method is the function of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import textvae
from textvae import generation
from textvae.batches import Batch
from textvae.generation import TextVAE
from textvae.model import SentenceVAE

ONE, OTHER, THIRD = "the cat sees a dog", "a dog runs", "cats run"

CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "sample": ((3,), {"seed": 4, "max_length": 9}),
    "reconstruct": (([ONE, OTHER],), {"sampled": True, "max_length": 9}),
    "jitter": ((ONE, 3), {"scale": 2.0, "max_length": 9}),
    "interpolate": ((ONE, OTHER), {"steps": 7, "max_length": 9}),
    "traverse": ((ONE, 1), {"steps": 4, "max_length": 9}),
    "analogy": ((ONE, OTHER, THIRD), {"max_length": 9}),
    "attribute_vector": (([ONE], [OTHER, THIRD]), {}),
    "shift": ((ONE, torch.ones(3)), {"strength": 2.0, "max_length": 9}),
    "neighbours": ((ONE, [OTHER, ONE, THIRD], 2), {"metric": "euclidean"}),
    "decode": ((torch.ones(2, 3),), {"max_length": 9}),
    "generate_text": ((torch.ones(2, 3),), {"max_length": 9}),
    "prior_codes": ((3,), {"seed": 4}),
    "aggregate_codes": ((3, [ONE, OTHER]), {"seed": 4}),
    "posterior_codes": (([ONE, OTHER],), {"sampled": True}),
    "jittered_codes": ((ONE, 3), {"scale": 2.0}),
    "path_codes": ((ONE, OTHER), {"steps": 7}),
    "traversal_codes": ((ONE, 1), {"steps": 4}),
    "analogy_codes": ((ONE, OTHER, THIRD), {}),
}


@pytest.fixture
def model(lively_model: SentenceVAE, tmp_path: Path) -> TextVAE:
    lively_model.save_pretrained(tmp_path / "run")
    return TextVAE.from_pretrained(tmp_path / "run")


def plain(value: Any) -> Any:
    """With equality as Python knows it."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return value


@pytest.mark.parametrize("name", CALLS)
def test_a_method_is_the_function(model: TextVAE, lively_model: SentenceVAE, name: str) -> None:
    given, options = CALLS[name]
    found = getattr(model, name)(*given, **options)
    assert plain(found) == plain(getattr(generation, name)(lively_model, *given, **options))


def test_every_function_on_a_model_is_a_method() -> None:
    """All that the room offers and that takes a model first, but for a check."""
    on_models = {
        name
        for name in generation.__all__
        if getattr(generation, name).__class__.__name__ == "function"
        and next(iter(getattr(generation, name).__annotations__)) == "model"
    }
    assert on_models == {*CALLS, "encode", "check_texts"}


def test_texts_and_batches_are_both_encoded(
    model: TextVAE, make_batch: Callable[..., Batch]
) -> None:
    ids = model.tokenizer.encode_batch([ONE, OTHER])
    with torch.no_grad():
        expected = model.encode(make_batch(ids))
    torch.testing.assert_close(model.encode_texts([ONE, OTHER]).mean, expected.mean)


def test_it_is_a_sentence_vae_in_evaluation_mode(model: TextVAE) -> None:
    assert isinstance(model, SentenceVAE)
    assert isinstance(model, TextVAE)
    assert not model.training


def test_faults_are_those_of_the_functions(model: TextVAE) -> None:
    with pytest.raises(ValueError, match="steps must be at least 2, got 1"):
        model.interpolate(ONE, OTHER, steps=1)


def test_the_package_offers_it() -> None:
    assert textvae.TextVAE is TextVAE
    for name in ("analogy", "decode", "encode", "jitter", "neighbours", "sample", "traverse"):
        assert getattr(textvae, name) is getattr(generation, name)
