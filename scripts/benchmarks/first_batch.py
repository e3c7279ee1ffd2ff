"""From a directory of text files to the first batch, each in a process of its own.

The clock starts after torch is imported, and before anything of textvae.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

__all__ = ["textvae_way", "usual_way"]


def textvae_way(directory: str) -> float:
    """Seconds."""
    torch.get_num_threads()
    start = time.perf_counter()
    from textvae.batches import BatchLoader, encode_split
    from textvae.corpus import load_corpus, train_tokenizer

    corpus = load_corpus(directory)
    tokenizer = train_tokenizer(corpus["train"])
    for name in ("test", "valid", "train"):
        split = encode_split(corpus[name], tokenizer)
    next(BatchLoader(split).epoch(0))
    return time.perf_counter() - start


def usual_way(directory: str) -> float:
    """Seconds."""
    from benchmarks.usual import random_batches
    from benchmarks.usual.reading import ids_of, read_words, vocabulary_of

    start = time.perf_counter()
    words = {
        name: read_words(Path(directory, f"{name}.txt")) for name in ("test", "valid", "train")
    }
    vocabulary = vocabulary_of(words["train"])
    ids = {name: ids_of(sentences, vocabulary) for name, sentences in words.items()}
    next(random_batches(ids["train"], 32))
    return time.perf_counter() - start
