"""From a configuration to a trained and measured run, and configurations known to work.

Offers `RECIPES` (named options), `open_corpus`, `start`, `resume` and `phases` (which put a run's
parts together), `finish` (which measures a trained run) and `evaluate_run` (on any split).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from textvae.annealers import KLAnnealer
from textvae.checkpoint import RunDirectory
from textvae.config import DataConfig, RunConfig
from textvae.data import BatchLoader, Corpus, EncodedSplit, encode_split, load_corpus
from textvae.diagnostics import Evaluation, evaluate
from textvae.files import write_json
from textvae.hub import find_pretrained
from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer
from textvae.training import Trainer

__all__ = [
    "RECIPES",
    "Measured",
    "evaluate_run",
    "finish",
    "open_corpus",
    "phases",
    "refuse_other_corpus",
    "resume",
    "start",
]

PRETRAINING: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "autoencoder": MappingProxyType(
            {
                "annealer": "constant",
                "max_beta": 0.0,
                "free_bits": 0.0,
                # Its decoder will be thrown away, so it may be blinded: every second word has to
                # come through z. Adam finds out how sooner than SGD.
                "word_dropout": 0.5,
                "optimizer": "adam",
                "lr": 1e-3,
            }
        ),
        "language_model": MappingProxyType({"latent_dim": 0}),
    }
)
"""Phases that may come first: their options, over those of the run."""

EXTENDABLE = ("max_epochs", "max_steps")
"""Options that may be given anew when a run is resumed: the others would change its result."""

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "ptb": MappingProxyType(
            {
                # An informed encoder and a good language model first, free bits (2.6 nats over
                # 32 dimensions) to keep them on speaking terms, and plain SGD halved on plateaus.
                "embedding_dropout": 0.4,
                "output_dropout": 0.4,
                "autoencoder_epochs": 2,
                "language_model_epochs": 18,
                "annealer": "sigmoid",
                "warmup_epochs": 5.0,
                "free_bits": 0.08,
                "optimizer": "sgd",
                "lr": 1.0,
                "lr_patience": 1,
                "max_lr_decays": 4,
                "max_epochs": 60,
            }
        ),
        # The case that annealing was made for: with the full KL weight from the first step
        # (annealer constant) the posterior collapses for good. Three in ten of the decoder's words
        # are dropped, so that a code which repeats what they said is worth its KL; a decoder that
        # has learned to do without one never finds that out.
        "grammar": MappingProxyType(
            {
                "latent_dim": 16,
                "embedding_dim": 64,
                "encoder_hidden_size": 64,
                "decoder_hidden_size": 128,
                "embedding_range": 1.7,
                "embedding_dropout": 0.0,
                "output_dropout": 0.0,
                "word_dropout": 0.3,
                "annealer": "linear",
                "warmup_epochs": 5.0,
                "max_epochs": 10,
            }
        ),
    }
)
"""Options that differ from the defaults, by the corpus they were found to be good for."""


class Measured(NamedTuple):
    """A saved run, measured.

    Attributes:
        model: The run's best model, with its tokenizer.
        corpus: The corpus.
        split: Which of its splits was measured.
        evaluation: The model's terms on that split.
    """

    model: SentenceVAE
    corpus: Corpus
    split: str
    evaluation: Evaluation


def open_corpus(source: str, config: DataConfig) -> Corpus:
    """Load a corpus with the options of a configuration.

    Raises:
        DataError: If it can't be had or can't be used.
    """
    return load_corpus(
        source,
        text_field=config.text_field,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        seed=config.split_seed,
    )


def start(
    corpus: Corpus,
    options: Mapping[str, Any],
    output_dir: str | Path,
    *,
    annealer: KLAnnealer | None = None,
) -> Trainer:
    """Begin a run of one phase: vocabulary, batches, model and trainer, in a new run directory.

    Args:
        corpus: What to train on.
        options: Fields of `ModelConfig`, `DataConfig` and `TrainingConfig`; the rest keep their
            defaults.
        output_dir: Directory of the run.
        annealer: Takes the place of the configured schedule.

    Returns:
        A trainer, ready to `fit`.

    Raises:
        ValueError: If an option is unknown or out of range, if it asks for pretraining (which
            `phases` does), or if the corpus has no validation split.
        FileExistsError: If there is something at `output_dir`.
    """
    for name in PRETRAINING:
        if options.get(f"{name}_epochs"):
            raise ValueError(f"{name}_epochs makes a run of several phases: use recipes.phases")
    return next(phases(corpus, options, output_dir, annealer=annealer))


def resume(
    output_dir: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    annealer: KLAnnealer | None = None,
) -> Trainer:
    """Continue a run, or the phase it is in, from its last training state, to the same result.

    Args:
        output_dir: Directory of the run.
        options: Options given anew; they must be those of the run, but for `max_epochs` and
            `max_steps`.
        annealer: As given to `start`.

    Returns:
        A trainer that `fit`s on from where the run was.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If an option differs from the run's.
    """
    return next(phases(None, options or {}, output_dir, annealer=annealer))


def phases(
    corpus: Corpus | None,
    options: Mapping[str, Any],
    output_dir: str | Path,
    *,
    annealer: KLAnnealer | None = None,
) -> Iterator[Trainer]:
    """A run's phases that are still to be trained, each built when the one before is done.

    There is one, unless pretraining is asked for, in a directory of its own within the run's:
    `autoencoder_epochs` gives the run an encoder that already has something to say when the KL
    term is first heard, `language_model_epochs` a decoder that knows the language, so that what z
    is used for is what the words before do not tell.

    Args:
        corpus: What to train on; None continues the run in `output_dir`.
        options: As for `start`, or for `resume`.
        output_dir: Directory of the run.
        annealer: Takes the place of the configured schedule in the last phase.

    Yields:
        Trainers; `fit` each before asking for the next.

    Raises:
        ValueError: As `start` and `resume`.
        FileExistsError: If a new run's directory is taken.
        FileNotFoundError: If there is no run to continue.

    Reference:
        Li et al. (2019), A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text.
    """
    if corpus is None:
        run = _reopened(output_dir, options)
        corpus = open_corpus(run.config.data_source, run.config.data)
        model = SentenceVAE.from_pretrained(run.path)
        loaders = _training_loaders(corpus, _tokenizer_of(model), run.config)
    else:
        RunDirectory.refuse_if_taken(output_dir)
        config = RunConfig.from_flat(corpus.source, dict(options))
        model = _new_model(corpus, config)
        loaders = _training_loaders(corpus, _tokenizer_of(model), config)
        # Not before all else is known to be right: a directory once there is refused next time.
        run = RunDirectory.create(output_dir, config)
        model.save_pretrained(run.path)
    is_new = not run.state_file.exists()
    if is_new and model.latent_dim > 0:
        for name in PRETRAINING:
            if getattr(run.config.training, f"{name}_epochs"):
                pretraining = _pretraining(name, run, corpus)
                if pretraining.ended is None:
                    yield pretraining
                _take_weights(name, SentenceVAE.from_pretrained(pretraining.run.path), model)
        torch.manual_seed(run.config.training.seed)
    trainer = Trainer(model, *loaders, run, annealer=annealer)
    if not is_new:
        trainer.resume()
    yield trainer


def _reopened(output_dir: str | Path, options: Mapping[str, Any]) -> RunDirectory:
    run = RunDirectory.open(output_dir)
    _refuse_other_options(run, options)
    if options:
        flat = run.config.flat() | dict(options)
        run.reconfigure(RunConfig.from_flat(run.config.data_source, flat))
    return run


def _new_model(corpus: Corpus, config: RunConfig) -> SentenceVAE:
    tokenizer = Tokenizer.train(
        corpus["train"]["text"][:],
        config.data.tokenizer,
        vocab_size=config.data.vocab_size,
        min_count=config.data.min_count,
    )
    torch.manual_seed(config.training.seed)
    return SentenceVAE(len(tokenizer), **dataclasses.asdict(config.model), tokenizer=tokenizer)


def _pretraining(name: str, run: RunDirectory, corpus: Corpus) -> Trainer:
    directory = run.path / name
    if directory.exists():
        return resume(directory)
    options = {**run.config.flat(), **PRETRAINING[name]}
    options["max_epochs"] = options[f"{name}_epochs"]
    return start(corpus, options | {f"{other}_epochs": 0 for other in PRETRAINING}, directory)


@torch.no_grad()
def _take_weights(name: str, trained: SentenceVAE, model: SentenceVAE) -> None:
    """Copy a pretrained decoder, or all but the decoder."""
    own = model.state_dict()
    for key, weights in trained.state_dict().items():
        if key.startswith("decoder.") == (name == "language_model"):
            # The decoder's first layer reads a word and z: a language model has learned the
            # columns of the word, which come first.
            own[key][..., : weights.shape[-1]] = weights


def evaluate_run(
    name: str | Path, split: str = "test", *, data_dir: str | None = None, seed: int = 0
) -> Measured:
    """Measure a saved run's true ELBO on a split of its corpus.

    Args:
        name: A run directory or hub id.
        split: `"train"`, `"valid"` or `"test"`.
        data_dir: Where the corpus is now, if not where the run found it.
        seed: Seed of the posterior noise.

    Returns:
        Model, corpus, split and evaluation.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus can't be had, or has no such split.
    """
    model = SentenceVAE.from_pretrained(name)
    config = RunDirectory.open(find_pretrained(name)).config
    source = config.data_source
    if data_dir is not None:
        source = f"ptb:{data_dir}" if source.startswith("ptb") else data_dir
    corpus = open_corpus(source, config.data)
    encoded = _encoded(corpus, split, _tokenizer_of(model), config.data)
    evaluation = evaluate(model, _evaluation_loader(encoded), encoded.num_sentences, seed=seed)
    return Measured(model, corpus, split, evaluation)


def finish(output_dir: str | Path) -> tuple[Measured, dict[str, Any]]:
    """Measure a trained run on its test split (validation, if there is none) and keep the result.

    Args:
        output_dir: Directory of the run.

    Returns:
        The measurement, and what `results.json` now holds: it, and how the run went.
    """
    run = RunDirectory.open(output_dir)
    corpus = open_corpus(run.config.data_source, run.config.data)
    measured = evaluate_run(output_dir, "test" if "test" in corpus.splits else "valid")
    judged = [record for record in run.metrics() if record["split"] == "valid"]
    kept = [record for record in judged if record["verdict"] == "better"][-1]
    results = {
        "corpus": measured.corpus.name,
        "split": measured.split,
        **measured.evaluation.to_dict(),
        "beta": kept["beta"],
        "epochs": judged[-1]["epoch"],
        "best_epoch": kept["epoch"],
        "minutes": round(judged[-1]["seconds"] / 60, 1),
        "seed": run.config.training.seed,
    }
    write_json(run.results_file, results)
    return measured, results


def _training_loaders(
    corpus: Corpus, tokenizer: Tokenizer, config: RunConfig
) -> tuple[BatchLoader, BatchLoader]:
    train = _encoded(corpus, "train", tokenizer, config.data)
    valid = _encoded(corpus, "valid", tokenizer, config.data)
    training = config.training
    loader = BatchLoader(
        train,
        batch_size=None if training.max_tokens else training.batch_size,
        max_tokens=training.max_tokens,
        seed=training.seed,
    )
    return loader, _evaluation_loader(valid)


def _encoded(corpus: Corpus, split: str, tokenizer: Tokenizer, config: DataConfig) -> EncodedSplit:
    return encode_split(
        corpus[split], tokenizer, max_length=config.max_length, too_long=config.too_long
    )


def _evaluation_loader(split: EncodedSplit) -> BatchLoader:
    return BatchLoader(split, batch_size=64, shuffle=False)


def _tokenizer_of(model: SentenceVAE) -> Tokenizer:
    assert model.tokenizer is not None, "from_pretrained brings one"
    return model.tokenizer


def refuse_other_corpus(output_dir: str | Path, corpus: Corpus | None) -> None:
    """Raise if a run that is to be resumed was begun on another corpus.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If the corpus is not the run's; None is no corpus and always right.
    """
    source = RunDirectory.open(output_dir).config.data_source
    if corpus is not None and corpus.source != source:
        raise ValueError(f"{output_dir} was trained on {source}, got {corpus.source}")


def _refuse_other_options(run: RunDirectory, options: Mapping[str, Any]) -> None:
    stored = run.config.flat()
    faults = [
        f"{name} is {stored.get(name)!r} in {run.path}, got {value!r}"
        for name, value in options.items()
        if name not in EXTENDABLE and stored.get(name) != value
    ]
    if faults:
        raise ValueError(
            f"a resumed run keeps its options (only {', '.join(EXTENDABLE)} may change): "
            + "; ".join(faults)
        )
