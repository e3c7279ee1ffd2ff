"""Tests of `textvae quality`, on tiny runs made once."""

import json
import sys
from dataclasses import asdict

from tests.cli.calling import call, done
from textvae import recipes
from textvae.report.text import quality_text


def test_a_table_for_people(trained, trained_floor, monkeypatch):
    run = str(trained[0])
    said = call("quality", run, "-n", "4", "--seed", "2", "--temperature", "0.8")
    found = recipes.quality_run(run, num_samples=4, seed=2, temperature=0.8)
    assert said == (0, quality_text(found) + "\n", "")
    monkeypatch.setitem(sys.modules, "sacrebleu", None)  # nothing is reconstructed without z
    done("quality", str(trained_floor[0]), "-n", "2")


def test_one_json_object_for_programs(trained, trained_floor, fifty):
    run, floor = str(trained[0]), str(trained_floor[0])
    options = ("-n", "3", "--split=valid", "--language-model", floor, "--data-dir", str(fifty))
    said = done("quality", run, *options, "--json")
    expected = recipes.quality_run(run, num_samples=3, split="valid", language_model=floor)
    assert json.loads(said.out) == json.loads(json.dumps(asdict(expected)))
