"""Tests of `textvae.generation.text_vae`: every method is the function of its name."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

import textvae
from textvae import generation
from textvae.checks import InputError
from textvae.generation import TextVAE
from textvae.model import SentenceVAE

ONE, OTHER = "the cat sees a dog", "a dog runs"


def test_every_function_on_a_model_is_a_method() -> None:
    for name, function in vars(generation).items():
        if inspect.isfunction(function) and next(iter(function.__annotations__)) == "model":
            method = {"encode": "encode_texts"}.get(name, name)
            if name != "check_texts":
                assert getattr(TextVAE, method) is function, name
            if name in textvae.__all__:
                assert getattr(textvae, name) is function
    assert textvae.TextVAE is TextVAE


def test_a_saved_model_reads_and_writes(lively_model: SentenceVAE, tmp_path: Path) -> None:
    lively_model.save_pretrained(tmp_path / "run")
    model = TextVAE.from_pretrained(tmp_path / "run")
    assert isinstance(model, SentenceVAE)
    assert not model.training
    path = model.interpolate(ONE, OTHER, steps=7, max_length=9)
    assert path == generation.interpolate(lively_model, ONE, OTHER, steps=7, max_length=9)
    assert [one.text for one in model.decode(model.path_codes(ONE, OTHER), max_length=9)] == (
        model.interpolate(ONE, OTHER, max_length=9)
    )
    expected = generation.encode(lively_model, [ONE, OTHER]).mean
    torch.testing.assert_close(model.encode_texts([ONE, OTHER]).mean, expected)
    with pytest.raises(InputError, match="steps must be at least 2, got 1"):
        model.interpolate(ONE, OTHER, steps=1)
