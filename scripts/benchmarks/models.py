"""What is measured: a model of the size usual on Penn Treebank, its arithmetic, and sentences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from textvae import SentenceVAE, Tokenizer, load_corpus
from textvae.corpus import train_tokenizer
from textvae.recipes import source_and_recipe

PTB_SIZE: dict[str, Any] = {
    "vocab_size": 10_000,
    "embedding_dim": 256,
    "encoder_hidden_size": 256,
    "decoder_hidden_size": 256,
    "latent_dim": 32,
}

NO_DROPOUT = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Sentences(NamedTuple):
    """Ids of sentences without special tokens, and where they are from."""

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
    """Random sentences of a split, by default with a vocabulary of the model's size."""
    name, source, _ = source_and_recipe(data_dir)
    corpus = load_corpus(source)
    if tokenizer is None:
        tokenizer = train_tokenizer(corpus["train"], vocab_size=PTB_SIZE["vocab_size"])
    order = np.random.default_rng(0).permutation(len(corpus[split]))[:number]
    ids = tokenizer.encode_batch(corpus[split].select(order)["text"][:])
    return Sentences(ids, f"{'the embedded corpus' if name == 'grammar' else name} ({split})")


def new_model(**options: Any) -> SentenceVAE:
    """A model of Penn Treebank's size, untrained, always the same; without any dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SentenceVAE(**{**PTB_SIZE, **NO_DROPOUT, **options})


def sizes(model: SentenceVAE) -> str:
    """A model's sizes, in words."""
    found = {**vars(model.config), "vocab_size": model.vocab_size}
    return ", ".join(f"{name} {found[name]}" for name in PTB_SIZE)


def flops_per_token(
    model: SentenceVAE, length: float, *, encodings: float = 1, backward: bool = False
) -> float:
    """Floating-point operations that a model must do for each real token.

    A multiply-add is two; looking up an embedding is none; what is done for each element of a
    vector is left out. What z adds to the decoder is the same at all steps of a sentence, and so
    is counted once a sentence, of so many tokens in the mean. A sentence is encoded so many times
    for each time it is decoded: once in training, 1/K times with K samples, not at all where codes
    are decoded. A backward pass costs as much as two forward.
    """
    decoder = model.decoder
    per_token, per_sentence = weights(decoder.rnn) + weights(decoder.output), 0.0
    if decoder.latent_to_input:
        from_z = len(decoder.rnn.weight_ih_l0) * model.latent_dim
        per_token, per_sentence = per_token - from_z, per_sentence + from_z
    if decoder.latent_to_state:
        per_sentence += weights(decoder.latent_to_cell)
    if model.latent_dim > 0:
        per_token += encodings * weights(model.encoder.rnn)
        per_sentence += encodings * weights(model.head)
    return 2 * (3 if backward else 1) * (per_token + per_sentence / length)


def weights(layer: nn.Module) -> int:
    """Numbers in a layer's matrices: each is multiplied and added once a token."""
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() > 1)
