"""The recurrent networks: an encoder's summary of each sentence, and the decoder p(x|z).

Shapes: S samples, B sentences, T tokens, E embedding, H hidden, L layers, V vocabulary, Z latent.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import dropout
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textvae.batches import Batch
from textvae.config import ModelConfig
from textvae.losses.output_layer import MAX_SCORES, token_nll
from textvae.tokenizer import BOS_ID, PAD_ID, UNK_ID

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}

DecoderState = tuple[Tensor, ...]
"""(h,) for a GRU, (h, c) for an LSTM, each (L, B, H)."""


def token_mask(lengths: Tensor, max_length: int) -> Tensor:
    """True at real tokens: (B,) lengths → (B, T) bool."""
    return torch.arange(max_length, device=lengths.device) < lengths[:, None]


class LockedDropout(nn.Dropout):
    """One mask for all tokens of a sentence (Gal & Ghahramani 2016, arXiv:1512.05287)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        return x * super().forward(x.new_ones(len(x), 1, x.shape[-1]))


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
        embedded = self.embedding(ids)
        if self.bidirectional:
            # Right to left, padding would be read first and leak into the state: pack it away.
            own = {"batch_first": True, "enforce_sorted": False}
            read, _ = self.rnn(pack_padded_sequence(embedded, lengths.cpu(), **own))
            outputs, _ = pad_packed_sequence(read, batch_first=True, total_length=ids.shape[1])
        else:
            outputs, _ = self.rnn(embedded)  # padding comes after everything that is read
        mask = token_mask(lengths, ids.shape[1])[:, :, None]  # (B, T, 1)
        if self.pooling == "mean":
            return (outputs * mask).sum(1) / lengths[:, None]
        if self.pooling == "max":
            return outputs.masked_fill(~mask, -torch.inf).amax(1)
        last = outputs[torch.arange(len(lengths), device=outputs.device), lengths - 1]
        if not self.bidirectional:
            return last
        # The backward direction has read the whole sentence at its first token.
        return torch.cat([last[:, : self.hidden_size], outputs[:, 0, self.hidden_size :]], dim=-1)


class Decoder(nn.Module):
    """Token by token, with z in the initial state, in the input at each step, or in both.

    By "skip" z is in both, in the input of the upper layers too, and a linear function of it is
    added to what the output layer reads (Dieng et al. 2019, Avoiding Latent Variable Collapse with
    Generative Skip Models).

    Word dropout (Bowman et al. 2016) makes it ask z for what it can no longer read. With a z of no
    dimensions it is a plain recurrent language model.
    """

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.max_scores = MAX_SCORES  # that `log_likelihood` holds at a time; see `token_nll`
        self.cell, self.word_dropout = config.decoder_cell, config.word_dropout
        self.num_layers, self.hidden_size = config.decoder_num_layers, config.decoder_hidden_size
        code_size = config.code_size
        has_skips = config.latent_to == "skip"
        self.latent_to_input = code_size > 0 and config.latent_to != "state"
        self.latent_to_state = code_size > 0 and config.latent_to != "input"
        self.embedding = nn.Embedding(vocab_size, config.embedding_dim, padding_idx=PAD_ID)
        kind = LockedDropout if config.locked_dropout else nn.Dropout
        self.embedding_dropout = kind(config.embedding_dropout)
        self.recurrent_dropout = config.recurrent_dropout
        # PyTorch's own stack takes nothing in between, and drops each token's units anew.
        is_stack = self.num_layers > 1 and not (has_skips or config.locked_dropout)
        self.rnn = CELLS[self.cell](
            config.embedding_dim + (code_size if self.latent_to_input else 0),
            self.hidden_size,
            num_layers=self.num_layers if is_stack else 1,
            dropout=config.output_dropout if is_stack else 0.0,
            batch_first=True,
        )
        # A language model of the same options has the same layers, so that it can be kept.
        size = self.hidden_size + (code_size if has_skips else 0)
        self.upper = nn.ModuleList(
            CELLS[self.cell](size, self.hidden_size, batch_first=True)
            for _ in range(0 if is_stack else self.num_layers - 1)
        )
        self.output_dropout = kind(config.output_dropout)
        self.projection: nn.Module = nn.Identity()
        width = config.embedding_dim if config.tied_embeddings else self.hidden_size
        if width != self.hidden_size:
            self.projection = nn.Linear(self.hidden_size, width, bias=False)
        self.output = nn.Linear(width, vocab_size)
        if config.tied_embeddings:
            self.output.weight = self.embedding.weight
        if self.latent_to_state:
            self.latent_to_cell = nn.Linear(code_size, self.num_layers * self.hidden_size)
        self.latent_to_output: nn.Linear | None = None
        if has_skips and code_size > 0:
            self.latent_to_output = nn.Linear(code_size, self.hidden_size, bias=False)

    def initial_state(self, z: Tensor) -> DecoderState:
        """The state before the first token, for z (B, Z).

        Zeros, or for an LSTM c = Wz + b and h = tanh(c), for a GRU h = tanh(Wz + b).
        """
        if self.latent_to_state:
            cell = self.latent_to_cell(z).view(len(z), self.num_layers, self.hidden_size)
            cell = cell.transpose(0, 1).contiguous()  # (L, B, H)
        else:
            cell = z.new_zeros(self.num_layers, len(z), self.hidden_size)
        return (torch.tanh(cell), cell) if self.cell == "lstm" else (torch.tanh(cell),)

    def step(self, ids: Tensor, state: DecoderState, z: Tensor) -> tuple[Tensor, DecoderState]:
        """Read one token (B,): scores of the next before softmax, (B, V), and the new state."""
        hidden, state = self.read(ids, state, z)
        return self.output(hidden), state

    def read(self, ids: Tensor, state: DecoderState, z: Tensor) -> tuple[Tensor, DecoderState]:
        """`step` without the scores: what the output layer reads, (B, H or E), and new state."""
        outputs, state = self._run(ids[:, None], state, z)
        return outputs[:, 0], state

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z), summed over tokens, nats: z (B, Z) → (B,), or (S, B, Z) → (S, B)."""
        samples = z.shape[:-2]
        z = z.flatten(0, -2)  # (S·B, Z)
        repeats = len(z) // len(batch.lengths)
        inputs = batch.input_ids.repeat(repeats, 1)
        targets, lengths = batch.target_ids.repeat(repeats, 1), batch.lengths.repeat(repeats)
        if self.training and self.word_dropout > 0:
            dropped = torch.rand(inputs.shape, device=inputs.device) < self.word_dropout
            inputs = inputs.masked_fill(dropped & (inputs != BOS_ID), UNK_ID)
        outputs, _ = self._run(inputs, self.initial_state(z), z)
        mask = token_mask(lengths, targets.shape[1])
        layer = outputs[mask], self.output.weight, self.output.bias
        nll = token_nll(*layer, targets[mask], max_scores=self.max_scores)
        per_token = nll.new_zeros(targets.shape).masked_scatter(mask, nll)
        return -per_token.sum(-1).view(*samples, len(batch.lengths))

    def _run(self, ids: Tensor, state: DecoderState, z: Tensor) -> tuple[Tensor, DecoderState]:
        outputs = self.embedding_dropout(self.embedding(ids))  # (B, T, E)
        every_step = z[:, None].expand(-1, ids.shape[1], -1)
        layers, ends = [self.rnn, *self.upper], []
        for rnn, *begin in zip(layers, *(part.chunk(len(layers)) for part in state), strict=True):
            if self.latent_to_output is not None or (self.latent_to_input and rnn is self.rnn):
                outputs = torch.cat([outputs, every_step.to(outputs.dtype)], dim=-1)
            begun = tuple(begin) if self.cell == "lstm" else begin[0]
            outputs, end = self._layer(rnn, outputs, begun)
            ends.append(end if self.cell == "lstm" else (end,))
            outputs = self.output_dropout(outputs)
        if self.latent_to_output is not None:
            outputs = outputs + self.latent_to_output(z)[:, None]
        return self.projection(outputs), tuple(map(torch.cat, zip(*ends, strict=True)))

    def _layer(self, rnn: nn.Module, *arguments: Any) -> Any:
        """One layer's pass, in training with the same recurrent weights dropped at all steps."""
        if not (self.training and self.recurrent_dropout):
            return rnn(*arguments)
        recurrent = {n: w for n, w in rnn.named_parameters() if n.startswith("weight_hh")}
        thinned = {n: dropout(w, self.recurrent_dropout) for n, w in recurrent.items()}
        return functional_call(rnn, thinned, arguments)
