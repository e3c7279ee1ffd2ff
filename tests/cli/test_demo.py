"""Tests of the model that ships with the package: what it is, and that every command takes it."""

import hashlib
from pathlib import Path

import pytest

from tests import docs
from tests.cli.calling import call, done
from textvae import TextVAE
from textvae.files import DEMO, read_json

WRITTEN = docs.text("docs/writing.md")
TEXT = "did the hasty teacher usually restlessly recite her tricky fractions on tuesday night"


def test_the_demo_shows_what_the_docs_show():
    said = done("demo")
    start = WRITTEN.index("$ textvae demo\n") + len("$ textvae demo\n")
    assert said.out.lstrip().startswith(WRITTEN[start : WRITTEN.index("\n```", start)])
    assert "\nverdict: healthy\n" in said.out


def test_it_is_small_and_the_one_that_the_docs_describe():
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 1_500_000
    digest = hashlib.sha256((DEMO / "model.safetensors").read_bytes()).hexdigest()
    assert f"`{digest}`" in WRITTEN
    results = read_json(DEMO / "results.json")
    figures = "rec {rec:.2f}, KL {kl:.2f}, MI {mi:.2f}".format_map(results)
    assert figures in " ".join(WRITTEN.split())


@pytest.mark.parametrize(
    "command",
    [
        ("sample", "demo", "-n", "2"),
        ("reconstruct", "demo", TEXT),
        ("encode", "demo", TEXT),
        ("score", "demo", "SENTENCES", "--num-samples", "2"),
    ],
)
def test_commands_take_it_for_a_run(command, tmp_path):
    file = tmp_path / "sentences.txt"
    file.write_text(f"{TEXT}\n")
    said = call(*(str(file) if word == "SENTENCES" else word for word in command))
    assert (said.code, len(said.lines)) == (0, 2 if "-n" in command else 1)


def test_a_path_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no run directory at 'demo'"):
        TextVAE.from_pretrained(Path("demo"))


@pytest.mark.parametrize("directory", ["demo", str(DEMO)])
def test_nothing_is_trained_there(directory, fifty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in DEMO.iterdir()}
    assert call("train", str(fifty), f"--output-dir={directory}").code == 2
    assert call("train", "--resume", f"--output-dir={directory}").code == 2
    assert {path.name: path.stat().st_mtime_ns for path in DEMO.iterdir()} == before
    assert not Path("demo").exists()
