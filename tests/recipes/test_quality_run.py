"""Tests of `textvae.recipes.quality` and of the language models it measures with."""

from __future__ import annotations

import json
import math
import shutil
import signal
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
from textvae.recipes import Quality, language_models, quality_run
from textvae.recipes.language_models import LanguageModel, planned_model, sample_loaders, trained
from textvae.run import RunDirectory
from textvae.training import Trainer
from textvae.training.interrupt import SafeInterrupt

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


@pytest.fixture
def run(vae: Path, tmp_path: Path) -> Path:
    """A copy that may be written to."""
    return Path(shutil.copytree(vae, tmp_path / "run"))


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
    found = quality_run(cut, num_samples=20, perplexities="both")
    assert found.real.length_mean == 4
    assert found.samples.length_mean <= 4
    assert found.real.length_distance == 0
    assert found.perplexities is not None
    # No training sentence ends, so an end that was made up would be all but impossible.
    model = SentenceVAE.from_pretrained(found.perplexities.language_model)
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


def test_a_language_model_that_is_given_is_taken(
    vae: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "fit", lambda _: pytest.fail("nothing is to be trained"))
    before = left_behind(vae), left_behind(language_model)
    told: list[str] = []
    found = quality_run(
        vae, num_samples=10, seed=5, language_model=language_model, progress=told.append
    ).perplexities
    assert found is not None
    assert found.language_model == str(language_model)
    assert found.reverse is None
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


def test_language_models_are_trained_once_and_kept(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    first = quality_run(run, num_samples=4, perplexities="both", progress=told.append)
    kept = sorted((run / "quality").iterdir())
    assert len(kept) == 2
    assert told[2].startswith("training a language model on the training split, 1 epochs at most")
    assert told[3].startswith("training a language model on 28 samples, 1 epochs at most")
    assert sorted(text.split("kept in ")[1] for text in told[2:]) == list(map(str, kept))
    assert first.perplexities is not None
    assert first.perplexities.reverse is not None
    assert first.perplexities.reverse != first.perplexities.real
    for directory in kept:
        found = RunDirectory.open(directory)
        assert (found.config.model.latent_dim, found.config.model.word_dropout) == (0, 0.0)
        assert found.kept_evaluation() == json.loads(found.results_file.read_text())
        own = SentenceVAE.from_pretrained(run).tokenizer
        assert SentenceVAE.from_pretrained(directory).tokenizer.fingerprint == (
            own and own.fingerprint
        )
    monkeypatch.setattr(Trainer, "fit", lambda _: pytest.fail("both have been trained"))
    monkeypatch.setattr(language_models, "sample_loaders", lambda *_: pytest.fail("no need"))
    assert quality_run(run, num_samples=4, perplexities="both") == first
    forward = quality_run(run, num_samples=4, perplexities="forward").perplexities
    assert forward == replace(first.perplexities, reverse=None)


def test_other_samples_train_another_model(run: Path) -> None:
    quality_run(run, num_samples=2, perplexities="both")
    for wanted, options in ((3, {"temperature": 0.5}), (4, {"seed": 1}), (4, {"num_samples": 3})):
        quality_run(run, **{"num_samples": 2, "perplexities": "both", **options})  # type: ignore[arg-type]
        assert len(list((run / "quality").iterdir())) == wanted
    changed = SentenceVAE.from_pretrained(run)
    with torch.no_grad():
        changed.decoder.output.bias += 0.5
    changed.save_pretrained(run)
    quality_run(run, num_samples=2, perplexities="both")
    assert len(list((run / "quality").iterdir())) == 5  # the training split is the same


def test_an_interrupted_language_model_is_trained_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: dict[str, Any] = {"num_samples": 5, "perplexities": "forward"}
    whole = quality_run(shutil.copytree(run, tmp_path / "whole"), **wanted)
    save = Trainer.save
    presses = iter([True])

    def press(self: Trainer) -> None:
        save(self)
        if next(presses, False):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", press)
        with pytest.raises(SafeInterrupt):
            quality_run(run, **wanted)
    found = quality_run(run, **wanted).perplexities
    assert found is not None
    assert whole.perplexities is not None
    assert (found.real, found.forward) == (whole.perplexities.real, whole.perplexities.forward)


def test_what_fails_before_training_leaves_no_directory(run: Path) -> None:
    model = SentenceVAE.from_pretrained(run)
    planned = planned_model(run, "samples", RunDirectory.open(run).config)

    def fail() -> Any:
        raise DataError("no samples")

    with pytest.raises(DataError, match="no samples"):
        trained(planned, model.tokenizer, fail)
    assert not (run / "quality").exists()


@pytest.mark.parametrize(("max_tokens", "widest"), [(None, 4 * 7), (9, 9), (5, 7)])
def test_batches_of_samples(run: Path, max_tokens: int | None, widest: int) -> None:
    config = RunDirectory.open(run).config
    training = replace(config.training, batch_size=4, max_tokens=max_tokens)
    ids = [[4] * length for length in (9, 6, 6, 1, 0, 2, 8)]
    train, valid = sample_loaders(ids, 5, 7, replace(config, training=training))
    assert (train.num_sentences, valid.num_sentences) == (5, 2)
    assert train.split.truncated.tolist() == [True, False, False, False, False]
    assert train.num_tokens == 7 + 7 + 7 + 2 + 1
    assert valid.split.truncated.tolist() == [False, True]
    # A limit on tokens that no longest sample fits into gives way.
    assert max(batch.input_ids.numel() for batch in train) <= widest
    assert (train.shuffle, valid.shuffle) == (True, False)


# What is refused


def test_wrong_arguments(vae: Path, language_model: Path) -> None:
    for wrong, message in [
        ({"num_samples": 1}, "num_samples must be at least 2, got 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"perplexities": "yes"}, "perplexities must be one of no, forward, both, got 'yes'"),
        (
            {"perplexities": "no", "language_model": language_model},
            "perplexities must be forward or both where a language_model is given, got 'no'",
        ),
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


def test_a_run_of_the_hub_has_no_place_for_a_language_model(run: Path) -> None:
    with pytest.raises(ValueError, match="kept in the run's directory: download me/it first"):
        planned_model("me/it", "mine", RunDirectory.open(run).config)


def test_an_ended_model_is_known_by_its_results(run: Path) -> None:
    config = RunDirectory.open(run).config
    planned = planned_model(run, "mine", config)
    assert isinstance(planned, LanguageModel)
    assert not planned.has_ended
    assert planned.directory.parent == run / "quality"
    assert planned == planned_model(run, "mine", config)
    assert planned.directory != planned_model(run, "theirs", config).directory
    (planned.directory).mkdir(parents=True)
    (planned.directory / "results.json").write_text("{}")
    assert planned_model(run, "mine", config).has_ended
