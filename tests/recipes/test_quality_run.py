"""Tests of `textvae.recipes.quality`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.sizes import SMALL
from textvae import grammar, recipes
from textvae.batches import collate
from textvae.corpus import Corpus, DataError, load_corpus
from textvae.generation import interpolate, reconstruct, sample
from textvae.model import SentenceVAE
from textvae.quality import factor_path, reconstruction_figures, text_figures
from textvae.recipes import Quality, quality_run

OPTIONS = {
    **SMALL,
    "word_dropout": 0.25,
    "autoencoder_epochs": 0,
    "max_epochs": 1,
    "valid_fraction": 0.1,
    "test_fraction": 0.2,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """40 sentences: 28 to train on, 4 to judge by, 8 for the test."""
    path = tmp_path_factory.mktemp("corpus") / "mine.txt"
    path.write_text("\n".join(x.text for x in grammar.sample(40, seed=2)), encoding="utf-8")
    return load_corpus(path, valid_fraction=0.1, test_fraction=0.2)


def train(corpus: Corpus, directory: Path, **options: Any) -> Path:
    trainer = recipes.start(corpus, OPTIONS | options, directory)
    trainer.fit()
    return trainer.run.path


@pytest.fixture(scope="module")
def vae(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(corpus, tmp_path_factory.mktemp("vae") / "run")


@pytest.fixture(scope="module")
def language_model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(corpus, tmp_path_factory.mktemp("lm") / "run", latent_dim=0, seed=7)


def perplexity_by_hand(model: SentenceVAE, sentences: list[list[int]], ends: list[bool]) -> float:
    """A sentence at a time: exp of the mean over tokens, EOS counted where there is one."""
    nats, num_tokens = 0.0, 0
    for ids, has_end in zip(sentences, ends, strict=True):
        batch = collate([ids], truncated=[not has_end])
        with torch.no_grad():
            nats -= float(model.log_likelihood(batch, torch.empty(1, 0)))
        num_tokens += len(ids) + has_end
    return math.exp(nats / num_tokens)


def left_behind(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*"))


# Sentences


def test_samples_are_measured_beside_as_many_real_sentences(vae: Path, corpus: Corpus) -> None:
    before = left_behind(vae)
    found = quality_run(vae, num_samples=6, seed=3, temperature=0.5)
    model = SentenceVAE.from_pretrained(vae)
    training = corpus["train"]["text"][:]
    words = max(map(len, map(str.split, training)))
    options = {"allow_unknown": True, "max_length": 2 * (words + 1) + 1}
    samples = sample(model, 6, seed=3, temperature=0.5, **options)
    cut = [" ".join(text.split()[: 2 * (words + 1)]) for text in samples]
    assert found.samples == text_figures(cut, training)
    assert found.real.num_sentences == 6
    assert (found.corpus, found.split, found.seed, found.temperature) == ("mine", "test", 3, 0.5)
    assert found.run == str(vae)
    assert (found.perplexities, found.grammar) == (None, None)
    assert left_behind(vae) == before


def test_all_of_a_split_that_has_no_more(vae: Path, corpus: Corpus) -> None:
    found = quality_run(vae, num_samples=50)
    model = SentenceVAE.from_pretrained(vae)
    known = set(model.tokenizer.unknown_words(" ".join(corpus["test"]["text"][:])))
    assert known  # so that it shows whether they are taken as the model reads them
    texts = [
        " ".join("<unk>" if word in known else word for word in text.split())
        for text in corpus["test"]["text"]
    ]
    assert found.samples.num_sentences == 50
    assert found.real.num_sentences == 8
    everything = replace(text_figures(texts, corpus["train"]["text"][:]), self_bleu=0.0)
    assert replace(found.real, self_bleu=0.0) == everything
    assert found.real.self_bleu == pytest.approx(
        text_figures(texts, corpus["train"]["text"][:]).self_bleu
    )
    back = reconstruction_figures(reconstruct(model, texts), texts)
    assert found.reconstruction is not None
    assert found.reconstruction.num_sentences == 8
    assert found.reconstruction.exact_match == back.exact_match
    assert found.reconstruction.bleu == pytest.approx(back.bleu)


def test_any_split_and_seed(vae: Path) -> None:
    figures = {split: quality_run(vae, num_samples=4, split=split) for split in ("train", "valid")}
    assert figures["train"].real.novelty == 0.0  # each of them was trained on
    assert figures["valid"].real.novelty == 1.0
    assert figures["train"].samples == figures["valid"].samples
    again, other = (quality_run(vae, num_samples=4, seed=seed, split="train") for seed in (0, 1))
    assert again == figures["train"]
    assert other.samples != again.samples
    assert other.real != again.real


def test_a_language_model_has_samples_alone(language_model: Path) -> None:
    found = quality_run(language_model, num_samples=3)
    assert found.reconstruction is None
    assert found.samples.num_sentences == 3


def test_sentences_are_as_long_as_the_run_reads_them(corpus: Corpus, tmp_path: Path) -> None:
    cut = train(corpus, tmp_path / "cut", max_length=4)
    judge = train(corpus, tmp_path / "judge", max_length=4, latent_dim=0)
    found = quality_run(cut, num_samples=20, language_model=judge)
    assert found.real.length_mean == 4
    assert found.samples.length_mean <= 4
    assert found.real.length_distance == 0
    assert found.perplexities is not None
    # No training sentence ends, so an end that was made up would be all but impossible.
    model = SentenceVAE.from_pretrained(judge)
    tokenizer = model.tokenizer
    texts = sample(SentenceVAE.from_pretrained(cut), 20, max_length=5, allow_unknown=True, seed=0)
    ids = tokenizer.encode_batch(texts)
    assert {len(sentence) for sentence in ids} >= {5}
    by_hand = perplexity_by_hand(model, [x[:4] for x in ids], [len(x) < 5 for x in ids])
    assert found.perplexities.forward == pytest.approx(by_hand, rel=1e-5)


def test_the_embedded_corpus_has_a_grammar(
    vae: Path, language_model: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = Corpus("grammar", corpus.splits, "grammar", {})
    monkeypatch.setattr("textvae.recipes.loaded.open_corpus", lambda *_: embedded)
    drawn = [x.text for x in grammar.sample(3, seed=2)] + ["not a sentence"]
    monkeypatch.setattr("textvae.recipes.quality.sample", lambda *_, **__: drawn)
    seen: list[str] = []

    def path(model: SentenceVAE, *ends: str, steps: int) -> list[str]:
        seen.extend(ends)
        return [ends[0]] * (steps - 1) + [ends[1]]

    monkeypatch.setattr("textvae.recipes.quality.interpolate", path)
    found = quality_run(vae, num_samples=4).grammar
    assert found is not None
    assert found.accepted < 1  # words the model does not know are none of the grammar's
    assert found.path == factor_path([seen[0]] * 6 + [seen[1]])
    of_language_model = quality_run(language_model, num_samples=4).grammar
    assert of_language_model is not None
    assert of_language_model.path is None
    assert len(interpolate(SentenceVAE.from_pretrained(vae), *seen, steps=7)) == 7


def test_the_result_is_plain(vae: Path, language_model: Path) -> None:
    found = quality_run(vae, num_samples=3, language_model=language_model)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["samples"]["distinct"] == list(found.samples.distinct)
    assert found.perplexities is not None
    assert plain["perplexities"]["forward"] == found.perplexities.forward
    assert list(plain) == list(Quality.__dataclass_fields__)


# Perplexities


def test_a_language_model_that_is_given_is_taken(vae: Path, language_model: Path) -> None:
    before = left_behind(vae), left_behind(language_model)
    told: list[str] = []
    found = quality_run(
        vae, num_samples=10, seed=5, language_model=language_model, progress=told.append
    ).perplexities
    assert found is not None
    assert found.language_model == str(language_model)
    real = recipes.evaluate_run(language_model).evaluation.elbo_ppl
    assert found.real == pytest.approx(real)
    model = SentenceVAE.from_pretrained(language_model)
    texts = sample(SentenceVAE.from_pretrained(vae), 10, seed=5, allow_unknown=True)
    ids = model.tokenizer.encode_batch(texts)
    longest = 2 * (20 + 1)
    by_hand = perplexity_by_hand(
        model, [x[:longest] for x in ids], [len(x) <= longest for x in ids]
    )
    assert found.forward == pytest.approx(by_hand, rel=1e-4)
    assert told == ["10 samples", "8 reconstructions", f"perplexities under {language_model}"]
    assert (left_behind(vae), left_behind(language_model)) == before


# What is refused


def test_wrong_arguments(vae: Path) -> None:
    for wrong, message in [
        ({"num_samples": 1}, "num_samples must be at least 2, got 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"language_model": vae}, "language_model must be a run with latent_dim 0, got 3 in "),
    ]:
        with pytest.raises(ValueError, match=message):
            quality_run(vae, **wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="mine has no split 'dev'"):
        quality_run(vae, split="dev")
    for where in ({"name": "no-such-run"}, {"name": vae, "language_model": "no-such-run"}):
        with pytest.raises(FileNotFoundError, match="no run directory at 'no-such-run'"):
            quality_run(**where)  # type: ignore[arg-type]


def test_a_language_model_of_other_sentences(vae: Path, corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("a b c\n" * 30, encoding="utf-8")
    fractions = {"valid_fraction": 0.1, "test_fraction": 0.2}
    others = {
        "other": train(load_corpus(path, **fractions), tmp_path / "a", latent_dim=0),
        "cut": train(corpus, tmp_path / "b", latent_dim=0, max_length=5),
    }
    for other in others.values():
        with pytest.raises(ValueError, match="language_model must be of the same corpus, read in"):
            quality_run(vae, language_model=other)


def test_splits_that_do_not_suffice(
    vae: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": corpus["train"], "test": corpus["test"].select([0])}
    for left, message in [
        (splits, "the test split must have at least 2 sentences, got 1"),
        ({"test": corpus["test"]}, "mine has no split 'train'; it has test"),
    ]:
        small = Corpus("mine", left, corpus.source, {})
        monkeypatch.setattr("textvae.recipes.loaded.open_corpus", lambda *_, c=small: c)
        with pytest.raises(DataError, match=message):
            quality_run(vae)
