"""Tests of `textvae.recipes`, and of what `textvae.report` says of a run."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.sizes import SMALL
from textvae import grammar, recipes, report
from textvae.annealers import ConstantAnnealer
from textvae.config import RunConfig
from textvae.corpus import Corpus, DataError, load_corpus
from textvae.diagnostics import Evaluation
from textvae.model import SentenceVAE
from textvae.recipes import RECIPES, LoadedRun
from textvae.tokenizer import Tokenizer
from textvae.training import Trainer
from textvae.training.interrupt import SafeInterrupt

PRETRAINED = {"autoencoder_epochs": 1, "language_model_epochs": 1}
TIMING = ("seconds", "tokens_per_second", "minutes")


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "mine.txt"
    texts = [sentence.text for sentence in grammar.sample(40, seed=2)]
    path.write_text("\n".join([*texts, "", "", ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(text_file: Path) -> Corpus:
    """40 sentences: 32 to train on, which are four steps, and four in each other split."""
    return load_corpus(text_file, valid_fraction=0.1, test_fraction=0.1)


def options(**more: Any) -> dict[str, Any]:
    return {**SMALL, "valid_fraction": 0.1, "test_fraction": 0.1, **more}


@pytest.fixture(scope="module")
def finished(
    corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Trainer, LoadedRun, dict[str, Any]]:
    trainer = recipes.start(corpus, options(), tmp_path_factory.mktemp("finished") / "run")
    trainer.fit()
    return trainer, *recipes.finish(trainer.run.path)


def fit_all(phases: Iterator[Trainer]) -> list[Trainer]:
    trainers = []
    for trainer in phases:
        trainer.fit()
        trainers.append(trainer)
    return trainers


def left_behind(run: Path) -> dict[str, Any]:
    """Every file of a run but its training state, without timing."""
    content: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            content[name] = [{k: v for k, v in d.items() if k not in TIMING} for d in lines]
        elif path.is_file() and not path.name.startswith("training_state"):
            content[name] = path.read_bytes()
    return content


@pytest.mark.parametrize("name", ["ptb", "grammar"])
def test_recipes_are_options(name: str) -> None:
    flat = RunConfig.from_flat(name, dict(RECIPES[name])).flat()
    assert {option: flat[option] for option in RECIPES[name]} == RECIPES[name]


# A run of one phase


def test_a_run_is_put_together_from_its_options(corpus: Corpus, tmp_path: Path) -> None:
    trainer = recipes.start(corpus, options(seed=5, max_tokens=60), tmp_path / "run")
    model, run = trainer.model, trainer.run
    assert run.config == RunConfig.from_flat(corpus.source, options(seed=5, max_tokens=60))
    assert (model.latent_dim, model.config.decoder_hidden_size) == (3, 8)
    assert model.tokenizer is not None
    assert trainer.train.num_sentences == 32
    assert trainer.train.seed == 5
    assert all(batch.input_ids.numel() <= 60 for batch in trainer.train)
    assert trainer.valid.num_sentences == 4
    assert not trainer.valid.shuffle
    assert sorted(path.name for path in run.path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_the_vocabulary_is_of_the_training_split_alone(corpus: Corpus, tmp_path: Path) -> None:
    known = recipes.start(corpus, options(), tmp_path / "run").model.tokenizer
    assert known is not None
    assert known.fingerprint == Tokenizer.train(corpus["train"]["text"][:]).fingerprint


def test_a_seed_decides_the_first_weights(corpus: Corpus, tmp_path: Path) -> None:
    weights = []
    for i, seed in enumerate((1, 1, 2)):
        torch.rand(i)
        model = recipes.start(corpus, options(seed=seed), tmp_path / str(i)).model
        weights.append(model.decoder.output.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_is_wrong_leaves_no_directory(corpus: Corpus, tmp_path: Path) -> None:
    for wrong, message in [
        ({"latent_dims": 3}, "unknown options: latent_dims"),
        ({"lr": 0.0}, r"lr must be in \(0, inf\), got 0.0"),
        ({"embedding_dim": 0}, "embedding_dim must be at least 1, got 0"),
        ({"tokenizer": "words"}, "tokenizer must be one of word, char, bpe, got 'words'"),
        ({"max_tokens": 3}, "max_tokens must be at least"),
        ({"max_length": 1, "too_long": "drop"}, "no sentence is left"),
        ({"autoencoder_epochs": 1}, "autoencoder_epochs makes a run of several phases"),
        ({"language_model_epochs": 1}, "language_model_epochs makes a run of several phases"),
    ]:
        with pytest.raises(ValueError, match=message):
            recipes.start(corpus, options(**wrong), tmp_path / "run")
        assert not (tmp_path / "run").exists(), wrong


def test_a_taken_directory_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        recipes.start(corpus, options(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_someone_elses_annealer_takes_the_place_of_the_configured_one(
    corpus: Corpus, tmp_path: Path
) -> None:
    annealer = ConstantAnnealer(0.25)
    trainer = recipes.start(corpus, options(max_steps=2), tmp_path / "run", annealer=annealer)
    assert trainer.annealer is annealer
    trainer.fit()
    assert annealer.current_step == 2
    again = ConstantAnnealer(0.25)
    assert recipes.resume(tmp_path / "run", annealer=again).annealer is again
    assert again.current_step == 2


def test_a_finished_run_is_measured(
    finished: tuple[Trainer, LoadedRun, dict[str, Any]], corpus: Corpus
) -> None:
    trainer, measured, results = finished
    assert measured.split == "test"
    assert measured.evaluation.num_sentences == 4
    assert {k: results[k] for k in vars(measured.evaluation)} == vars(measured.evaluation)
    valid = [record for record in trainer.run.metrics() if record["split"] == "valid"]
    assert results["corpus"] == "mine"
    assert (results["epochs"], results["seed"]) == (2, 0)
    assert results["best_epoch"] in (1, 2)
    assert results["beta"] == valid[results["best_epoch"] - 1]["beta"]
    assert json.loads(trainer.run.results_file.read_text()) == results


def test_any_split_can_be_measured(finished: tuple[Trainer, LoadedRun, dict[str, Any]]) -> None:
    trainer, measured, _ = finished
    path = trainer.run.path
    sizes = {}
    for split in ("train", "valid", "test"):
        sizes[split] = recipes.evaluate_run(path, split).evaluation.num_sentences
    assert sizes == {"train": 32, "valid": 4, "test": 4}
    assert recipes.evaluate_run(path).evaluation == measured.evaluation
    other_noise = recipes.evaluate_run(path, seed=1).evaluation
    assert other_noise.rec != measured.evaluation.rec
    assert other_noise.kl == measured.evaluation.kl
    with pytest.raises(DataError, match="mine has no split 'dev'; it has train, valid, test"):
        recipes.evaluate_run(path, "dev")


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run"):
        recipes.evaluate_run(tmp_path / "typo")
    with pytest.raises(FileNotFoundError, match="no run at"):
        recipes.resume(tmp_path / "typo")


def test_a_corpus_that_has_moved(
    text_file: Path, corpus: Corpus, tmp_path: Path, finished: tuple[Trainer, LoadedRun, Any]
) -> None:
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(text_file.read_bytes())
    trainer, measured, _ = finished
    there = recipes.evaluate_run(trainer.run.path, data_dir=str(moved))
    assert there.evaluation == measured.evaluation


def test_without_a_test_split_the_validation_split_is_measured(
    text_file: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "corpus"
    directory.mkdir()
    for split in ("train", "valid"):
        shutil.copy(text_file, directory / f"{split}.txt")
    trainer = recipes.start(
        load_corpus(directory), options(max_steps=1), tmp_path / "run", annealer=None
    )
    trainer.fit()
    assert recipes.finish(tmp_path / "run")[0].split == "valid"


# Resuming


def press_in(trainer: Trainer, step: int) -> None:
    """Press Ctrl-C in a trainer's step number `step`."""
    add = trainer.window.add

    def press(number: int, *arguments: Any) -> None:
        add(number, *arguments)
        if number == step:
            signal.raise_signal(signal.SIGINT)

    trainer.window.add = press  # type: ignore[method-assign]


def test_a_resumed_run_is_the_uninterrupted_one(
    corpus: Corpus, tmp_path: Path, finished: tuple[Trainer, LoadedRun, dict[str, Any]]
) -> None:
    first = recipes.start(corpus, options(), tmp_path / "run")
    press_in(first, 3)
    with pytest.raises(SafeInterrupt):
        first.fit()
    second = recipes.resume(tmp_path / "run", {"lr": 1e-3})  # given anew, but the same
    assert second.step == 3
    second.fit()
    recipes.finish(tmp_path / "run")
    expected, found = (left_behind(run) for run in (finished[0].run.path, tmp_path / "run"))
    for results in (expected, found):
        results["results.json"] = json.loads(results["results.json"]) | {"minutes": 0}
    assert found == expected


def test_a_resumed_run_keeps_its_options(corpus: Corpus, tmp_path: Path) -> None:
    recipes.start(corpus, options(max_steps=1), tmp_path / "run").fit()
    before = left_behind(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"keeps its options \(only max_epochs, max_steps may"
    ) as e:
        recipes.resume(tmp_path / "run", {"lr": 0.5, "seed": 0, "latent_dim": 9, "max_steps": 4})
    assert f"lr is 0.001 in {tmp_path / 'run'}, got 0.5; latent_dim is 3" in str(e.value)
    assert left_behind(tmp_path / "run") == before


def test_a_resumed_run_may_be_longer(corpus: Corpus, tmp_path: Path) -> None:
    recipes.start(corpus, options(max_steps=1), tmp_path / "run").fit()
    longer = recipes.resume(tmp_path / "run", {"max_steps": 3, "max_epochs": 9})
    assert longer.fit() == "3 steps done"
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["run"]["training"]["max_steps"] == 3
    assert stored["run"]["training"]["max_epochs"] == 9
    assert stored["model"]["latent_dim"] == 3
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        recipes.resume(tmp_path / "run", {"max_steps": 0})


# Phases


@pytest.fixture(scope="module")
def phased(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phased") / "run"
    fit_all(recipes.phases(corpus, options(**PRETRAINED), path))
    return path


def test_pretraining_is_an_autoencoder_and_a_language_model(corpus: Corpus, tmp_path: Path) -> None:
    phases = recipes.phases(corpus, options(**PRETRAINED), tmp_path / "run")
    own = SentenceVAE.from_pretrained
    autoencoder = next(phases)
    fresh = own(tmp_path / "run").state_dict()
    assert autoencoder.run.path == tmp_path / "run" / "autoencoder"
    assert autoencoder.annealer.value_at(99) == 0  # type: ignore[attr-defined]
    assert autoencoder.fit() == "1 epochs done"
    language_model = next(phases)
    assert language_model.run.path == tmp_path / "run" / "language_model"
    assert language_model.model.latent_dim == 0
    assert language_model.fit() == "1 epochs done"
    last = next(phases)
    assert last.run.path == tmp_path / "run"
    assert next(phases, None) is None

    encoder, decoder = (own(t.run.path).state_dict() for t in (autoencoder, language_model))
    changed = 0
    for name, weights in last.model.state_dict().items():
        if not name.startswith("decoder."):
            assert torch.equal(weights, encoder[name])
        elif name in decoder:
            known = decoder[name].shape[-1]
            assert torch.equal(weights[..., :known], decoder[name])
            assert torch.equal(weights[..., known:], fresh[name][..., known:])
        else:
            assert torch.equal(weights, fresh[name])  # what z passes through
        changed += not torch.equal(weights, fresh[name])
    assert changed > len(fresh) / 2
    assert last.step == 0


@pytest.mark.parametrize(
    ("kind", "is_kept"), [("autoencoder", "encoder"), ("language_model", "decoder")]
)
def test_either_comes_alone(corpus: Corpus, tmp_path: Path, kind: str, is_kept: str) -> None:
    phases = recipes.phases(corpus, options(**{f"{kind}_epochs": 1}), tmp_path / "run")
    first = next(phases)
    first.fit()
    fresh = SentenceVAE.from_pretrained(tmp_path / "run").state_dict()
    last = next(phases)
    for name, weights in last.model.state_dict().items():
        if (is_kept == "encoder") == name.startswith("decoder."):
            assert torch.equal(weights, fresh[name])
    assert next(phases, None) is None


def test_a_language_model_needs_no_pretraining(corpus: Corpus, tmp_path: Path) -> None:
    wanted = options(latent_dim=0, max_steps=1, **PRETRAINED)
    assert len(fit_all(recipes.phases(corpus, wanted, tmp_path / "run"))) == 1
    assert not (tmp_path / "run" / "autoencoder").exists()


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_run_of_phases_resumes_in_the_phase_it_was_in(
    corpus: Corpus, phased: Path, tmp_path: Path, phase: int
) -> None:
    def fit_until_pressed() -> None:
        for i, trainer in enumerate(recipes.phases(corpus, options(**PRETRAINED), tmp_path / "r")):
            if i == phase:
                press_in(trainer, 2)
            trainer.fit()

    with pytest.raises(SafeInterrupt):
        fit_until_pressed()
    torch.manual_seed(99)
    resumed = fit_all(recipes.phases(None, {}, tmp_path / "r"))
    assert len(resumed) == 3 - phase
    assert left_behind(tmp_path / "r") == left_behind(phased)


# What is said of a run


def test_the_heading_says_what_was_left_out(corpus: Corpus, tmp_path: Path) -> None:
    whole = recipes.start(corpus, options(), tmp_path / "whole")
    heading = report.run_heading(whole, corpus).split("\n")
    assert heading[0] == (
        f"{tmp_path / 'whole'}: {corpus.source}, 32 sentences of {whole.train.num_tokens:,} tokens "
        "to train on, 2 empty lines skipped"
    )
    parameters = sum(p.numel() for p in whole.model.parameters())
    size = len(whole.model.tokenizer)  # type: ignore[arg-type]
    assert heading[1] == (f"z of 3, vocabulary {size:,}, {parameters:,} parameters, float32 on cpu")
    assert "skipped" not in report.run_heading(whole)
    lengths = [len(text.split()) for text in corpus["train"]["text"]]
    long = sum(length > 16 for length in lengths)
    assert 0 < long < 32
    for way, said in (("cut", f", {long} sentences cut"), ("drop", f", {long} sentences dropped")):
        trainer = recipes.start(
            corpus, options(max_length=16, too_long=way, latent_dim=0), tmp_path / way
        )
        heading = report.run_heading(trainer).split("\n")
        assert heading[0].endswith(f" to train on{said}")
        assert heading[1].startswith("language model, ")


def test_an_evaluation_is_marked_with_its_corpus(
    finished: tuple[Trainer, LoadedRun, dict[str, Any]], corpus: Corpus
) -> None:
    _, measured, _ = finished
    terms = Evaluation(98.5, 4.25, -102.75, 119.0, 1.5, 7.6, 2, 3, [4.0, 0.25, 0.0], 3761, 82430)
    for name, shown in [
        ("mine", "mine, "),
        ("ptb", "Penn Treebank, "),
        ("grammar", "EMBEDDED CORPUS (made by a grammar, no real text), "),
    ]:
        other = Corpus(name, corpus.splits, "source", {})
        lines = report.evaluation(replace(measured, corpus=other, evaluation=terms), β=1.0).split(
            "\n"
        )
        assert lines == [
            f"{shown}test split: 3,761 sentences of 82,430 tokens, nats per sentence",
            "  rec    KL   −ELBO  ELBO-PPL   AU  active dims     β",
            "98.50  4.25  102.75    119.00  2/3            3  1.00",
            "KL per dimension │█▁ │ 3 dimensions, largest 4.000 nats",
        ]


def test_the_closing_ends_with_commands_that_can_be_pasted(
    finished: tuple[Trainer, LoadedRun, dict[str, Any]], corpus: Corpus
) -> None:
    _, measured, results = finished
    texts = {"text": ["it 's a $ N; profit for the company", "prices fell again at the end of it"]}
    tricky = replace(measured, corpus=Corpus("mine", {"test": texts}, "source", {}))
    text = report.closing(tricky, results, "my runs/1")
    assert f"{results['epochs']} (best {results['best_epoch']})" in text
    assert text.split("\n")[-5:] == [
        "the run is in my runs/1; go on with",
        "  textvae diagnose 'my runs/1'",
        "  textvae sample 'my runs/1' -n 10 --seed 1",
        "  textvae reconstruct 'my runs/1' 'it '\"'\"'s a $ N; profit for the company'",
        "  textvae interpolate 'my runs/1' 'it '\"'\"'s a $ N; profit for the company' "
        "'prices fell again at the end of it'",
    ]


def test_a_closing_needs_no_more_than_one_sentence(
    finished: tuple[Trainer, LoadedRun, dict[str, Any]],
) -> None:
    _, measured, results = finished
    for texts in (["hm"], ["a sentence that would fit a line"]):
        one = Corpus("mine", {"test": {"text": texts}}, "source", {})
        text = report.closing(replace(measured, corpus=one), results, "run")
        assert text.count(texts[0]) >= 4
