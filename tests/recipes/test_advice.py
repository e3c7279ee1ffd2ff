"""Advice after a diagnosed run: a command that does what it says, and an end to it."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.recipes.making import OPTIONS
from textvae import recipes
from textvae.cli import main
from textvae.config import RunConfig
from textvae.recipes import LoadedRun
from textvae.recipes.advice import next_step
from textvae.run import RunDirectory

LACKING = {**OPTIONS, "max_epochs": 1, "annealer": "constant", "log_every": 7}
LEFT_OUT = {"log_every": 50}  # changes no result


@pytest.fixture(scope="module")
def trained(corpus: Any, tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    path = tmp_path_factory.mktemp("runs") / "a run"
    recipes.start(corpus, LACKING, path).fit()
    return LoadedRun.open(path, "valid")


def advised(trained: LoadedRun, verdict: str, **options: Any) -> str | None:
    """What is advised where a run of these options has that verdict."""
    run = RunDirectory.open(trained.run.path)
    run.config = RunConfig.from_flat(run.config.data_source, run.config.flat() | options)
    diagnosis = SimpleNamespace(verdict=SimpleNamespace(verdict=verdict))
    return next_step(replace(trained, run=run, diagnosis=diagnosis))


def configured(advice: str, path: Path) -> dict[str, Any]:
    """The options of the run that the command in an advice begins."""
    command = shlex.split(advice[advice.index("textvae train") :].split(". They")[0])
    assert main([*command[1:], "--output-dir", str(path), "--max-steps", "1"]) == 0
    return RunDirectory.open(path).config.flat()


@pytest.mark.parametrize("verdict", ["collapsed", "partly collapsed"])
def test_remedies_that_a_run_lacks_are_added_to_what_it_had(trained, tmp_path, verdict):
    advice = advised(trained, verdict, bag_of_words=0.1)
    found, own = configured(advice, tmp_path / "next"), trained.config.flat()
    expected = own | recipes.combined("linear+default") | LEFT_OUT | {"max_steps": 1}
    assert found == expected | {"latent_dim": own["latent_dim"]}
    assert f"textvae diagnose {shlex.quote(str(trained.run.path))} NEW" in advice
    # Followed, and still not healthy: no more of the same.
    again = advised(trained, verdict, **recipes.combined("default"), max_epochs=2)
    assert "textvae tune" in again
    assert "textvae train" not in again
    assert "--resume" in advised(trained, verdict, **recipes.combined("default"))


def test_a_floor_that_is_too_high_is_halved_and_no_more_raised(trained, tmp_path):
    found = configured(advised(trained, "autoencoder", free_bits=8.0), tmp_path / "next")
    assert found == trained.config.flat() | LEFT_OUT | {"free_bits": 4.0, "max_steps": 1}
    assert "--max-beta 1" in advised(trained, "autoencoder", free_bits=8.0, max_beta=0.5)
    assert "textvae tune" in advised(trained, "autoencoder")


def test_a_run_that_still_improved_goes_on(trained):
    advice = advised(trained, "healthy")
    command = shlex.split(advice[advice.index("textvae train") :])
    assert main(command[1:]) == 0
    assert RunDirectory.open(trained.run.path).evaluations()[-1]["epoch"] == 2
    assert advised(trained, "healthy", max_epochs=3) is None  # it ended for another reason


@pytest.mark.parametrize("verdict", ["healthy", "partly collapsed", "autoencoder"])
def test_a_run_cut_while_beta_rose_goes_on_first(corpus, tmp_path, verdict):
    tried = recipes.combined("default")  # nothing else is left to add
    for limit, longer in ({"max_steps": 2}, "--max-steps 4"), ({"max_epochs": 1}, "--max-epochs 2"):
        path = tmp_path / longer
        recipes.start(corpus, {**OPTIONS, "warmup_epochs": 4.0, **limit}, path).fit()
        advice = advised(LoadedRun.open(path, "valid"), verdict, **tried, annealer="linear")
        assert advice.startswith("β had come to 0.")
        assert advice.endswith(f"--output-dir {shlex.quote(str(path))} --resume {longer}")
    lines = (path / "metrics.jsonl").read_text()
    for beta in ("", '"beta": 1.245, '):  # of an older run, and as the last step of a rise has it
        (path / "metrics.jsonl").write_text(re.sub('"beta": [^,]+, ', beta, lines))
        advice = advised(LoadedRun.open(path, "valid"), verdict, **tried, annealer="linear")
        assert "β had come" not in advice


def test_a_model_alone_has_no_log_to_go_by(trained, tmp_path):
    alone = shutil.copytree(trained.run.path, tmp_path / "alone")
    (alone / "metrics.jsonl").unlink()
    tried = recipes.combined("default")
    assert "textvae tune" in advised(LoadedRun.open(alone, "valid"), "collapsed", **tried)
    assert advised(LoadedRun.open(alone, "valid"), "healthy") is None


def test_a_search_reads_the_data_as_the_run_did(trained):
    tried = {**recipes.combined("default"), "max_epochs": 9, "text_field": "my review"}
    advice = advised(trained, "collapsed", **tried)
    assert "--text-field 'my review'" in advice[advice.index("textvae tune") :]


@pytest.mark.parametrize("verdict", ["broken", "never trained", "language model"])
def test_else_the_verdict_says_it(trained, verdict):
    assert advised(trained, verdict) is None


def test_a_diagnosis_passes_it_on(trained, monkeypatch):
    monkeypatch.setattr("textvae.recipes.measured.next_step", lambda run: f"Look at {run.name}.")
    found = recipes.diagnose_run(trained.run.path, "valid", num_samples=2).diagnosis
    assert found.verdict.advice == "Look at a run."
