"""Tests of `scripts/torture.py`: what is counted, and a little of each part."""

import json
import subprocess
import sys
from random import Random

import pytest
import torture

from tests.scripts.running import SCRIPTS


def test_what_must_not_be_is_counted_and_written(run, tmp_path, monkeypatch):
    def part(work, count, closing):
        faults = [torture.Fault("lost", "a"), torture.Fault("silent", "b"), KeyError("c"), None]
        drawn = enumerate(faults)

        def trial(rng):
            number, fault = next(drawn)
            assert rng.random() == Random(f"3 {number}").random()
            if fault:
                raise fault

        return trial

    monkeypatch.setitem(torture.PARTS, "fuzz", part)
    answer = run("torture", "fuzz", "--count=4", "--seed=3", "--json=found.json")
    assert answer.code == 1
    told = "fuzz: 4 trials, seed 3: 1 lost, 1 silent, 1 tracebacks, 0 hangs"
    assert answer.out.splitlines()[-1] == told
    assert answer.out.startswith("trial 0: a\ntrial 1: b\ntrial 2: Traceback ")
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["lost"], found["hangs"], found["faults"]["silent"]) == (1, 0, ["trial 1: b"])


@pytest.mark.parametrize(("part", "count"), [("corruptions", 2), ("inputs", 4), ("fuzz", 9)])
def test_a_little_of_what_needs_no_process(run, part, count):
    answer = run("torture", part, f"--count={count}")
    told = f"{part}: {count} trials, seed 0: 0 lost, 0 silent, 0 tracebacks, 0 hangs\n"
    assert (answer.code, answer.out) == (0, told)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["kills", "page"])
def test_a_little_of_what_does(part):
    command = [sys.executable, str(SCRIPTS / "torture.py"), part, "--count=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{part}: 2 trials, seed 0: 0 lost, 0 silent, 0 tracebacks, 0 hangs" in done.stdout
