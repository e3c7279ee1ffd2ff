"""`textvae tune`: what it prints and writes."""

import json
from pathlib import Path

from tests.cli.calling import SIZES, call, done
from textvae.model import SentenceVAE

SMALL = SIZES[1:]  # without a recipe
QUICK = (*SMALL, "--max-epochs=1", "--warmup-epochs=0", "--autoencoder-epochs=0")


def test_a_search_from_a_file_to_its_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{who} {what}\n" for who in "abcdefgh" for what in "ijklmnop"]
    (tmp_path / "my.txt").write_text("".join(lines), encoding="utf-8")
    said = done("tune", "my.txt", "--minutes=5", "--max-trials=1", *QUICK)
    assert said.lines[0].startswith("| trial | recipe | options | NLL | KL | MI | AU | minutes |")
    assert said.lines[2].startswith("| 0 | default | free_bits 8, bag_of_words 0.5, max_beta 1.25")
    assert said.lines[4].startswith("none is healthy yet: ")
    names = {"search.md", "search.json", "search.png", "study.log", "trial-0"}
    assert {path.name for path in Path("runs/my-tune").iterdir()} == names
    SentenceVAE.from_pretrained("runs/my-tune/trial-0")

    said = call("tune", "my.txt", "--minutes=5", "--max-trials=1", "--json", *QUICK)
    found = json.loads(said.out)
    assert [trial["number"] for trial in found["trials"]] == [0, 1]
    assert call("tune", "my.txt", "--minutes=0").code == 2
