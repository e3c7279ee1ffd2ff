"""Tests of `textvae train` on files as people have them: raw text, tables, labels, tokenizers."""

import csv
import json
from pathlib import Path

import pytest
import tokenizers

from tests.cli.calling import SIZES, call, done
from textvae import grammar
from textvae.tokenizer import Tokenizer


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixty raw sentences, with a class, a number and a column of no use."""
    path = tmp_path / "mine.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["kind", "weight", "note", "body"])
        for i, sentence in enumerate(grammar.sample(60, seed=4)):
            kind = ("plain", "asked")[i % 2]
            rows.writerow([kind, i / 7, f"note {i}", sentence.text.capitalize() + ".?"[i % 2]])
    return path


def test_a_table_of_raw_text_with_labels(table):
    run = table.with_name("run")
    fields = ["--text-field=body", "--label-field=kind,weight"]
    shares = ["--valid-fraction=0.2", "--test-fraction=0.2"]
    said = done("train", str(table), *SIZES, *fields, *shares, f"--output-dir={run}")
    assert "tokenizer text, min_count 1" in said.err
    tokenizer = Tokenizer.load(run / "tokenizer.json")
    assert tokenizer.unknown_words("The pilot, however...") != []
    found = json.loads(call("diagnose", str(run), "--num-samples=1", "--json").out)
    assert [factor["name"] for factor in found["factors"]] == ["kind"]


def test_labels_that_a_model_is_told(table):
    run = str(table.with_name("run"))
    fields = ["--text-field=body", "--label-field=kind,weight", "--condition-on=kind"]
    said = done("train", str(table), *SIZES, *fields, f"--output-dir={run}")
    assert "test split, given kind: 3 sentences" in said.out
    said = call("sample", run, "-n=20", "--json")
    assert "kind: drawn as often as in training" in said.err
    assert {json.loads(line)["kind"] for line in said.lines} == {"plain", "asked"}
    told = call("sample", run, "-n=20", "--json", "--label=kind=asked")
    assert {json.loads(line)["kind"] for line in told.lines} == {"asked"}
    assert "drawn" not in told.err
    back = call("reconstruct", run, "Did the judge?", "--label", "kind=plain", "--json")
    assert json.loads(back.out)["kind"] == "plain"
    said, known = call("sample", run, "--label=kind=sweet"), "one of asked, plain, got 'sweet'"
    assert (said.code, said.err) == (2, f"textvae: error: label kind must be {known}\n")
    said = call("jitter", run, "Did the judge?")
    assert "label must be NAME=VALUE for each of kind, got None" in said.err
    assert json.loads(call("diagnose", run, "--num-samples=1", "--json").out)["given"] == ["kind"]


def test_a_tokenizer_of_ones_own(table, tmp_path):
    file = tmp_path / "tokenizer.json"
    own = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    learned = tokenizers.trainers.WordPieceTrainer(special_tokens=["[UNK]"], show_progress=False)
    own.train_from_iterator(table.read_text(encoding="utf-8").splitlines(), learned)
    own.save(str(file))
    run, options = tmp_path / "run", [*SIZES, "--text-field=body", f"--tokenizer-file={file}"]
    said = done("train", str(table), *options, f"--output-dir={run}")
    expected = Tokenizer.load(file, add_specials=True).fingerprint
    assert Tokenizer.load(run / "tokenizer.json").fingerprint == expected
    said = call("train", str(table), *options, "--lowercase", f"--output-dir={tmp_path / 'other'}")
    assert said.code == 2
    assert "tokenizer_file decides all of a tokenizer: leave out lowercase" in said.err
    own.train_from_iterator(["Oui."], learned)
    own.save(str(file))
    said = call("train", str(table), *options, f"--output-dir={tmp_path / 'other'}")
    assert said.code == 2
    assert "another vocabulary than the model" in said.err
    assert not (tmp_path / "other").exists()
