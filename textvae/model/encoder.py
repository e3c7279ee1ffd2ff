"""The recurrent encoder: a batch of sentences in, one vector per sentence out.

Shapes: B sentences, T tokens, E embedding, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textvae.tokenizer import PAD_ID

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def token_mask(lengths: Tensor, max_length: int) -> Tensor:
    """True at real tokens: (B,) lengths → (B, T) bool."""
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]


class Encoder(nn.Module):
    """Embedding and recurrent network, pooled to one vector per sentence.

    What a sentence is mapped to does not depend on its neighbours in the batch or on padding.

    Args:
        vocab_size: Number of token ids V.
        embedding_dim: Embedding width E.
        hidden_size: Units H per layer and direction.
        num_layers: Recurrent layers.
        cell: `"gru"` or `"lstm"`.
        bidirectional: Read each sentence in both directions.
        pooling: `"last"` state, `"mean"` or `"max"` over the sentence's tokens.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        *,
        num_layers: int = 1,
        cell: str = "gru",
        bidirectional: bool = False,
        pooling: str = "last",
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.bidirectional = bidirectional
        self.hidden_size = hidden_size
        self.output_size = hidden_size * (2 if bidirectional else 1)
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=PAD_ID)
        self.rnn = CELLS[cell](
            embedding_dim,
            hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            batch_first=True,
        )

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Encode padded sentences.

        Args:
            ids: Token ids, (B, T), padded at the end.
            lengths: Real tokens of each sentence, (B,).

        Returns:
            (B, output_size).
        """
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
