"""Log-probabilities of the next token: `next_log_probs`.

Shapes: B sentences, H hidden units, V vocabulary, K likeliest tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.generation.blocks import largest
from textvae.model import SentenceVAE

__all__ = ["next_log_probs"]

NUM_EXACT = 8
"""Likeliest tokens whose scores are multiplied again in fp32 where all are in less."""


def next_log_probs(model: SentenceVAE, hidden: Tensor, weight: Tensor) -> Tensor:
    """Log p of every token, from what the output layer sees.

    In bf16 the product with the output embedding, which is most of the work, is rounded to three
    digits. Where one token or sentence is to be preferred to another, it is among the likeliest
    that it matters: their scores are multiplied again as they should be.

    Args:
        model: The model.
        hidden: Decoder outputs, (B, H).
        weight: The output embedding, (V, H), as it is or in bf16.

    Returns:
        (B, V), fp32.
    """
    output = model.decoder.output
    scores = F.linear(hidden.to(weight.dtype), weight) + output.bias  # as precise as the bias
    if weight.dtype != scores.dtype:
        ids = largest(scores, min(NUM_EXACT, scores.shape[1]))[1]
        exact = torch.einsum("bh,bkh->bk", hidden, output.weight[ids]) + output.bias[ids]
        scores.scatter_(1, ids, exact)
    return scores.log_softmax(-1)
