"""Training as usual: `UsualVAE`, `loss_terms`, `random_batches` and `train_on`.

Random batches padded to the longest sentence, a packed encoder, scores and log-softmax at every
position with the padding masked in the loss, torch's default Adam, and the losses read back at
each step.

Shapes: B sentences, T tokens, E embedding, H hidden, V vocabulary, Z latent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID

__all__ = ["PaddedBatch", "UsualVAE", "loss_terms", "random_batches", "train_on"]


class PaddedBatch(NamedTuple):
    """Sentences padded to the longest: what is read, what is predicted (B, T), lengths (B,)."""

    inputs: Tensor
    targets: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, sentences: Sequence[Sequence[int]]) -> PaddedBatch:
        """The batch of sentences' ids without special tokens."""
        inputs = [torch.tensor([BOS_ID, *ids]) for ids in sentences]
        targets = [torch.tensor([*ids, EOS_ID]) for ids in sentences]
        lengths = torch.tensor([len(ids) for ids in inputs])
        return cls(
            pad_sequence(inputs, batch_first=True, padding_value=PAD_ID),
            pad_sequence(targets, batch_first=True, padding_value=PAD_ID),
            lengths,
        )


class UsualVAE(nn.Module):
    """GRU encoder, Gaussian posterior, LSTM decoder that z enters by its state and its input.

    Layers are named as in `SentenceVAE`, so that either takes the other's weights.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        encoder_hidden_size: int,
        decoder_hidden_size: int,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict(
            {
                "embedding": nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD_ID),
                "rnn": nn.GRU(embedding_dim, encoder_hidden_size, batch_first=True),
            }
        )
        self.mu = nn.Linear(encoder_hidden_size, latent_dim)
        self.logvar = nn.Linear(encoder_hidden_size, latent_dim)
        self.decoder = nn.ModuleDict(
            {
                "embedding": nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD_ID),
                "latent_to_cell": nn.Linear(latent_dim, decoder_hidden_size),
                "rnn": nn.LSTM(embedding_dim + latent_dim, decoder_hidden_size, batch_first=True),
                "output": nn.Linear(decoder_hidden_size, vocab_size),
            }
        )

    @classmethod
    def like(cls, model: SentenceVAE) -> UsualVAE:
        """The same model with the same weights.

        Raises:
            ValueError: If it is no model of one GRU and one LSTM layer without dropout.
        """
        arguments = {"vocab_size": model.vocab_size, **dataclasses.asdict(model.config)}
        wanted: dict[str, Any] = {
            "encoder_cell": "gru",
            "encoder_num_layers": 1,
            "bidirectional": False,
            "pooling": "last",
            "decoder_cell": "lstm",
            "decoder_num_layers": 1,
            "latent_to": "both",
            "tied_embeddings": False,
        }
        unlike = [f"{name} {arguments[name]}" for name in wanted if arguments[name] != wanted[name]]
        if unlike:
            raise ValueError(f"the usual loop has no model with {', '.join(unlike)}")
        usual = cls(
            arguments["vocab_size"],
            arguments["embedding_dim"],
            arguments["encoder_hidden_size"],
            arguments["decoder_hidden_size"],
            arguments["latent_dim"],
        )
        usual.load_state_dict(model.state_dict())
        return usual

    def encode(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the posterior, (B, Z)."""
        embedded = self.encoder["embedding"](batch.targets)
        packed = pack_padded_sequence(
            embedded, batch.lengths, batch_first=True, enforce_sorted=False
        )
        _, hidden = self.encoder["rnn"](packed)
        return self.mu(hidden[-1]), self.logvar(hidden[-1])

    def log_probs(self, inputs: Tensor, z: Tensor) -> Tensor:
        """Log p of every word at every position, (B, T, V), for inputs (B, T) and z (B, Z)."""
        embedded = self.decoder["embedding"](inputs)
        repeated = z[:, None].expand(-1, inputs.shape[1], -1)
        cell = self.decoder["latent_to_cell"](z)[None]
        outputs, _ = self.decoder["rnn"](
            torch.cat([embedded, repeated], dim=-1), (torch.tanh(cell), cell)
        )
        return F.log_softmax(self.decoder["output"](outputs), dim=-1)


def loss_terms(model: UsualVAE, batch: PaddedBatch, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL of a batch with z = mu + sigma · noise, nats per sentence."""
    mu, logvar = model.encode(batch)
    z = mu + torch.exp(0.5 * logvar) * noise
    log_probs = model.log_probs(batch.inputs, z)
    rec = F.nll_loss(
        log_probs.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD_ID, reduction="sum"
    )
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return rec / len(batch.lengths), kl / len(batch.lengths)


def random_batches(sentences: Sequence[Sequence[int]], batch_size: int) -> Iterator[PaddedBatch]:
    """All sentences once, in random order, padded to the longest of each batch."""
    order = torch.randperm(len(sentences)).tolist()
    for start in range(0, len(order), batch_size):
        yield PaddedBatch.of([sentences[i] for i in order[start : start + batch_size]])


def train_on(
    model: UsualVAE, optimizer: torch.optim.Optimizer, batch: PaddedBatch, clip_norm: float
) -> tuple[float, float]:
    """One step, and what a loop prints of it: reconstruction and KL."""
    noise = torch.randn(len(batch.lengths), model.mu.out_features)
    rec, kl = loss_terms(model, batch, noise)
    optimizer.zero_grad()
    (rec + kl).backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return rec.item(), kl.item()
