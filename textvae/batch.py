"""What the data hands to a model: `Batch`, and `collate`, which builds one from id sequences.

Shapes: B sentences, T tokens of the longest sentence in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Batch", "collate"]


class Batch(NamedTuple):
    """Sentences of like length, padded to the longest of them.

    The decoder reads `input_ids[:, t]` and predicts `target_ids[:, t]`.

    Attributes:
        input_ids: (B, T) int64, starts with BOS.
        target_ids: (B, T) int64, ends with EOS unless the sentence was truncated.
        lengths: (B,) int64, predicted tokens of each sentence (EOS counted, BOS and PAD not).
        indices: (B,) int64, position of each sentence in its split.
    """

    input_ids: Tensor
    target_ids: Tensor
    lengths: Tensor
    indices: Tensor

    @property
    def num_sentences(self) -> int:
        """Sentences in the batch, B."""
        return self.input_ids.shape[0]

    @property
    def num_tokens(self) -> int:
        """Predicted tokens in the batch (waits for the device if the batch lies on one)."""
        return int(self.lengths.sum())

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with all four tensors on `device`."""
        return Batch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))

    def part(self, number: int, count: int) -> Batch:
        """Every `count`-th sentence from number `number` on, padded as here; may be none."""
        return Batch(*(tensor[number::count].contiguous() for tensor in self))


def collate(
    sequences: Sequence[Sequence[int] | NDArray[np.integer]],
    indices: Sequence[int] | NDArray[np.integer] | None = None,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int,
    truncated: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> Batch:
    """Build a batch from sentences' ids without special tokens.

    Args:
        sequences: B sentences, each a sequence of ids; one without ids is predicted as EOS alone.
        indices: Position of each sentence in its split; 0 … B-1 by default.
        bos_id: Id put before every sentence.
        eos_id: Id put after every sentence that is not truncated.
        pad_id: Id that fills up to the longest sentence.
        truncated: Whether each sentence was cut; a cut sentence gets no EOS, so that the model
            does not learn false ends. None are by default.

    Returns:
        The batch, on the CPU.

    Raises:
        ValueError: If there are no sentences, if `indices` or `truncated` do not have one entry
            per sentence, or if a truncated sentence has no ids.
    """
    size = len(sequences)
    if size == 0:
        raise ValueError("sequences must hold at least one sentence, got 0")
    positions = np.arange(size) if indices is None else np.array(indices, dtype=np.int64)
    cut = np.zeros(size, dtype=bool) if truncated is None else np.asarray(truncated, dtype=bool)
    for name, values in (("indices", positions), ("truncated", cut)):
        if values.shape != (size,):
            raise ValueError(
                f"{name} must have one entry for each of {size} sentences, got shape {values.shape}"
            )

    ids_per_sentence = np.fromiter(map(len, sequences), dtype=np.int64, count=size)
    lengths = ids_per_sentence + ~cut
    if not lengths.all():
        raise ValueError(
            f"a truncated sentence must have ids, sentence {lengths.argmin()} has none"
        )
    flat = np.concatenate(sequences)
    row = np.repeat(np.arange(size), ids_per_sentence)
    column = np.arange(len(flat)) - np.repeat(
        ids_per_sentence.cumsum() - ids_per_sentence, ids_per_sentence
    )

    # One column more than is needed holds BOS in the input and takes the shift by one.
    width = int(lengths.max())
    padded = np.full((size, width + 2), pad_id, dtype=np.int64)
    padded[row, column + 1] = flat
    whole = np.flatnonzero(~cut)
    target_ids = padded[:, 1 : width + 1].copy()
    target_ids[whole, ids_per_sentence[whole]] = eos_id
    padded[:, 0] = bos_id
    # The last id of a truncated sentence is predicted but never read.
    padded[cut, lengths[cut]] = pad_id
    return Batch(
        input_ids=torch.from_numpy(padded[:, :width].copy()),
        target_ids=torch.from_numpy(target_ids),
        lengths=torch.from_numpy(lengths),
        indices=torch.from_numpy(positions),
    )
