"""Tests of `scripts/experiments.py`, with tiny models and without processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.running import assert_refused
from textvae.config import RunConfig
from textvae.files import write_json
from textvae.recipes import RECIPES
from textvae.report import pictures
from textvae.run import RunDirectory

Study = Callable[[str], tuple[Any, Callable[..., Any]]]


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is drawn; a picture takes a second, and is not the script's."""
    drawn: list[Any] = []

    def draw(path: Path, panels: list[pictures.Panel], *, title: str) -> None:
        drawn[:] = [title, *panels]
        path.write_bytes(b"picture")

    monkeypatch.setattr(pictures, "panel_chart", draw)
    return drawn


def test_an_experiment_from_options_to_results(
    study: Study, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, run = study("experiments")
    asked = script.beta([0.5, 1.0])
    monkeypatch.setattr(script, "EXPERIMENTS", {**script.EXPERIMENTS, "beta": lambda: asked})
    answer = run("beta", "--seeds=[0,1]", "--jobs=1", "--runs-dir=r", "--results-dir=out")
    assert answer.code == 0
    assert trained == ["max_beta=0.5,seed=0", "max_beta=0.5,seed=1", "seed=0", "seed=1"]
    assert (tmp_path / "r" / "grammar" / "seed=1" / "results.json").exists()

    results = tmp_path / "out" / "grammar"
    assert sorted(p.name for p in results.iterdir()) == ["beta.json", "beta.md", "beta.png"]
    assert (results / "beta.png").read_bytes().startswith(b"\x89PNG")
    text = (results / "beta.md").read_text()
    assert answer.out == f"{text}\nwritten: out/grammar/beta.md, .json, .png\n"
    head, empty, columns, _, half, one, end = text.split("\n")
    assert head.startswith("What does a KL weight other than 1 do? Validation data, nats per sent")
    assert (empty, end) == ("", "")
    assert columns == "|  | seeds | rec | KL | −ELBO | AU | active dims |"
    assert half.startswith("| β = 0.5 | 2 | ")
    assert one.startswith("| β = 1 | 2 | ")

    content = json.loads((results / "beta.json").read_text())
    assert content["question"] == asked.question
    for row, name in zip(content["runs"], trained, strict=True):
        kept = RunDirectory.open(tmp_path / "r" / "grammar" / name).kept_evaluation()
        assert [row[k] for k in ("rec", "kl", "epoch")] == [kept[k] for k in ("rec", "kl", "epoch")]
        assert row["loss"] == -kept["elbo"] == pytest.approx(kept["rec"] + kept["kl"])
        assert [point[0] for point in row["curve"]] == [1, 2]
        assert row["curve"][kept["epoch"] - 1][1:] == [-kept["elbo"], kept["kl"]]

    again = run("beta", "--seeds=[1]", "--runs-dir=r", "--results-dir=out")
    assert (again.code, again.err) == (0, "")
    assert len(trained) == 4
    assert len(json.loads((results / "beta.json").read_text())["runs"]) == 2


def row(name: str, seed: int, kl: float) -> dict[str, Any]:
    curve = [(1, 9.0, kl), (2, 8.0, kl)]
    return {
        "name": name,
        "seed": seed,
        "kl": kl,
        "rec": 1.0,
        "loss": 9.0,
        "active": 3,
        "curve": curve,
    }


def test_options_with_a_scale_are_drawn_over_it(
    study: Study, panels: list[Any], tmp_path: Path
) -> None:
    script, _ = study("experiments")
    asked = script.learning_rates([0.1, 0.01])
    rows = [row("0.01", 0, 2.0), row("0.1", 0, 3.0), row("0.1", 1, 5.0), row("0.01", 1, 2.5)]
    script.draw(asked, rows, tmp_path / "a.png")
    title, rec, kl, loss, active = panels
    assert title == "Which learning rate?"
    assert [p.ylabel for p in (rec, kl, loss, active)] == [
        "rec, nats",
        "KL, nats",
        "−ELBO, nats",
        "active dimensions",
    ]
    assert (kl.xlabel, kl.logx) == ("learning rate", True)
    assert kl.curves == {"mean and range over seeds": ([0.01, 0.1], [2.25, 4.0])}
    assert kl.bands == {"mean and range over seeds": ([2.0, 3.0], [2.5, 5.0])}
    assert active.curves["mean and range over seeds"][1] == [3, 3]


def test_options_without_a_scale_are_drawn_over_training(
    study: Study, panels: list[Any], tmp_path: Path
) -> None:
    script, _ = study("experiments")
    rows = [row("Adam", 0, 2.0), row("SGD", 0, 1.0), row("Adam", 1, 4.0)]
    script.draw(script.optimizers(), rows, tmp_path / "a.png")
    _, loss, kl = panels
    assert (loss.xlabel, loss.ylabel, kl.ylabel) == ("epoch", "−ELBO, nats", "KL, nats")
    assert kl.curves == {"Adam": ([1, 2], [3.0, 3.0]), "SGD": ([1, 2], [1.0, 1.0])}
    assert kl.bands["Adam"] == ([2.0, 2.0], [4.0, 4.0])
    assert loss.curves["SGD"] == ([1, 2], [9.0, 8.0])


@pytest.mark.parametrize("recipe", ["grammar", "ptb"])
@pytest.mark.parametrize(
    "name", ["warmup", "beta", "optimizers", "learning-rates", "free-bits"]
)  # fmt: skip
def test_every_experiment_is_of_options_that_exist(study: Study, name: str, recipe: str) -> None:
    script, _ = study("experiments")
    assert name in script.__doc__
    asked = script.EXPERIMENTS[name]()
    assert asked.question.endswith("?")
    configs = [
        RunConfig.from_flat("any", {**RECIPES[recipe], **options})
        for options in asked.configurations.values()
    ]
    assert len(set(configs)) == len(configs)  # no two are the same
    if asked.values is not None:
        assert len(asked.values) == len(configs)
        assert all(value > 0 for value in asked.values)  # the scale is logarithmic
        assert asked.axis
    for title, config in zip(asked.configurations, configs, strict=True):
        if name in ("optimizers", "learning-rates"):  # whatever the recipe's own
            kind = title.split(",")[0].lower() if name == "optimizers" else "adam"
            assert config.training.optimizer == kind
            rate = title.split(",")[1] if name == "optimizers" else title
            assert config.training.lr == float(rate)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["batchsize"], "warmup"),  # what there is
        ([], "experiment"),
    ],
)
def test_an_experiment_that_is_not_there_is_refused(
    study: Study, trained: list[str], arguments: list[str], named: str
) -> None:
    _, run = study("experiments")
    assert_refused(run(*arguments), named)
    assert trained == []


def test_runs_of_another_recipe_are_not_taken_for_these(
    study: Study, trained: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "runs" / "experiments" / "grammar" / "seed=0"
    RunDirectory.create(path, RunConfig.from_flat("grammar", {"latent_dim": 9}))
    write_json(path / "results.json", {})
    _, run = study("experiments")
    answer = run("optimizers", "--seeds=[0]")
    assert answer.code == 2
    assert "trained on another corpus or with other options" in answer.err
    assert trained == []
