"""What is measured: a model of the size usual on Penn Treebank, its arithmetic, and sentences."""

from typing import Any

import numpy as np
import torch
from torch import nn

from textvae import SentenceVAE, Tokenizer, load_corpus
from textvae.corpus import train_tokenizer
from textvae.recipes import source_and_sizes

PTB_SIZE: dict[str, Any] = {
    "vocab_size": 10_000,
    "embedding_dim": 256,
    "encoder_hidden_size": 256,
    "decoder_hidden_size": 256,
    "latent_dim": 32,
}

NO_DROPOUT = {"word_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}

Ids = list[list[int]]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def some_sentences(
    data_dir: str | None, split: str, number: int, tokenizer: Tokenizer | None = None
) -> tuple[Ids, str]:
    """Ids of random sentences of a split, without special tokens, and what they are, in words."""
    name, source, _ = source_and_sizes(data_dir)
    corpus = load_corpus(source)
    if tokenizer is None:
        tokenizer = train_tokenizer(corpus["train"], vocab_size=PTB_SIZE["vocab_size"])
    order = np.random.default_rng(0).permutation(len(corpus[split]))[:number]
    ids = tokenizer.encode_batch(corpus[split].select(order)["text"][:])
    where = f"{'the embedded corpus' if name == 'grammar' else name} ({split})"
    tokens = f"{num_tokens(ids):,} tokens ({num_tokens(ids) / len(ids):.1f} a sentence)"
    return ids, f"{len(ids):,} sentences of {where} at random, {tokens}"


def num_tokens(sentences: Ids) -> int:
    """Predicted tokens, EOS counted."""
    return sum(len(ids) + 1 for ids in sentences)


def new_model(**options: Any) -> SentenceVAE:
    """A model of Penn Treebank's size, untrained, always the same; without any dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SentenceVAE(**{**PTB_SIZE, **NO_DROPOUT, **options})


def sizes(model: SentenceVAE) -> str:
    """A model's sizes, in words."""
    found = {**vars(model.config), "vocab_size": model.vocab_size}
    return ", ".join(f"{name} {found[name]}" for name in PTB_SIZE)


def flops_per_token(model: SentenceVAE, *, encodings: float = 1, backward: bool = False) -> float:
    """Floating-point operations that a model must do for each real token.

    A multiply-add is two. What is done for each element of a vector is left out, and what is done
    once a sentence: the posterior, what z adds to the decoder. A sentence is encoded so many times
    for each time it is decoded: once in training, 1/K times with K samples, not at all where codes
    are decoded. A backward pass costs as much as two forward.
    """
    decoder = model.decoder
    from_z = len(decoder.rnn.weight_ih_l0) * model.latent_dim if decoder.latent_to_input else 0
    products = sum(map(weights, (decoder.rnn, decoder.projection, decoder.output))) - from_z
    if model.latent_dim > 0:
        products += encodings * weights(model.encoder.rnn)
    return 2 * (3 if backward else 1) * products


def weights(layer: nn.Module) -> int:
    """Numbers in a layer's matrices: each is multiplied and added once a token."""
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() > 1)
