"""Tests of training in several processes: two of them give what one gives.

The two are started once and go through every scenario; see `worker.py`.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock

from tests.training.building import STILL, lines, prepared
from tests.training.worker import TRAIN
from tests.two_processes import run_in_two
from textvae.losses import FREE_BITS
from textvae.model import SentenceVAE
from textvae.run import RunDirectory

EQUAL: dict[str, dict[str, Any]] = {
    "plain": {"max_steps": 12, "batch_size": 7},
    **{
        f"free-bits-{kind}": {"free_bits": 0.003, "free_bits_kind": kind, "max_steps": 3}
        for kind in FREE_BITS
    },
    "one-sentence": {"batch_size": 1, "max_steps": 4},
    "language-model": {"latent_dim": 0, "max_steps": 4},
    # By SGD: Adam makes steps of the rounding in gradients that normalising all but cancels.
    "batch-norm": {"posterior": "batch-norm", "optimizer": "sgd", "lr": 0.5, "max_steps": 6},
    "bag-of-words": {"bag_of_words": 0.5, "max_steps": 3},
    "importance": {"importance_samples": 3, "bag_of_words": 0.5, "mmd": 9.0, "max_steps": 3},
    "importance-elbo": {"importance_samples": 3, "encoder_follows": "elbo", "max_steps": 3},
    "aggressive": {"aggressive_updates": 4, "max_steps": 3},
    "average": {"average_epochs": 0.5, "max_steps": 7},
    "sgd": {"optimizer": "sgd", "lr": 0.5, "momentum": 0.9, "clip_norm": 0.5, "max_steps": 7},
}
"""Without dropout, what one process gives too."""

RESUMED = {"max_epochs": 2, "log_every": 1}
SCENARIOS: dict[str, dict[str, Any]] = {
    **{name: {"log_every": 1, **STILL, **options} for name, options in EQUAL.items()},
    "decaying": {**STILL, "optimizer": "sgd", "lr": 3.0, "lr_patience": 0, "warmup_epochs": 0.0},
    "dropout": RESUMED,
    "dropout-interrupted": RESUMED,
    "spoiled": {"log_every": 4},
}


class Two(NamedTuple):
    """What two processes left behind."""

    runs: Path
    first: dict[str, Any]
    second: dict[str, Any]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    """Started once, however many workers run these tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    directory = root / "two"
    with FileLock(root / "two.lock"):
        if not directory.exists():
            for name, options in SCENARIOS.items():
                prepared(directory / "runs" / name, options)
            ended = run_in_two("tests.training.worker", [str(directory)], directory)
            assert [process.code for process in ended] == [0, 0], ended
            assert ["warning: " in process.err for process in ended] == [True, False]  # one speaks
    found = (json.loads((directory / f"{rank}.json").read_text()) for rank in (0, 1))
    return Two(directory / "runs", *found)


def metrics(run: Path) -> list[dict[str, Any]]:
    return lines(RunDirectory.open(run))


@pytest.mark.parametrize("name", sorted(EQUAL))
def test_two_give_what_one_gives(build, two, name):
    alone = build(train=TRAIN, **SCENARIOS[name])
    alone.fit()
    ours, theirs = lines(alone.run), metrics(two.runs / name)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        for key, value in mine.items():
            expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-4, abs=1e-6)
            assert other[key] == expected, (key, mine["step"])
    losses = [[line["rec"] + line["kl"] for line in lines[:10]] for lines in (ours, theirs)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    kept = alone.model.from_pretrained(alone.run.path).state_dict()
    for key, tensor in SentenceVAE.from_pretrained(two.runs / name).state_dict().items():
        assert float((tensor - kept[key]).abs().max()) < 1e-5, key


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_both_see_the_same(two, name):
    assert two.first[name] == two.second[name]


def test_they_decay_have_dropout_of_their_own_and_stop_at_a_loss_not_finite(two):
    assert "decay" in {line.get("verdict") for line in metrics(two.runs / "decaying")}
    masks = RunDirectory.open(two.runs / "plain").load_state()["optimizer"]["masks"]
    assert not masks[0]["cpu"].equal(masks[1]["cpu"])
    assert "not finite at step 2 (epoch 1, batch 2)" in two.second["spoiled"]["error"]


def test_ctrl_c_in_one_stops_both_and_they_resume_to_the_same_result(two):
    assert two.first["dropout-interrupted"]["stopped"] == 4
    assert metrics(two.runs / "dropout-interrupted") == metrics(two.runs / "dropout")
    for name in ("model.safetensors", "tokenizer.json"):
        whole, resumed = (two.runs / run / name for run in ("dropout", "dropout-interrupted"))
        assert whole.read_bytes() == resumed.read_bytes()


def test_another_number_of_processes_does_not_go_on(build, two):
    with pytest.raises(ValueError, match=r"trained in 2 processes .* as many only, got 1"):
        build(two.runs / "dropout")


def test_measures_of_shares_are_those_of_the_whole(two):
    for found in (two.first["measured"], two.second["measured"]):
        for name, value in found["alone"].items():
            assert found["together"][name] == pytest.approx(value, rel=1e-9), name


def test_what_processes_tell_each_other(two):
    first, second = two.first["helpers"], two.second["helpers"]
    for found in (first, second):
        assert found["gathered"] == ["from 0", "from 1"]
        assert found["any"] == [True, False]
        assert found["first"] == "made by 0"
    assert (first["in_turn"], second["in_turn"]) == ("made by 0", "made by 1")
    for how in ("refused_by_first", "refused_in_turn"):
        assert first[how] == "ValueError: no, says 0"
        assert second[how] == "ElsewhereError: another process failed: no, says 0"
    assert (first["calls"], second["calls"]) == (["x"], [])  # the second's turn never came
