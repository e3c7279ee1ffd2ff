"""The vocabulary of a split, taken once: `train_tokenizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tokenizers
from tqdm import tqdm

from textvae.data.store import PROGRESS_DELAY, digest
from textvae.data.texts import TextSplit
from textvae.tokenizer import Kind, Tokenizer

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["train_tokenizer"]

TRAINING = 1
"""Counted up when the same texts would give other ids, so that no old cache is taken."""


def train_tokenizer(
    dataset: TextSplit | Dataset,
    kind: Kind = "word",
    *,
    vocab_size: int | None = None,
    min_count: int = 1,
) -> Tokenizer:
    """`Tokenizer.train` on the texts of a split, once: later calls find it in the cache.

    Args:
        dataset: A split with a column `text`, read piece by piece.
        kind: See `Tokenizer.train`, as for the rest.
        vocab_size: Most ids in all.
        min_count: Tokens seen less often become `<unk>`.

    Raises:
        ValueError: As `Tokenizer.train`.
    """
    split = dataset if isinstance(dataset, TextSplit) else TextSplit.from_dataset(dataset)
    version = (TRAINING, tokenizers.__version__)
    key = digest("vocabulary", version, split.key, kind, vocab_size, min_count)
    path = split.root / f"vocabulary-{key}.json"
    if path.is_file():
        return Tokenizer.load(path)
    texts = tqdm(
        split["text"],
        desc="taking the vocabulary",
        unit=" sentences",
        unit_scale=True,
        dynamic_ncols=True,
        delay=PROGRESS_DELAY,
        leave=False,
    )
    tokenizer = Tokenizer.train(texts, kind, vocab_size=vocab_size, min_count=min_count)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    return tokenizer
