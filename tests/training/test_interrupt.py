"""Ctrl-C: inside one process, and pressed for real."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.sizes import TINY, flags
from tests.training.building import lines, press_ctrl_c, sixty_sentences
from textvae import cli
from textvae.run import RunDirectory
from textvae.runtime import Processes
from textvae.training import SafeInterrupt, safe_interrupts


@pytest.fixture(autouse=True)
def _handlers_are_given_back() -> Iterator[None]:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_first_waits_for_a_check_and_the_second_interrupts_at_once():
    with safe_interrupts() as check:
        check()  # nothing yet
        press_ctrl_c()  # nor now: the step runs to its end
        with pytest.raises(SafeInterrupt):
            check()
        with pytest.raises(KeyboardInterrupt) as caught:
            press_ctrl_c()
    assert not isinstance(caught.value, SafeInterrupt)
    with pytest.raises(ZeroDivisionError), safe_interrupts():
        raise ZeroDivisionError


@pytest.mark.parametrize("pressed", [signal.SIGINT, signal.SIGTERM])
def test_of_several_processes_any_one_s_stops_all_and_none_at_once(monkeypatch, pressed):
    monkeypatch.setattr(Processes, "any", lambda processes, own: own)
    with safe_interrupts(Processes(1, 2)) as check:
        check()
        signal.raise_signal(pressed)
        signal.raise_signal(pressed)
        with pytest.raises(SafeInterrupt):
            check()
    monkeypatch.setattr(Processes, "any", lambda processes, own: True)
    with safe_interrupts(Processes(0, 2)) as check, pytest.raises(SafeInterrupt):
        check()  # another's


def test_outside_the_main_thread_it_only_does_nothing():
    def work() -> object:
        with safe_interrupts() as check:
            check()
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() is signal.getsignal(signal.SIGINT)


STEPS = {"batch_size": 1, "log_every": 1, "warmup_epochs": 2, "max_epochs": 99, "max_steps": 150}
SIZES = flags({**TINY, **STEPS})


def interrupted(arguments: list[str], run: Path) -> tuple[int, str, str]:
    """The command in a process of its own, which gets SIGINT once it has trained some steps."""
    command = [sys.executable, "-m", "textvae", "train", *arguments]
    env, pipe = {**os.environ, "OMP_NUM_THREADS": "1"}, subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        try:
            deadline, file = time.monotonic() + 60, run / "metrics.jsonl"
            while not (file.exists() and file.read_text().count("\n") >= 10):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out, err


def test_ctrl_c_saves_and_says_how_to_go_on_to_the_same_result(tmp_path, capsys):
    text = tmp_path / "sixty.txt"
    text.write_text("\n".join(sixty_sentences()) + "\n", encoding="utf-8")
    whole, run = tmp_path / "whole", tmp_path / "run"

    code, out, err = interrupted([str(text), *SIZES, f"--output-dir={run}"], run)
    assert (code, out) == (130, "")
    said = err.rstrip().splitlines()[-1]
    again = f"textvae train {text} --output-dir {run} --resume"
    assert said == f"textvae: interrupted; to go on: {again}"
    assert 10 <= lines(RunDirectory.open(run))[-1]["step"] < 150
    assert not (run / "results.json").exists()

    assert cli.main(["train", *said.split("textvae train ")[1].split()]) == 0
    assert "ELBO" in capsys.readouterr().out
    assert cli.main(["train", str(text), *SIZES, f"--output-dir={whole}"]) == 0
    assert lines(RunDirectory.open(run)) == lines(RunDirectory.open(whole))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    results = [json.loads((path / "results.json").read_text()) for path in (run, whole)]
    assert results[0] | {"minutes": 0} == results[1] | {"minutes": 0}
