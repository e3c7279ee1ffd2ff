"""Tests of `textvae.recipes.sweep`: most of them without a process, a few with real ones."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.making import OPTIONS, left_behind
from textvae import recipes
from textvae.config import RunConfig
from textvae.recipes import SweepError, finish, open_corpus, sweep
from textvae.run import RunDirectory


@pytest.fixture(scope="session")
def source(text_file: Path) -> str:
    return str(text_file)


def test_every_configuration_is_trained_with_every_seed(source, tmp_path, spawned):
    configurations = {"β of a half": {"max_beta": 0.5}, "as it is": {}}
    swept = sweep(source, OPTIONS, configurations, [4, 0], tmp_path / "runs")
    names = ["max_beta=0.5,seed=4", "max_beta=0.5,seed=0", "seed=4", "seed=0"]
    assert spawned == [run.path.name for _, _, run in swept] == names
    asked = [(name, seed) for name in configurations for seed in (4, 0)]
    assert [(name, seed) for name, seed, _ in swept] == asked
    for name, seed, run in swept:
        stored = RunDirectory.open(run.path).config
        options = {**OPTIONS, **configurations[name], "seed": seed}
        assert stored == run.config == RunConfig.from_flat(stored.data_source, options)
    # A run is that of its options alone.
    corpus = open_corpus(source, stored.data)
    recipes.start(corpus, options, tmp_path / "alone").fit()
    finish(tmp_path / "alone")
    assert left_behind(run.path) == left_behind(tmp_path / "alone")


def note(path: Path) -> None:
    (path / "notes.txt").write_text("done")


def test_what_is_done_is_not_done_again(source, tmp_path, spawned, capsys):
    def call(**configurations: dict[str, Any]) -> list[Path]:
        swept = sweep(source, OPTIONS, configurations, [0], tmp_path)
        return [run.path for _, _, run in swept]

    first = call(a={}, b={"lr": 0.5})
    assert spawned == ["seed=0", "lr=0.5,seed=0"]
    capsys.readouterr()
    assert call(b={"lr": 0.5}, c={}) == first[::-1]
    assert capsys.readouterr() == ("", "")  # nor is there anything to watch
    # What is said though it is so anyway makes no other run, nor do two names of the same.
    one, same, _ = call(c={"lr": 1e-3, "latent_dim": 3}, d={}, e={"lr": 0.25})
    assert one == same == first[0]
    assert spawned[2:] == ["lr=0.25,seed=0"]
    # A run without what it should leave is gone on with, and not trained again.
    weights = (first[0] / "model.safetensors").stat().st_mtime_ns
    for _ in range(2):
        sweep(source, OPTIONS, {"a": {}}, [0], tmp_path, afterwards=note, leaves="notes.txt")
    assert spawned[3:] == ["seed=0"]
    assert (first[0] / "model.safetensors").stat().st_mtime_ns == weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 2, 1]}, r"seeds must be at least one, no two alike, got \[1, 2, 1\]"),
        ({"base": {"latent_dims": 3}}, "unknown options: latent_dims"),
        ({"configurations": {"a": {}, "b": {"betas": 1}}}, "unknown options: betas"),
        ({"configurations": {"a": {}, "b": {"lr": 0.0}}}, r"lr must be in \(0, inf\), got 0.0"),
    ],
)
def test_wrong_input_is_refused_before_training(source, tmp_path, spawned, change, message):
    call = {"source": source, "base": OPTIONS, "configurations": {"a": {}}, "seeds": [0]} | change
    with pytest.raises(ValueError, match=message):
        sweep(directory=tmp_path / "runs", **call)
    assert spawned == []
    assert not (tmp_path / "runs").exists()


def test_a_directory_of_other_runs_is_refused(source, tmp_path, spawned):
    sweep(source, OPTIONS, {"a": {}}, [0], tmp_path / "runs")
    other = tmp_path / "other.txt"
    other.write_bytes(Path(source).read_bytes())
    before = left_behind(tmp_path / "runs" / "seed=0")
    for changed in ((source, {**OPTIONS, "lr": 0.5}), (str(other), OPTIONS)):
        with pytest.raises(ValueError, match="seed=0 was trained on another corpus or with other"):
            sweep(*changed, {"b": {"max_beta": 0.5}, "a": {}}, [0], tmp_path / "runs")
    assert spawned == ["seed=0"]
    assert left_behind(tmp_path / "runs" / "seed=0") == before


def tell_and_fail(path: Path) -> None:
    """What a process finds itself in."""
    told = {
        "threads": torch.get_num_threads(),
        "leads its group": os.getpgrp() == os.getpid(),
        "held back": [int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "handler": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    }
    (path / "told.json").write_text(json.dumps(told))
    raise RuntimeError("this is why")


def test_a_failing_run_names_its_log_and_ends_the_others(source, tmp_path):
    longer = {"max_epochs": 10**6, "lr_patience": 10**6}
    configurations: dict[str, Any] = {"a": {}, "longer": longer, "c": {"lr": 0.5}}
    options: dict[str, Any] = {"jobs": 2, "afterwards": tell_and_fail}
    said = r"/seed=0 ended with exit code 1: .*/seed=0\.log says why. .* the same command goes on"
    with pytest.raises(SweepError, match=said):
        sweep(source, OPTIONS, configurations, [0], tmp_path, **options)
    other = tmp_path / "lr_patience=1000000,max_epochs=1000000,seed=0.log"
    assert "Traceback" not in other.read_text()
    assert processes_of(other) == []
    log = (tmp_path / "seed=0.log").read_text()
    assert "RuntimeError: this is why" in log
    assert "training:" not in log  # a bar is for a terminal
    assert not (tmp_path / "lr=0.5,seed=0").exists()
    told = json.loads((tmp_path / "seed=0" / "told.json").read_text())
    assert told == {"threads": 1, "leads its group": True, "held back": [], "handler": True}
    assert len(RunDirectory.open(tmp_path / "seed=0").evaluations()) == 2
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


SCRIPT = """
import json, sys
from textvae import cli
from textvae.recipes import sweep

sys.modules["textvae.recipes.sweep"].POLL_SECONDS = 0.05

if __name__ == "__main__":
    call = json.loads(sys.argv[1])
    sys.exit(cli.exit_code_of(lambda: sweep(**call)))
"""


def started(call: dict[str, Any], directory: Path) -> subprocess.Popen[str]:
    """A script that sweeps, at the head of a terminal's process group."""
    script = directory / "sweep_script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), json.dumps(call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def processes_of(path: Path) -> list[int]:
    """Processes that have a file of this name open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/2"):
        try:
            if os.readlink(link) == str(path):
                found.append(int(link.parts[2]))
        except OSError:
            continue  # gone, or not ours to see
    return found


@pytest.mark.slow
def test_ctrl_c_while_a_run_is_still_importing(call, tmp_path):
    process = started(call, tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def has_child() -> bool:
        paths = (Path(f"/proc/{pid}/cmdline") for pid in children.read_text().split())
        return any(b"spawn_main" in path.read_bytes() for path in paths)

    wait_until(has_child)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert not list((tmp_path / "runs").glob("*/training_state*"))


@pytest.fixture
def call(source: str, tmp_path: Path) -> dict[str, Any]:
    """A sweep of one run of some seconds."""
    return {
        "source": source,
        "base": {**OPTIONS, "max_epochs": 30, "lr_patience": 99},
        "configurations": {"a": {}},
        "seeds": [0],
        "directory": str(tmp_path / "runs"),
        "jobs": 1,
    }


def test_an_interrupted_sweep_goes_on_to_the_same_results(call, tmp_path, request):
    run = RunDirectory(tmp_path / "runs" / "seed=0", RunConfig(data_source=call["source"]))
    process = started(call, tmp_path)
    wait_until(lambda: bool(run.evaluations()) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "")
    log = run.path.with_name("seed=0.log")
    assert "Traceback" not in log.read_text()
    assert processes_of(log) == []
    assert 4 <= run.evaluations()[-1]["step"] < 120
    assert not run.results_file.exists()

    spawned = request.getfixturevalue("spawned")
    (swept,), (whole,) = (sweep(**{**call, "directory": tmp_path / d}) for d in ("runs", "whole"))
    assert spawned == ["seed=0", "seed=0"]
    assert swept.run.evaluations()[-1]["step"] == 120
    assert left_behind(swept.run.path) == left_behind(whole.run.path)


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_process(call, tmp_path):
    run = RunDirectory(tmp_path / "runs" / "seed=0", RunConfig(data_source=call["source"]))
    call["base"]["max_epochs"] = 100_000
    process = started(call, tmp_path)
    wait_until(lambda: bool(run.evaluations()) or process.poll() is not None)
    log = run.path.with_name("seed=0.log")
    assert len(processes_of(log)) == 1
    process.kill()
    process.communicate()
    wait_until(lambda: processes_of(log) == [])
    assert run.load_state()
