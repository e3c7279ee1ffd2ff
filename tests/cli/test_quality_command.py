"""Tests of `textvae quality`, on a tiny run made once."""

from __future__ import annotations

import json
import sys

import pytest

from tests.cli.calling import call
from tests.sizes import TINY, flags
from textvae import grammar, recipes
from textvae.report.text import quality_text


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A VAE and a language model of the same fifty sentences."""
    directory = tmp_path_factory.mktemp("cli")
    data = directory / "fifty.txt"
    data.write_text("\n".join(x.text for x in grammar.sample(50, seed=3)), encoding="utf-8")
    for name, latent_dim in (("vae", 2), ("lm", 0)):
        made = call(
            *("train", str(data), *flags({**TINY, "latent_dim": latent_dim})),
            *(f"--output-dir={directory / name}", "--test-fraction=0.1"),
        )
        assert made.code == 0, made.err
    return {"VAE": str(directory / "vae"), "LM": str(directory / "lm"), "DATA": str(data)}


def test_a_table_for_people(runs: dict[str, str]) -> None:
    said = call("quality", runs["VAE"], "-n", "4", "--seed", "2", "--temperature", "0.8")
    found = recipes.quality_run(runs["VAE"], num_samples=4, seed=2, temperature=0.8)
    assert said == (0, quality_text(found) + "\n", "")


def test_one_json_object_for_programs(runs: dict[str, str]) -> None:
    said = call(
        *("quality", runs["VAE"], "-n", "3", "--json", "--split=valid"),
        *("--language-model", runs["LM"], "--data-dir", runs["DATA"]),
    )
    assert said.code == 0
    found = json.loads(said.out)
    expected = recipes.quality_run(
        runs["VAE"], num_samples=3, split="valid", language_model=runs["LM"]
    )
    assert found == json.loads(json.dumps(expected.to_dict()))
    assert found["perplexities"]["language_model"] == runs["LM"]


def test_a_missing_sacrebleu_is_named(
    runs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    said = call("quality", runs["VAE"], "-n", "2")
    assert (said.code, said.out) == (2, "")
    assert 'pip install "textvae[quality]"' in said.err
    assert call("quality", runs["LM"], "-n", "2").code == 0  # nothing is reconstructed
