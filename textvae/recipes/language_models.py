"""Language models that sentences are measured with: found, or trained and kept.

Offers `given_model` and `planned_model`, which say where one is or will be (`LanguageModel`),
`trained` (which trains it if it has to) and `sample_loaders`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch

from textvae.batches import BatchLoader, EncodedSplit
from textvae.config import RunConfig
from textvae.files import find_pretrained, write_json
from textvae.model import SentenceVAE
from textvae.recipes.loaded import LoadedRun
from textvae.run import RunDirectory
from textvae.tokenizer import Tokenizer
from textvae.training import Trainer

__all__ = ["LanguageModel", "given_model", "planned_model", "sample_loaders", "trained"]

Loaders = tuple[BatchLoader, BatchLoader]


class LanguageModel(NamedTuple):
    """Where a language model is, or is to be trained.

    Attributes:
        directory: Of its run.
        config: Of its run.
        has_ended: Whether its training has.
    """

    directory: Path
    config: RunConfig
    has_ended: bool


def given_model(name: str | Path, subject: LoadedRun) -> LanguageModel:
    """A run that someone has trained.

    Args:
        name: A run directory or hub id.
        subject: The run whose sentences it is to measure.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If it is no language model, or reads other sentences or reads them in another
            way: perplexities could not be compared.
    """
    directory = find_pretrained(name)
    config, model = RunDirectory.open(directory).config, SentenceVAE.from_pretrained(directory)
    if model.latent_dim != 0:
        raise ValueError(
            f"language_model must be a run with latent_dim 0, got {model.latent_dim} in {name}"
        )
    own, other = subject.model.tokenizer, model.tokenizer
    if other.fingerprint != own.fingerprint or config.data != subject.config.data:
        raise ValueError(
            "language_model must be of the same corpus, read in the same way (vocabulary, splits "
            f"and lengths): {name} is of {config.data_source} with a vocabulary of {len(other):,}, "
            f"the run of {subject.config.data_source} with one of {len(own):,}"
        )
    return LanguageModel(directory, config, has_ended=True)


def planned_model(run: str | Path, source: str, config: RunConfig) -> LanguageModel:
    """A language model beside a run, trained or yet to be trained.

    It is kept in `RUN/quality`, in a directory that only this configuration leads to: what is
    found there is never one of other data or other options.

    Args:
        run: Directory of the run.
        source: What it is trained on.
        config: Sizes and training, those of a VAE or of a language model.

    Raises:
        ValueError: If the run is no directory, but a hub id.
    """
    if not Path(run).is_dir():
        raise ValueError(f"a language model is kept in the run's directory: download {run} first")
    config = replace(
        config,
        data_source=source,
        # Words are dropped for the sake of z: here they would only blur the perplexity.
        model=replace(config.model, latent_dim=0, word_dropout=0.0),
        training=replace(config.training, autoencoder_epochs=0, language_model_epochs=0),
    )
    content = json.dumps(config.to_dict(), sort_keys=True)
    place = f"language_model-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    directory = Path(run) / "quality" / place
    has_ended = RunDirectory(directory, config).results_file.exists()
    return LanguageModel(directory, config, has_ended)


def trained(
    chosen: LanguageModel, tokenizer: Tokenizer, loaders: Callable[[], Loaders]
) -> SentenceVAE:
    """The language model, trained to the end from wherever it is.

    Args:
        chosen: Which.
        tokenizer: Its vocabulary.
        loaders: Gives the batches to train on and to judge by; asked only if they are needed.

    Raises:
        SafeInterrupt: After Ctrl-C, with the training state saved.
        TrainingError: If the loss is not finite.
    """
    if chosen.has_ended:
        return SentenceVAE.from_pretrained(chosen.directory)
    directory, config, _ = chosen
    batches = loaders()
    if directory.exists():
        run, model = RunDirectory.open(directory), SentenceVAE.from_pretrained(directory)
    else:
        torch.manual_seed(config.training.seed)
        model = SentenceVAE(len(tokenizer), **asdict(config.model), tokenizer=tokenizer)
        run = RunDirectory.create(directory, config)
        model.save_pretrained(directory)
    trainer = Trainer(model, *batches, run)
    if run.state_file.exists():
        trainer.resume()
    if trainer.ended is None:
        trainer.fit()
    write_json(run.results_file, run.kept_evaluation())
    return SentenceVAE.from_pretrained(directory)


def sample_loaders(
    ids: Sequence[Sequence[int]], num_train: int, max_length: int, config: RunConfig
) -> Loaders:
    """Batches of samples: the first `num_train` to train on, the others to judge by.

    Args:
        ids: The samples, without special tokens.
        num_train: How many to train on.
        max_length: Longer ones are cut and have no end.
        config: Of the language model.
    """
    training = config.training
    train = EncodedSplit.from_ids(ids[:num_train], max_length=max_length)
    valid = EncodedSplit.from_ids(ids[num_train:], max_length=max_length)
    # A sample may be longer than any sentence that the limit was chosen for.
    max_tokens = training.max_tokens and max(training.max_tokens, int(train.lengths.max()))
    loader = BatchLoader(
        train,
        batch_size=None if max_tokens else training.batch_size,
        max_tokens=max_tokens,
        seed=training.seed,
    )
    return loader, BatchLoader(valid, batch_size=64, shuffle=False)
