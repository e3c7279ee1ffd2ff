"""What is measured: a model of the size usual on Penn Treebank, and sentences of a corpus."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from textvae.corpus import load_corpus, train_tokenizer
from textvae.model import SentenceVAE
from textvae.recipes import source_and_recipe
from textvae.tokenizer import Tokenizer

__all__ = ["PRECISIONS", "PTB_SIZE", "Sentences", "new_model", "sizes", "some_sentences"]

PTB_SIZE: dict[str, Any] = {
    "vocab_size": 10_000,
    "embedding_dim": 256,
    "encoder_hidden_size": 256,
    "decoder_hidden_size": 256,
    "latent_dim": 32,
}

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Sentences(NamedTuple):
    """A random part of a split.

    Attributes:
        ids: Of each sentence, without special tokens.
        corpus: Where they are from, in words.
    """

    ids: list[list[int]]
    corpus: str

    @property
    def num_tokens(self) -> int:
        """Predicted tokens, EOS counted."""
        return sum(len(ids) + 1 for ids in self.ids)

    @property
    def mean_length(self) -> float:
        """Predicted tokens per sentence."""
        return self.num_tokens / len(self.ids)

    def __str__(self) -> str:
        return (
            f"{len(self.ids):,} sentences of {self.corpus} at random, {self.num_tokens:,} tokens "
            f"({self.mean_length:.1f} a sentence)"
        )


def some_sentences(
    data_dir: str | None, split: str, number: int, tokenizer: Tokenizer | None = None
) -> Sentences:
    """Sentences drawn from a split of Penn Treebank or, without its directory, embedded ones.

    Args:
        data_dir: Where Penn Treebank's files are, or whatever else `load_corpus` takes.
        split: Of the corpus.
        number: Of sentences; all, if there are fewer.
        tokenizer: Makes the ids; by default one with the model's vocabulary size.
    """
    name, source, _ = source_and_recipe(data_dir)
    corpus = load_corpus(source)
    if tokenizer is None:
        tokenizer = train_tokenizer(corpus["train"], vocab_size=PTB_SIZE["vocab_size"])
    texts = corpus[split]["text"][:]
    chosen = np.random.default_rng(0).permutation(len(texts))[:number]
    ids = tokenizer.encode_batch([texts[i] for i in chosen.tolist()])
    what = "the embedded corpus" if name == "grammar" else name
    return Sentences(ids, f"{what} ({split})")


def new_model(**options: Any) -> SentenceVAE:
    """A model of Penn Treebank's size, untrained, always the same; without any dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SentenceVAE(**{**PTB_SIZE, **options})


def sizes(model: SentenceVAE) -> str:
    """A model's sizes, in words."""
    return ", ".join(f"{name} {getattr(model.config, name)}" for name in PTB_SIZE)
