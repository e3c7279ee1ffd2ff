"""Tests of `textvae encode` and `textvae neighbours`."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from tests.cli.calling import call
from textvae import generation
from textvae.batches import collate
from textvae.model import Gaussian, SentenceVAE

TEXTS = ["the cat sees a dog", "a dog runs", "cats run", "the dog sees the old cat"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def codes(lively: SentenceVAE) -> tuple[Any, Any, Any]:
    """Posterior and KL of `TEXTS`, one at a time."""
    assert lively.tokenizer is not None
    with torch.no_grad():
        found = [lively.encode(collate([ids])) for ids in lively.tokenizer.encode_batch(TEXTS)]
    mu, logvar = Gaussian.cat(found).parameters
    posterior = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    return mu, logvar, kl


def test_encode_prints_a_line_for_each_text(lively_run, codes):
    mu, logvar, kl = codes
    said = call("encode", lively_run, *TEXTS)
    assert (said.code, said.err) == (0, "")
    for i, (line, text) in enumerate(zip(said.lines, TEXTS, strict=True)):
        busiest = sorted(range(3), key=lambda dim: -kl[i, dim])
        deviation = (0.5 * logvar).exp()
        shown = "  ".join(f"z[{d}] {mu[i, d]:+.2f} ±{deviation[i, d]:.2f}" for d in busiest)
        assert line == f"KL {kl[i].sum():.2f}  {shown}\t{text}"
    found = call("encode", lively_run, *TEXTS, "--json").records
    assert [set(one) for one in found] == [{"text", "kl", "mu", "logvar"}] * 4
    assert [one["text"] for one in found] == TEXTS
    for name, expected in (("mu", mu), ("logvar", logvar), ("kl", kl.sum(-1))):
        np.testing.assert_allclose([one[name] for one in found], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_encode_to_a_file(lively_run, corpus, codes, monkeypatch, chunk):
    monkeypatch.setattr("textvae.cli.places.CHUNK", chunk)
    output = corpus.with_name("codes.npz")
    output.write_bytes(b"old")
    said = call("encode", lively_run, "--input", str(corpus), "--output", str(output))
    mu, logvar, kl = codes
    assert (said.code, said.out) == (0, "")
    mean = kl.sum(-1).mean()
    assert said.err == f"textvae: {output} written: 4 sentences, KL {mean:.2f} nats on average\n"
    with np.load(output, allow_pickle=False) as arrays:
        assert {*arrays} == {"mu", "logvar", "kl"}
        assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
        for name, expected in (("mu", mu), ("logvar", logvar), ("kl", kl.sum(-1))):
            np.testing.assert_allclose(arrays[name], expected, rtol=1e-4, atol=1e-5)
    assert {path.name for path in corpus.parent.iterdir()} == {"corpus.txt", "codes.npz"}


def test_a_bad_line_far_down_leaves_no_file(lively_run, tmp_path):
    output = tmp_path / "codes.npz"
    said = call("encode", lively_run, f"--output={output}", stdin="a\na\na\n\na\n")
    assert (said.code, said.out) == (2, "")
    assert "text 4 must have at least one token, got ''\n" in said.err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_the_old_file(lively_run, tmp_path, monkeypatch):
    press = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("textvae.generation.TextVAE.encode_texts", press)
    output = tmp_path / "codes.npz"
    output.write_bytes(b"old")
    assert call("encode", lively_run, "a", f"--output={output}").code == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"codes.npz": b"old"}


@pytest.mark.parametrize("metric", generation.METRICS)
def test_neighbours(lively, lively_run, corpus, metric):
    expected = generation.neighbours(lively, TEXTS[1], TEXTS, 3, metric=metric)
    assert expected[0].text == TEXTS[1]
    # Empty lines are no sentences, but count as lines; Penn Treebank has spaces around its own.
    corpus.write_text("\n" + " \n \n ".join(TEXTS), encoding="utf-8")
    command = ["neighbours", lively_run, TEXTS[1], "--corpus", str(corpus), "-k3"]
    plain = call(*command, f"--metric={metric}")
    assert plain.lines == [f"{one.distance:.4f}\t{one.text}" for one in expected]
    found = call(*command, f"--metric={metric}", "--json").records
    assert found == [
        {"distance": one.distance, "line": 2 * one.position + 2, "text": one.text}
        for one in expected
    ]


def test_neighbours_in_standard_input(lively_run, corpus):
    from_file = call("neighbours", lively_run, TEXTS[0], "--corpus", str(corpus))
    piped = call("neighbours", lively_run, TEXTS[0], "--corpus=-", stdin=corpus.read_text())
    assert piped == from_file
    asked = call("neighbours", lively_run, "--corpus", str(corpus), stdin=TEXTS[0])
    assert asked == from_file
