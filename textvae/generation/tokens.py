"""One token after the other: greedy decoding and drawing, and what beam search shares with them.

Shapes: B sentences that have not ended, P of them looked at together, T tokens so far,
H hidden units, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.checks import InputError
from textvae.config import Decoding
from textvae.generation.draws import TOKEN, draw, uniforms
from textvae.losses.output_layer import cached_rows
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID


class Sentences(NamedTuple):
    """Sentences that are being generated, or complete."""

    owner: Tensor  # (B,), number of each one's code
    past: Tensor  # (B, T), tokens without special ones
    log_prob: Tensor  # (B,)

    @classmethod
    def begin(cls, z: Tensor) -> Sentences:
        """An empty one of each code (B, Z)."""
        owner = torch.arange(len(z), device=z.device)
        return cls(owner, owner.new_empty(len(z), 0), torch.zeros(len(z), device=z.device))

    def take(self, which: Tensor) -> Sentences:
        """Those at some places."""
        return Sentences(*(part[which] for part in self))


class NextToken:
    """Scores the next token of sentences and lets a function choose, by the rules of `options`."""

    def __init__(self, model: SentenceVAE, options: Decoding) -> None:
        size, self.options, output = model.vocab_size, options, model.decoder.output
        # oneDNN would bring the matrix into this order for each product anew.
        self.weight, self.bias = output.weight.t().contiguous().t(), output.bias
        if wrong := [token for token in options.forbidden if not 0 <= token < size]:
            raise InputError(f"forbidden ids must be from 0 to {size - 1}, got {wrong[0]}")
        banned = {PAD_ID, BOS_ID, *options.forbidden, *([] if options.allow_unknown else [UNK_ID])}
        too_early = banned | {EOS_ID}
        if len(banned if options.min_length == 0 else too_early) == size:
            raise InputError("forbidden must leave at least one token that may come, got all")
        self.banned, self.banned_early = (
            torch.tensor(sorted(ids), device=model.device) for ids in (banned, too_early)
        )

    def chosen_by(
        self,
        choose: Callable[..., tuple[Tensor, ...]],
        hidden: Tensor,
        length: int,
        *others: Tensor,
    ) -> tuple[Tensor, ...]:
        """What a function chooses, for as many sentences at a time as a CPU's cache holds.

        It takes scores (P, V) and probabilities (P, V), −inf and 0 for what may not come after
        `length` tokens, what to subtract from a score for its log p (P,), and rows of `others`.
        """
        products, chosen = F.linear(hidden, self.weight), []
        banned = self.banned if length >= self.options.min_length else self.banned_early
        parts = (torch.split(rows, cached_rows(products)) for rows in (products, *others))
        for part, *rest in zip(*parts, strict=True):
            scores = part.add_(self.bias)
            p = scores.softmax(-1)
            # The largest p is never tiny, and maxima are quicker than a sum of exponentials.
            log_sum = scores.amax(-1) - p.amax(-1).log()
            p.index_fill_(1, banned, 0)
            chosen.append(choose(scores.index_fill_(1, banned, -torch.inf), p, log_sum, *rest))
        return tuple(map(torch.cat, zip(*chosen, strict=True)))


def generate_tokens(
    model: SentenceVAE, z: Tensor, next_token: NextToken, first: int = 0
) -> Iterator[Sentences]:
    """Draw tokens, or take the likeliest; yields sentences as they are complete.

    The draws of a sentence belong to its place; that of the first code is `first`.
    """
    options, open_, state = next_token.options, Sentences.begin(z), model.initial_state(z)
    ids = torch.full_like(open_.owner, BOS_ID)

    def choose(scores: Tensor, p: Tensor, log_sum: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        drawn = options.strategy == "sample"
        chosen = draw(scores, p, shares, options) if drawn else scores.argmax(-1)
        return chosen, scores.gather(1, chosen[:, None])[:, 0] - log_sum

    for step in range(options.max_length):
        hidden, state = model.decoder.read(ids, state, z)
        shares = uniforms(options.seed, TOKEN, first + open_.owner, ids.new_tensor(step))
        ids, log_prob = next_token.chosen_by(choose, hidden, step, shares)
        open_ = open_._replace(log_prob=open_.log_prob + log_prob)
        going = ids != EOS_ID
        if not going.all():
            yield open_.take(~going)
            open_, ids, z = open_.take(going), ids[going], z[going]
            state = tuple(part[:, going] for part in state)
            if len(ids) == 0:
                return
        open_ = open_._replace(past=torch.cat([open_.past, ids[:, None]], 1))
    yield open_
