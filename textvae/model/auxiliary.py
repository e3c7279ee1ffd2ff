"""Further losses on z that keep it from being ignored, by the name of the option that weighs them.

Shapes: S samples, B sentences, T tokens, H hidden, V vocabulary, Z latent dimensions,
N sentences of the batch in all processes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from textvae.batches import Batch
from textvae.config import ModelConfig
from textvae.model.labels import Labels
from textvae.model.networks import token_mask
from textvae.runtime import rows_of_all


class BagOfWords(nn.Module):
    """−Σ_t log softmax(MLP(z))[x_t]: z must tell the words, in any order (Zhao et al. 2017)."""

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.labels = Labels(config.classes)
        self.hidden = nn.Linear(config.code_size, config.decoder_hidden_size)
        self.output = nn.Linear(config.decoder_hidden_size, vocab_size)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """Z (B, Z) → (B,), or (S, B, Z) → (S, B); nats per sentence."""
        hidden = torch.tanh(self.hidden(self.labels.told(batch.labels, z)))
        scores = self.output(hidden).float()  # (…, B, V)
        ids = batch.target_ids.expand(*z.shape[:-1], -1)  # (…, B, T)
        told: Tensor = scores.log_softmax(-1).gather(-1, ids)
        return -told.masked_fill(~token_mask(batch.lengths, ids.shape[-1]), 0).sum(-1)


class MMD(nn.Module):
    """MMD²(q(z), p(z)): each sentence's part of the unbiased estimate, in (−2, 2).

    By the kernel k(z, y) = C / (C + |z − y|²), C = 2 Z, of Tolstikhin et al. (2018, WAE), over the
    pairs of the whole batch. Expectations over the prior are no draws but one integral each:
    k = ∫ exp(−u − u |z − y|² / C) du, whose mean over a Gaussian y is known. Nodes are even in
    ln u, so that the codes furthest from the prior, which need the smallest u, are pulled, too.
    """

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__()
        log_nodes = torch.linspace(-14, 4, 48, dtype=torch.float64)
        nodes, width = log_nodes.exp(), 18 / 47
        self.nodes = nn.Buffer(nodes.float(), persistent=False)
        self.weights = nn.Buffer((width * nodes * torch.exp(-nodes)).float(), persistent=False)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """Z (B, Z) → (B,), or (S, B, Z) → (S, B); the mean over sentences is the estimate."""
        latent_dim, u, of_all = z.shape[-1], self.nodes / z.shape[-1], rows_of_all(z)
        squares = (z[..., :, None, :] - of_all[..., None, :, :]).square().sum(-1)  # (…, B, N)
        kernel = 1 / (1 + squares / (2 * latent_dim))
        others = (kernel.sum(-1) - 1) / max(1, of_all.shape[-2] - 1)
        decay = torch.exp(-0.5 * z.square().sum(-1, keepdim=True) * u / (1 + u))  # (…, B, nodes)
        to_prior = ((1 + u) ** (-latent_dim / 2) * decay * self.weights).sum(-1)
        of_prior = ((1 + 2 * u) ** (-latent_dim / 2) * self.weights).sum()
        return others - 2 * to_prior + of_prior


AUXILIARIES: dict[str, Callable[[int, ModelConfig], Any]] = {
    "bag_of_words": BagOfWords,
    "mmd": MMD,
}
"""By the names of the options that hold their weights: modules that take a batch and its codes z
(B, Z) and give nats per sentence (B,), built from the vocabulary's size and the configuration."""
