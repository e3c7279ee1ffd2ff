"""Batches as a run's configuration wants them: `training_loaders`, `evaluation_loader`."""

from __future__ import annotations

from textvae.batches import BatchLoader, encode_split
from textvae.config import DataConfig, RunConfig
from textvae.corpus import Corpus
from textvae.tokenizer import Tokenizer

__all__ = ["evaluation_loader", "training_loaders"]


def training_loaders(
    corpus: Corpus, tokenizer: Tokenizer, config: RunConfig
) -> tuple[BatchLoader, BatchLoader]:
    """Batches of the training split, shuffled each epoch, and of the validation split."""
    training, data = config.training, config.data
    split = encode_split(
        corpus["train"], tokenizer, max_length=data.max_length, too_long=data.too_long
    )
    loader = BatchLoader(
        split,
        batch_size=None if training.max_tokens else training.batch_size,
        max_tokens=training.max_tokens,
        seed=training.seed,
    )
    return loader, evaluation_loader(corpus, "valid", tokenizer, data)


def evaluation_loader(
    corpus: Corpus, split: str, tokenizer: Tokenizer, config: DataConfig
) -> BatchLoader:
    """Batches of a split, always in the same order.

    Raises:
        DataError: If there is no such split.
    """
    encoded = encode_split(
        corpus[split], tokenizer, max_length=config.max_length, too_long=config.too_long
    )
    return BatchLoader(encoded, batch_size=64, shuffle=False)
