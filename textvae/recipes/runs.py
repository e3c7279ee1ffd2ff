"""A run's parts put together: `open_corpus`, `start`, `resume`, `phases`, `refuse_other_corpus`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from textvae.annealers import KLAnnealer
from textvae.config import DataConfig, RunConfig
from textvae.corpus import Corpus, load_corpus, train_tokenizer
from textvae.model import SentenceVAE
from textvae.recipes.loaders import training_loaders
from textvae.recipes.options import EXTENDABLE, PRETRAINING
from textvae.run import RunDirectory
from textvae.runtime import current, join
from textvae.training import Trainer

__all__ = [
    "open_corpus",
    "phases",
    "refuse_other_corpus",
    "resume",
    "start",
]


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
        Trainers; `fit` each before asking for the next. Where a launcher started several
        processes, all must do so, and each is given its own.

    Raises:
        ValueError: As `start` and `resume`.
        FileExistsError: If a new run's directory is taken.
        FileNotFoundError: If there is no run to continue.
        ElsewhereError: In the other processes, where one of several raises.

    Reference:
        Li et al. (2019), A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text.
    """
    if corpus is None:
        processes = join(cpu=_is_kept_from_accelerators(output_dir))
        run = processes.first(lambda: _reopened(output_dir, options))
        config = run.config
        found = processes.in_turn(lambda: open_corpus(config.data_source, config.data))
        model = SentenceVAE.from_pretrained(run.path)
        loaders = processes.in_turn(lambda: training_loaders(found, model.tokenizer, config))
    else:
        found = corpus
        processes = join(cpu=options.get("device") == "cpu")
        config, model = processes.first(lambda: _planned(found, options, output_dir))
        loaders = processes.in_turn(lambda: training_loaders(found, model.tokenizer, config))
        # Not before all else is known to be right: a directory once there is refused next time.
        longest = loaders[0].split.longest
        run = processes.first(lambda: _created(output_dir, config, model, longest))
    is_new = not run.state_file.exists()
    if is_new and model.latent_dim > 0:
        for name in PRETRAINING:
            if getattr(run.config.training, f"{name}_epochs"):
                pretraining = _pretraining(name, run, found)
                if pretraining.ended is None:
                    yield pretraining
                _take_weights(name, SentenceVAE.from_pretrained(pretraining.run.path), model)
        torch.manual_seed(run.config.training.seed)
    trainer = Trainer(model, *loaders, run, annealer=annealer)
    if not is_new:
        processes.in_turn(trainer.resume)
    yield trainer


def _is_kept_from_accelerators(output_dir: str | Path) -> bool:
    """Whether an existing run trains on the CPU; False if there is none, which others tell."""
    try:
        return RunDirectory.open(output_dir).config.training.device == "cpu"
    except (OSError, ValueError):
        return False


def _planned(
    corpus: Corpus, options: Mapping[str, Any], output_dir: str | Path
) -> tuple[RunConfig, SentenceVAE]:
    RunDirectory.refuse_if_taken(output_dir)
    config = RunConfig.from_flat(corpus.source, dict(options))
    return config, _new_model(corpus, config)


def _created(
    output_dir: str | Path, config: RunConfig, model: SentenceVAE, longest: int
) -> RunDirectory:
    run = RunDirectory.create(output_dir, config, longest_sentence=longest)
    model.save_pretrained(run.path)
    return run


def _reopened(output_dir: str | Path, options: Mapping[str, Any]) -> RunDirectory:
    run = RunDirectory.open(output_dir)
    _refuse_other_options(run, options)
    if options:
        flat = run.config.flat() | dict(options)
        run.reconfigure(RunConfig.from_flat(run.config.data_source, flat))
    return run


def _new_model(corpus: Corpus, config: RunConfig) -> SentenceVAE:
    tokenizer = train_tokenizer(
        corpus["train"],
        config.data.tokenizer,
        vocab_size=config.data.vocab_size,
        min_count=config.data.min_count,
    )
    torch.manual_seed(config.training.seed)
    return SentenceVAE(len(tokenizer), **dataclasses.asdict(config.model), tokenizer=tokenizer)


def _pretraining(name: str, run: RunDirectory, corpus: Corpus) -> Trainer:
    directory = run.path / name
    if current().first(directory.exists):
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
