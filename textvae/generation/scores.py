"""Choosing among the tokens that may come next: `choose_next`.

Shapes: B sentences, P of a part, H hidden units, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.generation.blocks import largest
from textvae.losses.tokens import cached_rows, multiplied_rows
from textvae.model import SentenceVAE

__all__ = ["Scores", "choose_next"]

NUM_EXACT = 8
"""Likeliest tokens whose scores are multiplied again in fp32 where all are in less."""


class Scores(NamedTuple):
    """What the next tokens of some sentences score.

    Attributes:
        part: Which sentences these are.
        of_all: Scores of all tokens before softmax, (P, V); may be overwritten.
        likeliest: Ids of the largest, (P, K), where they had to be looked for; else None.
    """

    part: slice
    of_all: Tensor
    likeliest: Tensor | None


Choose = Callable[[Scores], tuple[Tensor, ...]]
"""From the scores of a part: what is to be known of its sentences, each (P, …)."""


def choose_next(
    model: SentenceVAE, hidden: Tensor, weight: Tensor, choose: Choose
) -> tuple[Tensor, ...]:
    """Let a function choose from the scores of the next token, part by part.

    Those of all sentences together would not fit into a CPU's cache, and only the choice is kept.

    In bf16 the product with the output embedding, which is most of the work, is rounded to three
    digits. Where one token or sentence is to be preferred to another, it is among the likeliest
    that it matters: their scores are multiplied again as they should be.

    Args:
        model: The model.
        hidden: Decoder outputs, (B, H).
        weight: The output embedding, (V, H), as it is or in bf16.
        choose: The function, called on every part in order.

    Returns:
        What it gave, each (B, …).
    """
    chosen, start = [], 0
    for block in torch.split(hidden, multiplied_rows(hidden, weight)):
        products = F.linear(block.to(weight.dtype), weight)
        rows = cached_rows(products)
        for few, some in zip(torch.split(block, rows), torch.split(products, rows), strict=True):
            part = slice(start, start + len(few))
            chosen.append(choose(Scores(part, *_scores(model.decoder.output, few, some))))
            start = part.stop
    return tuple(torch.cat(parts) for parts in zip(*chosen, strict=True))


def _scores(
    output: torch.nn.Linear, hidden: Tensor, products: Tensor
) -> tuple[Tensor, Tensor | None]:
    scores = products + output.bias  # as precise as the bias
    if products.dtype == scores.dtype:
        return scores, None
    ids = largest(scores, min(NUM_EXACT, scores.shape[1]))[1]
    exact = torch.einsum("bh,bkh->bk", hidden, output.weight[ids]) + output.bias[ids]
    return scores.scatter_(1, ids, exact), ids
