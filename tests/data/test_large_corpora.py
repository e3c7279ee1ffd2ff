"""The code of `docs/large-corpora.md` runs."""

from __future__ import annotations

import re
from pathlib import Path

import datasets
import pytest

from textvae import grammar
from textvae.annealers import LinearAnnealer
from textvae.model import SentenceVAE

PAGE = Path(__file__).parents[2] / "docs" / "large-corpora.md"


def test_its_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [sentence.text for sentence in grammar.sample(60)]
    (tmp_path / "my.txt").write_text("\n".join(texts), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def load(name: str, *, split: str, streaming: bool) -> datasets.IterableDataset:
        assert (name, split, streaming) == ("owner/name", "train", True)
        return datasets.Dataset.from_dict({"text": texts}).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    on_disk, stream = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(on_disk, {})
    names: dict[str, object] = {}
    exec(stream, names)
    annealer = names["annealer"]
    assert isinstance(annealer, LinearAnnealer)
    assert annealer.value == pytest.approx(6 / 10_000)
    assert SentenceVAE.from_pretrained(tmp_path / "my-model").tokenizer is not None
