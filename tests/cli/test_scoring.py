"""Tests of `textvae score` and `textvae decode`."""

import json
import re
from pathlib import Path

import datasets
import numpy as np
import pytest

from tests.cli.calling import call, done
from textvae import recipes

TEXTS = ["the cat sees a dog", "a zebra runs", "cats run"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("kind,text\n" + "".join(f"{len(t)},{t}\n" for t in TEXTS), encoding="utf-8")
    return path


def test_score_prints_a_line_for_each_sentence(lively_run, file):
    expected = recipes.score_run(lively_run, TEXTS, num_samples=4, seed=2)
    command = ["score", lively_run, str(file), "--num-samples=4", "--seed=2"]
    said = done(*command)
    shown = "{nll:.2f}\t{nll_per_token:.2f}\t{kl:.2f}\t{text}"
    assert said.lines == [shown.format_map(one) for one in expected]
    assert call(*command, "--json").records == expected
    assert call(*command[:2], "-", *command[3:], stdin="\n".join(["", *TEXTS])).lines == said.lines
    by_kl = sorted(expected, key=lambda one: -one["kl"])
    assert call(*command, "--json", "--sort=kl").records == by_kl
    words = call(*command, "--tokens").lines[1].split("\t")[3]
    assert re.fullmatch(r"a \d+\.\d  <unk> \d+\.\d  runs \d+\.\d  <eos> \d+\.\d", words)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_scores_in_a_file(lively_run, file, name):
    output = file.with_name(name)
    options = ["--label-field=kind", "--num-samples=2", f"--output={output}"]
    said = call("score", lively_run, str(file), *options)
    assert (said.code, said.out) == (0, "")
    assert f"{output} written: 3 sentences" in said.err
    how = {".csv": "from_csv", ".parquet": "from_parquet"}[output.suffix]
    rows = getattr(datasets.Dataset, how)(str(output))
    expected = recipes.score_run(lively_run, TEXTS, num_samples=2)
    assert rows["kind"][:] == [len(text) for text in TEXTS]
    for column in expected[0]:
        assert rows[column][:] == [one[column] for one in expected]
    assert {path.name for path in file.parent.iterdir()} == {file.name, name}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sort=surprise"], "sort must be one of nll, nll_per_token, rec, kl, got 'surprise'"),
        (["--output=a.txt"], "must end in one of .csv, .parquet, got 'a.txt'"),
        (["--output=a.csv", "--tokens"], "tokens need --json or a .parquet file, got .csv"),
        (["--label-field=type"], "must have the columns text (of strings), type; it has kind, te"),
    ],
)
def test_what_score_refuses(lively_run, file, options, message):
    said = call("score", lively_run, str(file), *options)
    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_decode_is_the_way_back_from_encode(lively_run, tmp_path):
    texts = ["the cat sees a dog", "cats run", "a dog runs"]
    arrays, lines = tmp_path / "codes.npz", tmp_path / "codes.jsonl"
    call("encode", lively_run, *texts, f"--output={arrays}")
    encoded = call("encode", lively_run, *texts, "--json").out
    lines.write_text(encoded, encoding="utf-8")
    expected = call("reconstruct", lively_run, *texts)
    assert call("decode", lively_run, str(arrays)) == expected
    assert call("decode", lively_run, str(lines)) == expected
    assert call("decode", lively_run, "-", stdin=encoded) == expected
    (found,) = map(json.loads, call("decode", lively_run, "-", "--json", stdin="[0, 1, 2]").lines)
    assert found.keys() == {"text", "log_prob"}
    np.savez(arrays, z=np.array([[0, 1, 2]]), mu=np.zeros((5, 3)))  # z before mu
    assert call("decode", lively_run, str(arrays)).lines == [found["text"]]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ("[1, 2]", r"z must have the shape (sentences, 3), got (1, 2)"),
        ("[1, 2, 3]\n[1, 2]", "- must hold numbers, as many for each code: "),
        ("[1, 2, NaN]", "- must hold finite numbers"),
        ('{"x": [1, 2, 3]}', "- must hold numbers, as many for each code: neither z nor mu, but x"),
        ('["a", "b", "c"]', "- must hold numbers"),
        ("oops", "- must hold numbers, as many for each code: Expecting value"),
    ],
)
def test_what_decode_refuses(lively_run, codes, message):
    said = call("decode", lively_run, "-", stdin=codes)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
