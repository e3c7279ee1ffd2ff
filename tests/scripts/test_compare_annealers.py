"""Tests of `scripts/compare_annealers.py`, with tiny models and without processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from tests.scripts.running import assert_refused
from textvae import grammar
from textvae.config import RunConfig
from textvae.recipes import RECIPES, SweptRun
from textvae.report import pictures
from textvae.run import RunDirectory

Study = Callable[[str], tuple[Any, Callable[..., Any]]]

TWO = {"no annealing": {"annealer": "constant"}, "language model": {"latent_dim": 0}}


def test_the_study_from_options_to_results(
    study: Study, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, run = study("compare_annealers")
    monkeypatch.setattr(script, "CONFIGURATIONS", TWO)
    answer = run("--seeds=[0,1]", "--num-samples=2", "--jobs=1", "--runs-dir=r", "--results-dir=o")
    assert answer.code == 0, answer.err
    runs = [f"{name},seed={s}" for name in ("annealer=constant", "latent_dim=0") for s in (0, 1)]
    assert trained == runs
    for name in runs:
        assert (tmp_path / "r" / "grammar" / name / "results.json").exists()

    results = tmp_path / "o" / "grammar"
    names = ["annealers.json", "annealers.md", "annealers.png"]
    assert sorted(p.name for p in results.iterdir()) == names
    assert (results / "annealers.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((results / "annealers.json").read_text())
    assert content["entropy"] == pytest.approx(grammar.entropy())
    rows = content["runs"]
    assert [(row["name"], row["seed"]) for row in rows] == [(n, s) for n in TWO for s in (0, 1)]
    for row in rows:
        assert row["loss"] == pytest.approx(row["rec"] + row["kl"])
        assert row["above_entropy"] == pytest.approx(row["nll"] - grammar.entropy())
        assert (row["split"], row["num_samples"]) == ("test", 2)
    model, floor = rows[0], rows[2]
    accuracies = list(model["factors"].values())
    assert model["factor_accuracy"] == pytest.approx(fmean(accuracies))
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

    again = run("--seeds=[0]", "--num-samples=2", "--runs-dir=r", "--results-dir=o")
    assert (again.code, again.err) == (0, "")
    assert len(trained) == 4


def test_other_samples_are_another_measurement_of_the_same_run(
    study: Study, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, run = study("compare_annealers")
    monkeypatch.setattr(script, "CONFIGURATIONS", {"linear": {"annealer": "linear"}})
    weights = tmp_path / "runs" / "experiments" / "grammar" / "seed=0" / "model.safetensors"
    found, times = {}, set()
    for num_samples in (1, 3):
        assert run("--seeds=[0]", f"--num-samples={num_samples}").code == 0
        content = json.loads((tmp_path / "results" / "grammar" / "annealers.json").read_text())
        found[num_samples] = content["runs"][0]
        times.add(weights.stat().st_mtime_ns)
    assert trained == ["seed=0", "seed=0"]
    assert len(times) == 1  # trained once
    assert found[1]["rec"] == found[3]["rec"]
    assert found[1]["nll"] != found[3]["nll"]
    assert [found[k]["num_samples"] for k in found] == [1, 3]


def test_a_corpus_of_ones_own_has_neither_entropy_nor_factors(
    study: Study, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "grammar"  # only named so
    corpus.mkdir()
    lines = [sentence.text for sentence in grammar.sample(50, seed=3)]
    (corpus / "train.txt").write_text("\n".join(lines[:40]))
    (corpus / "valid.txt").write_text("\n".join(lines[40:]))
    script, run = study("compare_annealers")
    tiny = {"embedding_dim": 4, "encoder_hidden_size": 4, "decoder_hidden_size": 4, "max_epochs": 1}
    monkeypatch.setattr(script, "CONFIGURATIONS", {"linear": {**tiny, "latent_dim": 2}})
    answer = run(f"--data-dir={corpus}", "--seeds=[0]", "--num-samples=1")
    assert answer.code == 0, answer.err
    content = json.loads((tmp_path / "results" / "grammar" / "annealers.json").read_text())
    row = content["runs"][0]
    assert (content["entropy"], row["above_entropy"], row["factor_accuracy"]) == (None,) * 3
    assert answer.out.startswith("Valid split, ")  # there is no test split
    assert "entropy" not in answer.out.split("\n")[0]


def test_a_diagnosis_cut_short_is_not_kept(
    study: Study, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, run = study("compare_annealers")
    monkeypatch.setattr(script, "CONFIGURATIONS", {"linear": {}})

    def press(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("textvae.diagnostics.diagnosis.importance_nll", press)
        assert run("--seeds=[0]", "--num-samples=1").code == 130
    path = tmp_path / "runs" / "experiments" / "grammar" / "seed=0"
    assert (path / "results.json").exists()
    assert not list(path.glob("diagnosis*"))
    assert run("--seeds=[0]", "--num-samples=1").code == 0
    assert (path / "diagnosis-1.json").exists()


def test_the_kl_after_warm_up_is_that_of_the_first_epoch_at_full_weight(
    study: Study, tmp_path: Path
) -> None:
    script, _ = study("compare_annealers")
    config = RunConfig.from_flat("any", {"warmup_epochs": 1.5, "max_epochs": 3})
    run = RunDirectory.create(tmp_path / "run", config)
    keys = ("rec", "elbo", "nll", "nll_se", "ppl", "mi", "mi_max", "au")
    found = {**dict.fromkeys(keys, 1.0), "kl": 0.5, "verdict": {}, "split": "test", "factors": []}
    (run.path / "diagnosis-7.json").write_text(json.dumps(found))
    swept, seen = SweptRun("a", 0, run), []
    for epoch, kl in enumerate((3.0, 2.0, 1.0), 1):
        run.log({"split": "valid", "step": 10 * epoch, "epoch": epoch, "kl": kl, "au": epoch})
        seen.append(script.figures(swept, 7, None)["kl_after_warmup"])
    assert seen == [None, 2.0, 2.0]
    assert script.figures(swept, 7, 0.25)["above_entropy"] == 0.75
    assert script.figures(swept, 7, None)["curve"] == [(10, 3.0, 1), (20, 2.0, 2), (30, 1.0, 3)]


def test_the_picture_shows_kl_and_active_units_of_all_that_have_a_latent(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(pictures, "panel_chart", lambda path, panels, title: drawn.extend(panels))
    script, _ = study("compare_annealers")
    rows = [
        {"name": "linear", "curve": [(10, 1.0, 4), (20, 2.0, 5)]},
        {"name": "linear", "curve": [(10, 3.0, 4), (20, 2.0, 6)]},
        {"name": "language model, no word dropout", "curve": [(10, 0.0, 0)]},
    ]
    script.draw(rows, tmp_path / "a.png")
    kl, units = drawn
    assert kl.curves == {"linear": ([10, 20], [2.0, 2.0])}
    assert kl.bands == {"linear": ([1.0, 2.0], [3.0, 2.0])}
    assert units.curves == {"linear": ([10, 20], [4, 5.5])}
    assert (kl.ylabel, units.ylabel) == ("KL, nats per sentence", "active units")


@pytest.mark.parametrize("recipe", ["grammar", "ptb"])
def test_the_configurations_are_of_options_that_exist(study: Study, recipe: str) -> None:
    script, _ = study("compare_annealers")
    for name, options in script.CONFIGURATIONS.items():
        config = RunConfig.from_flat("any", {**RECIPES[recipe], **options})
        assert (config.model.latent_dim == 0) == name.startswith("language model")
        if name in ("linear", "sigmoid", "cosine", "cyclical"):
            assert config.training.annealer == name


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--num-samples=0", "num_samples must be at least 1, got 0"),
        ("--num-samples=many", "num_samples"),
    ],
)
def test_wrong_samples_are_refused_before_anything_is_trained(
    study: Study, trained: list[str], argument: str, named: str
) -> None:
    _, run = study("compare_annealers")
    assert_refused(run(argument), named)
    assert trained == []
