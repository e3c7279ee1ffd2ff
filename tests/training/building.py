"""A tiny model on sixty sentences, for the tests and for processes that they start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.sizes import SMALL
from textvae import grammar
from textvae.annealers import KLAnnealer
from textvae.batches import BatchLoader, EncodedSplit
from textvae.config import RunConfig
from textvae.model import SentenceVAE
from textvae.run import RunDirectory
from textvae.tokenizer import Tokenizer
from textvae.training import Trainer

OPTIONS = {**SMALL, "word_dropout": 0.2, "lr": 0.01, "max_epochs": 3, "log_every": 3}
"""48 sentences to train on: an epoch is six steps."""


def sixty_sentences() -> list[str]:
    """Sentences of three to six words: 48 to train on, twelve to judge by."""
    drawn = [sentence.text.split() for sentence in grammar.sample(60, seed=1)]
    return [" ".join(words[: 3 + i % 4]) for i, words in enumerate(drawn)]


def prepared(path: Path, vocabulary: Tokenizer, options: dict[str, Any]) -> RunDirectory:
    """A new run with an untrained model."""
    run = RunDirectory.create(path, RunConfig.from_flat("sixty", {**OPTIONS, **options}))
    torch.manual_seed(run.config.training.seed)
    sizes = vars(run.config.model)
    SentenceVAE(len(vocabulary), **sizes, tokenizer=vocabulary).save_pretrained(path)
    return run


def opened(
    path: Path,
    train: list[str],
    valid: list[str],
    *,
    annealer: KLAnnealer | None = None,
) -> Trainer:
    """The trainer of a run, where that is now."""
    run = RunDirectory.open(path)
    model, training = SentenceVAE.from_pretrained(path), run.config.training
    encode = model.tokenizer.encode_batch
    trainer = Trainer(
        model,
        BatchLoader(
            EncodedSplit.from_ids(encode(train)),
            batch_size=training.batch_size,
            seed=training.seed,
        ),
        BatchLoader(EncodedSplit.from_ids(encode(valid)), batch_size=5, shuffle=False),
        run,
        annealer=annealer,
    )
    if run.state_file.exists():
        torch.manual_seed(123)  # nothing may hang on what the process did before
        trainer.resume()
    else:
        torch.manual_seed(training.seed)
    return trainer
