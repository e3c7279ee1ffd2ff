"""The recurrent encoder: a batch of sentences in, one vector per sentence out.

Shapes: B sentences, T tokens, E embedding, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textvae.config import ModelConfig
from textvae.tokenizer import PAD_ID

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def token_mask(lengths: Tensor, max_length: int) -> Tensor:
    """True at real tokens: (B,) lengths → (B, T) bool."""
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]


class Encoder(nn.Module):
    """Embedding and recurrent network, pooled to one vector per sentence.

    What a sentence is mapped to does not depend on its neighbours in the batch or on padding.
    """

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.pooling, self.bidirectional = config.pooling, config.bidirectional
        self.hidden_size = config.encoder_hidden_size
        self.output_size = self.hidden_size * (2 if self.bidirectional else 1)
        self.embedding = nn.Embedding(vocab_size, config.embedding_dim, padding_idx=PAD_ID)
        self.rnn = CELLS[config.encoder_cell](
            config.embedding_dim,
            self.hidden_size,
            num_layers=config.encoder_num_layers,
            bidirectional=self.bidirectional,
            batch_first=True,
        )

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Ids (B, T), padded at the end, and lengths (B,) → (B, output_size)."""
        return self._pool(self._outputs(self.embedding(ids), lengths), lengths)

    def _outputs(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        # Left to right, padding comes after everything that is read, so the fast unpacked path is
        # exact. Right to left it would come first and leak into the state: pack it away.
        if not self.bidirectional:
            outputs: Tensor = self.rnn(embedded)[0]
            return outputs
        packed = pack_padded_sequence(
            embedded, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=embedded.shape[1]
        )[0]

    def _pool(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        mask = token_mask(lengths, outputs.shape[1])[:, :, None]  # (B, T, 1)
        if self.pooling == "mean":
            return (outputs * mask).sum(1) / lengths[:, None]
        if self.pooling == "max":
            return outputs.masked_fill(~mask, -torch.inf).amax(1)
        rows = torch.arange(len(lengths), device=outputs.device)
        last = outputs[rows, lengths - 1]
        if not self.bidirectional:
            return last
        # The backward direction has read the whole sentence at its first token.
        return torch.cat([last[:, : self.hidden_size], outputs[:, 0, self.hidden_size :]], dim=-1)
