"""Further losses on z that keep it from being ignored, by the name of the option that weighs them.

Shapes: S samples, B sentences, T tokens, H hidden, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from textvae.batches import Batch
from textvae.config import ModelConfig
from textvae.model.networks import token_mask


class BagOfWords(nn.Module):
    """−Σ_t log softmax(MLP(z))[x_t]: z must tell the words, in any order (Zhao et al. 2017)."""

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(config.latent_dim, config.decoder_hidden_size)
        self.output = nn.Linear(config.decoder_hidden_size, vocab_size)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """Z (B, Z) → (B,), or (S, B, Z) → (S, B); nats per sentence."""
        scores = self.output(torch.tanh(self.hidden(z))).float()  # (…, B, V)
        ids = batch.target_ids.expand(*z.shape[:-1], -1)  # (…, B, T)
        told: Tensor = scores.log_softmax(-1).gather(-1, ids)
        return -told.masked_fill(~token_mask(batch.lengths, ids.shape[-1]), 0).sum(-1)


AUXILIARIES: dict[str, Callable[[int, ModelConfig], Any]] = {"bag_of_words": BagOfWords}
"""By the names of the options that hold their weights: modules that take a batch and its codes z
(B, Z) and give nats per sentence (B,), built from the vocabulary's size and the configuration."""
