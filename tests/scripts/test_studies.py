"""Tests of `remedies.py` and `experiments.py`, with tiny models and without processes."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any
from unittest.mock import Mock

import experiments
import pytest
import remedies
from experiments import Experiment

from tests.scripts.running import assert_refused
from textvae import grammar
from textvae.config import RunConfig
from textvae.model import SentenceVAE
from textvae.recipes import SIZES, combined
from textvae.report import pictures
from textvae.run import RunDirectory

Run = Callable[..., Any]

SCRIPTS = {"remedies": ["grammar"], "experiments": ["beta"]}
"""Each, with the arguments that it must have."""


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is drawn; a picture takes a second, and is not the script's."""
    drawn: list[Any] = []
    draw = lambda path, panels, title: drawn.extend([title, *panels])  # noqa: E731
    monkeypatch.setattr(pictures, "panel_chart", draw)
    return drawn


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--jobs=0", "jobs must be at least 1, got 0"),
        ("--jobs=two", "jobs"),
        ("--seeds=[]", "seeds must be at least one, no two alike, got []"),
        ("--seeds=[0,0]", "seeds must be at least one, no two alike, got [0, 0]"),
        ("--seeds=[a]", "seeds"),
        ("--data-dir=gone.txt", "gone.txt"),
        ("--results-dir=file", "file"),
        ("--sedes=[1]", "sedes"),
        ("--num-samples=0", "num_samples must be at least 1, got 0"),
        ("batchsize", "warmup"),  # what there is
        ("", "experiment"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_trained(run, trained, tmp_path, argument, named):
    (tmp_path / "file").write_text("mine")
    if not argument.startswith("--"):
        assert_refused(run("experiments", *argument.split()), named)
    else:
        assert_refused(run("remedies", "grammar", argument), named)
        if "samples" not in argument:
            assert_refused(run("experiments", "beta", argument), named)
    assert trained == []
    assert (tmp_path / "file").read_text() == "mine"


def test_an_experiment_from_options_to_results(run, trained, tmp_path, monkeypatch):
    betas = {f"β = {beta:g}": {"max_beta": beta} for beta in (0.5, 1.0)}
    whole = experiments.EXPERIMENTS["beta"]
    asked = whole._replace(configurations=betas, values=(0.5, 1.0))
    monkeypatch.setitem(experiments.EXPERIMENTS, "beta", asked)
    monkeypatch.setitem(experiments.SHORTER, "max_epochs", 2)
    command = ("experiments", "beta", "--jobs=1", "--runs-dir=r", "--results-dir=out")
    answer = run(*command, "--seeds=[0,1]")
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

    again = run(*command, "--seeds=[1]")
    assert (again.code, again.err) == (0, "")
    assert len(trained) == 4
    assert len(json.loads((results / "beta.json").read_text())["runs"]) == 2


def row(name: str, seed: int, kl: float) -> dict[str, Any]:
    figures = {"kl": kl, "rec": 1.0, "loss": 9.0, "active": 3}
    return {"name": name, "seed": seed, **figures, "curve": [(1, 9.0, kl), (2, 8.0, kl)]}


def test_options_with_a_scale_are_drawn_over_it(panels, tmp_path):
    rates = {"0.1": {"lr": 0.1}, "0.01": {"lr": 0.01}}
    asked = Experiment("Which learning rate?", rates, (0.1, 0.01), "learning rate")
    rows = [row("0.01", 0, 2.0), row("0.1", 0, 3.0), row("0.1", 1, 5.0), row("0.01", 1, 2.5)]
    experiments.draw(asked, rows, tmp_path / "a.png")
    title, *drawn = panels
    assert title == "Which learning rate?"
    kl, active = drawn[1], drawn[3]
    assert (kl.xlabel, kl.logx) == ("learning rate", True)
    assert kl.curves == {"mean and range over seeds": ([0.01, 0.1], [2.25, 4.0])}
    assert kl.bands == {"mean and range over seeds": ([2.0, 3.0], [2.5, 5.0])}
    assert active.curves["mean and range over seeds"][1] == [3, 3]


@pytest.mark.parametrize("recipe", ["grammar", "ptb"])
@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_is_of_options_that_exist(name, recipe):
    assert f"experiments.py {name} " in str(experiments.__doc__)
    asked = experiments.EXPERIMENTS[name]
    assert asked.question.endswith("?")
    options = [SIZES[recipe] | own for own in asked.configurations.values()]
    configs = [RunConfig.from_flat("any", each) for each in options]
    assert len(set(configs)) == len(configs)  # no two are the same
    if asked.values:
        assert len(asked.values) == len(configs)
        assert all(value > 0 for value in asked.values)  # the scale is logarithmic
        assert asked.axis
    for title, config in zip(asked.configurations, configs, strict=True):
        if name in ("optimizers", "learning-rates"):  # whatever the recipe's own
            kind = title.split(",")[0].lower() if name == "optimizers" else "adam"
            assert config.training.optimizer == kind
            rate = title.split(",")[1] if name == "optimizers" else title
            assert config.training.lr == float(rate)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"language model": {"latent_dim": 0}, "vanilla": {"annealer": "constant"}}
    monkeypatch.setattr(remedies, "ROWS", rows)


COMMAND = ("remedies", "grammar", "--num-samples=2", "--jobs=1", "--runs-dir=r", "--results-dir=o")


@pytest.mark.usefixtures("two")
def test_remedies_from_options_to_results(run, trained, tmp_path):
    answer = run(*COMMAND, "--seeds=[0,1]")
    assert answer.code == 0, answer.err
    names = "latent_dim=0", "annealer=constant"
    assert trained == [f"{name},seed={seed}" for seed in (0, 1) for name in names]

    results = tmp_path / "o" / "grammar"
    names = {"remedies.json", "remedies.md", "remedies.png"}
    assert {path.name for path in results.iterdir()} == names
    content = json.loads((results / "remedies.json").read_text())
    assert content["entropy"] == pytest.approx(grammar.entropy())
    rows = content["runs"]
    expected = [(name, seed) for name in ("language model", "vanilla") for seed in (0, 1)]
    assert [(row["name"], row["seed"]) for row in rows] == expected
    for row in rows:
        assert row["loss"] == pytest.approx(row["rec"] + row["kl"])
        assert row["mismatch"] == pytest.approx(row["kl"] - row["mi"])
        assert row["above_entropy"] == pytest.approx(row["nll"] - grammar.entropy())
        assert (row["split"], row["num_samples"]) == ("test", 2)
        assert row["minutes"] >= 0
    floor, model = rows[0], rows[2]
    assert model["factor_accuracy"] == pytest.approx(fmean(model["factors"].values()))
    assert (floor["kl"], floor["factor_accuracy"]) == (0, None)

    text = (results / "remedies.md").read_text()
    assert answer.out == f"{text}\n"
    lines = text.split("\n")
    assert lines[0].startswith("`python scripts/remedies.py grammar`: test split, nats per sent")
    assert f"is {grammar.entropy():.2f}" in lines[0]
    recs = [row["rec"] for row in rows[2:]]
    assert lines[4].startswith("| language model | 2 | ")
    assert lines[5].startswith(f"| vanilla | 2 | {fmean(recs):.2f} ± {stdev(recs):.2f} | ")


@pytest.mark.usefixtures("two")
def test_rows_that_results_hold_are_not_trained_again(run, trained, tmp_path, monkeypatch):
    assert run(*COMMAND, "--seeds=[0]", "--rows=[vanilla]").code == 0
    shutil.rmtree(tmp_path / "r")  # as in a fresh checkout
    assert run(*COMMAND, "--seeds=[0]").code == 0
    assert trained == ["annealer=constant,seed=0", "latent_dim=0,seed=0"]
    # Of other options, a row is another.
    monkeypatch.setitem(remedies.ROWS, "vanilla", {"annealer": "cosine"})
    assert run(*COMMAND, "--seeds=[0]", "--rows=[vanilla]").code == 0
    assert trained[2:] == ["annealer=cosine,seed=0"]
    rows = json.loads((tmp_path / "o" / "grammar" / "remedies.json").read_text())["runs"]
    assert [row["name"] for row in rows] == ["language model", "vanilla"]
    assert rows[1]["options"] == {"annealer": "cosine"}


def test_recipes_can_be_put_together_in_a_row():
    together = remedies.options_of("pool+bow", "grammar")
    assert together == {**combined("pool"), **combined("bow")}
    assert remedies.options_of("pretrain", "ptb")["free_bits"] == 5 / 32  # as published
    assert remedies.options_of("pretrain", "grammar") == combined("pretrain")


@pytest.mark.parametrize("name", [name for name in remedies.ON_PTB if name.endswith("+wide")])
def test_wide_rows_have_at_most_six_million_parameters(name):
    options = SIZES["ptb"] | remedies.options_of(name, "ptb")
    config = RunConfig.from_flat("ptb", options).model
    model = SentenceVAE(10_002, **dataclasses.asdict(config))
    assert 5e6 < sum(weights.numel() for weights in model.parameters()) <= 6e6
    plain = remedies.options_of(name.removesuffix("+wide"), "ptb")
    assert options == SIZES["ptb"] | plain | remedies.WIDE


@pytest.mark.usefixtures("two")
def test_a_diagnosis_cut_short_is_not_kept(run, trained, tmp_path, monkeypatch):
    press = Mock(side_effect=KeyboardInterrupt)
    command = (*COMMAND, "--seeds=[0]", "--rows=[vanilla]")
    with monkeypatch.context() as patch:
        patch.setattr("textvae.diagnostics.diagnosis.importance_nll", press)
        assert run(*command).code == 130
    path = tmp_path / "r" / "grammar" / "annealer=constant,seed=0"
    assert (path / "results.json").exists()
    assert not list(path.glob("diagnosis*"))
    assert not (tmp_path / "o" / "grammar" / "remedies.json").exists()
    assert run(*command).code == 0
    assert (path / "diagnosis-2.json").exists()


def test_minutes_are_of_all_phases(tmp_path):
    for path, seconds in ((tmp_path / "run", 60), (tmp_path / "run" / "autoencoder", 30)):
        run = RunDirectory.create(path, RunConfig.from_flat("any", {}))
        run.log({"split": "valid", "step": 1, "epoch": 1, "seconds": seconds})
    assert remedies.minutes(tmp_path / "run") == 1.5


def test_the_picture_shows_kl_over_training_and_rec_against_kl(panels, tmp_path):
    rows = [
        {"name": "linear", "kl": 2.0, "rec": 20.0, "curve": [(10, 1.0, 4), (20, 2.0, 5)]},
        {"name": "linear", "kl": 3.0, "rec": 19.0, "curve": [(10, 3.0, 4), (20, 2.0, 6)]},
        {"name": "language model", "kl": 0.0, "rec": 25.0, "curve": [(10, 0.0, 0)]},
    ]
    remedies.draw(rows, 24.0, tmp_path / "a.png")
    _, kl, plane = panels
    assert kl.curves == {"linear": ([10, 20], [2.0, 2.0])}
    assert kl.bands == {"linear": ([1.0, 2.0], [3.0, 2.0])}
    assert plane.curves["linear"] == ([2.0, 3.0], [20.0, 19.0])
    assert plane.curves["_entropy"] == ([0.0, 3.0], [24.0, 21.0])
