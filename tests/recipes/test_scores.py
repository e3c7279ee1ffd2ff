"""Tests of `textvae.recipes.scores`: each sentence by itself, and all of them as a diagnosis."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from textvae import recipes
from textvae.corpus import Corpus, load_corpus
from textvae.recipes import LoadedRun


@pytest.fixture(scope="module")
def diagnosed(run: Path, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """On a split of three batches, some of its sentences alike."""
    directory = tmp_path_factory.mktemp("data")
    for split in ("train", "valid", "test"):
        texts = corpus["train"]["text"][:] * 6
        (directory / f"{split}.txt").write_text("\n".join(texts))
    options: Any = {"data_dir": str(directory), "data_changed": True}
    return recipes.diagnose_run(run, num_samples=3, seed=5, **options)


def test_means_over_sentences_are_those_of_a_diagnosis(diagnosed, run):
    texts = diagnosed.corpus["test"]["text"][:]
    records = recipes.score_run(run, texts, num_samples=3, seed=5)
    assert [record["text"] for record in records] == texts
    found = diagnosed.diagnosis
    assert [record["nll"] for record in records] == found.nll.per_sentence.tolist()
    assert fmean(record["nll"] for record in records) == pytest.approx(found.nll.nll, rel=1e-14)
    for name in ("elbo", "rec", "kl"):
        mean = fmean(record[name] for record in records)
        assert mean == pytest.approx(getattr(found.elbo, name), rel=1e-6)
    assert sum(record["num_tokens"] for record in records) == found.elbo.num_tokens
    first = records[0]
    assert first["elbo"] == -(first["rec"] + first["kl"])
    assert first["nll_per_token"] == first["nll"] / first["num_tokens"]


def test_tokens_add_up_to_rec_and_labels_stay(run, corpus, tmp_path):
    text = corpus["train"]["text"][0]
    path = tmp_path / "new.tsv"
    path.write_text(f"text\tkind\n{text}\tgood\n\tempty\n{text} qqq\tbad\n")
    records = recipes.score_run(run, path, num_samples=2, tokens=True, label_field="kind")
    assert [record["kind"] for record in records] == ["good", "bad"]
    assert [record["num_unknown"] for record in records] == [0, 1]
    assert records[0]["tokens"] == [*text.split(), "<eos>"]
    assert records[1]["tokens"][-2:] == ["<unk>", "<eos>"]
    for record in records:
        assert len(record["token_nll"]) == len(record["tokens"]) == record["num_tokens"]
        assert sum(record["token_nll"]) == pytest.approx(record["rec"], rel=1e-5)


def test_every_split_of_a_directory_is_scored(run, corpus, tmp_path):
    texts = corpus["train"]["text"][:3]
    for split, text in zip(("train", "valid", "test"), texts, strict=True):
        (tmp_path / f"{split}.txt").write_text(text)
    records = recipes.score_run(run, tmp_path, num_samples=2)
    assert [(one["split"], one["text"]) for one in records] == [
        ("train", texts[0]),
        ("valid", texts[1]),
        ("test", texts[2]),
    ]


def test_a_language_model_scores_exactly(language_model, corpus):
    texts = corpus["train"]["text"][:3]
    one, two = (recipes.score_run(language_model, texts, num_samples=k) for k in (1, 9))
    assert one == two
    for record in one:
        assert record["kl"] == 0
        assert record["nll"] == pytest.approx(record["rec"])


def test_sentences_are_cut_as_in_training(run, corpus, tmp_path):
    loaded = load_corpus(list(corpus["train"]["text"]), cache_dir=str(tmp_path))
    options = {"max_epochs": 1, "max_length": 3, "device": "cpu", "latent_dim": 2}
    trainer = recipes.start(loaded, options, tmp_path / "short")
    trainer.fit()
    (record,) = recipes.score_run(tmp_path / "short", ["a b c d e"], tokens=True, num_samples=1)
    assert record["num_tokens"] == len(record["tokens"]) == len(record["token_nll"]) == 3
    assert record["num_unknown"] == record["tokens"].count("<unk>") == 2  # of four
