"""Tests of `compare_annealers.py` and `experiments.py`, with tiny models and without processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import compare_annealers
import experiments
import pytest
from experiments import Experiment

from tests.scripts.running import assert_refused
from tests.sizes import TINY
from textvae import grammar
from textvae.config import RunConfig
from textvae.files import write_json
from textvae.recipes import RECIPES, SweptRun
from textvae.report import pictures
from textvae.run import RunDirectory

Run = Callable[..., Any]

SCRIPTS = {"compare_annealers": [], "experiments": ["beta"]}
"""Each, with the arguments that it must have."""


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is drawn; a picture takes a second, and is not the script's."""
    drawn: list[Any] = []
    monkeypatch.setattr(
        pictures, "panel_chart", lambda path, panels, title: drawn.extend([title, *panels])
    )
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
def test_wrong_input_is_refused_before_anything_is_trained(
    run: Run, trained: list[str], tmp_path: Path, argument: str, named: str
) -> None:
    (tmp_path / "file").write_text("mine")
    if not argument.startswith("--"):
        assert_refused(run("experiments", *argument.split()), named)
    else:
        assert_refused(run("compare_annealers", argument), named)
        if "samples" not in argument:
            assert_refused(run("experiments", "beta", argument), named)
    assert trained == []
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_missing_matplotlib_is_noticed_before_training(
    run: Run, trained: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert_refused(run(name, *SCRIPTS[name]), 'pip install "textvae[plot]"')
    assert trained == []


def test_an_experiment_from_options_to_results(
    run: Run, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = experiments.EXPERIMENTS["beta"]._replace(
        configurations={f"β = {b:g}": {"max_beta": b} for b in (0.5, 1.0)}, values=(0.5, 1.0)
    )
    monkeypatch.setitem(experiments.EXPERIMENTS, "beta", asked)
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


def test_options_with_a_scale_are_drawn_over_it(panels: list[Any], tmp_path: Path) -> None:
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
def test_every_experiment_is_of_options_that_exist(name: str, recipe: str) -> None:
    assert f"experiments.py {name} " in str(experiments.__doc__)
    asked = experiments.EXPERIMENTS[name]
    assert asked.question.endswith("?")
    configs = [
        RunConfig.from_flat("any", {**RECIPES[recipe], **options})
        for options in asked.configurations.values()
    ]
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


def test_the_comparison_from_options_to_results(
    run: Run, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {"no annealing": {"annealer": "constant"}, "language model": {"latent_dim": 0}}
    monkeypatch.setattr(compare_annealers, "CONFIGURATIONS", two)
    command = ("compare_annealers", "--num-samples=2", "--jobs=1", "--runs-dir=r")
    answer = run(*command, "--seeds=[0,1]", "--results-dir=o")
    assert answer.code == 0, answer.err
    runs = [f"{name},seed={s}" for name in ("annealer=constant", "latent_dim=0") for s in (0, 1)]
    assert trained == runs
    results = tmp_path / "o" / "grammar"
    content = json.loads((results / "annealers.json").read_text())
    assert content["entropy"] == pytest.approx(grammar.entropy())
    rows = content["runs"]
    assert [(row["name"], row["seed"]) for row in rows] == [(n, s) for n in two for s in (0, 1)]
    for row in rows:
        assert row["loss"] == pytest.approx(row["rec"] + row["kl"])
        assert row["above_entropy"] == pytest.approx(row["nll"] - grammar.entropy())
        assert (row["split"], row["num_samples"]) == ("test", 2)
    model, floor = rows[0], rows[2]
    assert model["factor_accuracy"] == pytest.approx(fmean(model["factors"].values()))
    assert (floor["kl"], floor["factor_accuracy"]) == (0, None)

    text = (results / "annealers.md").read_text()
    assert answer.out == f"{text}\nwritten: o/grammar/annealers.md, .json, .png\n"
    lines = text.split("\n")
    assert lines[0] == (
        "Test split, nats per sentence, mean ± sd over seeds; IW-NLL from 2 importance samples; "
        f"the corpus' entropy, which no model can go below, is {grammar.entropy():.2f}; factors: "
        "mean accuracy of linear probes of z, where always naming the commonest value is right in "
        f"{model['factor_majority']:.2f}."
    )
    recs = [row["rec"] for row in rows[:2]]
    assert lines[4].startswith(f"| no annealing | 2 | {fmean(recs):.2f} ± {stdev(recs):.2f} | ")
    assert lines[5].startswith("| language model | 2 | ")

    # Other samples are another measurement of the same run.
    other = ("compare_annealers", "--num-samples=3", "--runs-dir=r", "--seeds=[0]")
    assert run(*other, "--results-dir=o").code == 0
    first = json.loads((results / "annealers.json").read_text())["runs"][0]
    assert first["rec"] == rows[0]["rec"]
    assert first["nll"] != rows[0]["nll"]


def test_a_corpus_of_ones_own_has_neither_entropy_nor_factors(
    run: Run, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "grammar"  # only named so
    corpus.mkdir()
    lines = [sentence.text for sentence in grammar.sample(50, seed=3)]
    (corpus / "train.txt").write_text("\n".join(lines[:40]))
    (corpus / "valid.txt").write_text("\n".join(lines[40:]))
    options = {**TINY, "max_epochs": 1}
    monkeypatch.setattr(compare_annealers, "CONFIGURATIONS", {"linear": options})
    answer = run("compare_annealers", f"--data-dir={corpus}", "--seeds=[0]", "--num-samples=1")
    assert answer.code == 0, answer.err
    content = json.loads((tmp_path / "results" / "grammar" / "annealers.json").read_text())
    row = content["runs"][0]
    assert (content["entropy"], row["above_entropy"], row["factor_accuracy"]) == (None,) * 3
    assert answer.out.startswith("Valid split, ")  # there is no test split
    assert "entropy" not in answer.out.split("\n")[0]


def test_the_kl_after_warm_up_is_that_of_the_first_epoch_at_full_weight(tmp_path: Path) -> None:
    config = RunConfig.from_flat("any", {"warmup_epochs": 1.5, "max_epochs": 3})
    run = RunDirectory.create(tmp_path / "run", config)
    keys = ("rec", "elbo", "nll", "nll_se", "ppl", "mi", "mi_max", "au")
    found = {**dict.fromkeys(keys, 1.0), "kl": 0.5, "verdict": {}, "split": "test", "factors": []}
    write_json(run.path / "diagnosis-7.json", found)
    swept, seen = SweptRun("a", 0, run), []
    for epoch, kl in enumerate((3.0, 2.0, 1.0), 1):
        run.log({"split": "valid", "step": 10 * epoch, "epoch": epoch, "kl": kl, "au": epoch})
        seen.append(compare_annealers.figures(swept, 7, None)["kl_after_warmup"])
    assert seen == [None, 2.0, 2.0]
    assert compare_annealers.figures(swept, 7, 0.25)["above_entropy"] == 0.75
    curve = compare_annealers.figures(swept, 7, None)["curve"]
    assert curve == [(10, 3.0, 1), (20, 2.0, 2), (30, 1.0, 3)]
