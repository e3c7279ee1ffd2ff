"""`textvae train` in two processes: one run, one voice."""

import json

import pytest

from tests.sizes import TINY, flags
from tests.two_processes import run_in_two
from textvae import grammar
from textvae.run import RunDirectory


@pytest.mark.slow
def test_one_run_and_one_voice(tmp_path):
    text, run = tmp_path / "sentences.txt", tmp_path / "run"
    text.write_text("".join(f"{sentence.text}\n" for sentence in grammar.sample(60, seed=1)))
    options = flags({**TINY, "max_steps": 4, "log_every": 2, "autoencoder_epochs": 1})
    arguments = ["train", str(text), *options, f"--output-dir={run}"]

    first, second = run_in_two("textvae", arguments, tmp_path)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "samples from the prior" in first.out
    assert second.out == ""
    assert "textvae:" not in second.err
    assert json.loads((run / "results.json").read_text())["split"] == "test"
    steps = [(line["split"], line["step"]) for line in RunDirectory.open(run).metrics()]
    assert steps == [("train", 2), ("train", 4), ("valid", 4)]
    assert RunDirectory.open(run / "autoencoder").metrics()

    first, second = run_in_two("textvae", arguments, tmp_path)
    assert (first.code, second.code) == (2, 2)
    assert first.err.count("textvae: error:") == 1
    assert "exists and is not empty" in first.err
    assert "error" not in second.err

    first, second = run_in_two("textvae", [*arguments[:1], *arguments[-1:], "--resume"], tmp_path)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "training ended: 4 steps done" in first.err
