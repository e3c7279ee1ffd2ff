"""Beam search, batched over sentences and beams.

A sentence starts with W places. At every step the continuations of its open hypotheses compete
for the places it has left; one that ends keeps its place for good, so a search always ends and
one of width 1 is greedy decoding. The greedy hypothesis always has a place: left to itself,
search may drop it in favour of worse ends. An open hypothesis that can't come among the results
any more leaves the batch.

Shapes: N sentences, R open hypotheses of all of them in the order of their sentences, W beams,
K candidates of a hypothesis, M hypotheses that won a place, P looked at together, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from textvae.generation.tokens import NextToken, Sentences
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID


def beam_search(
    model: SentenceVAE, z: Tensor, next_token: NextToken, num_best: int = 1
) -> Iterator[Sentences]:
    """The likeliest sentences (Sutskever, Vinyals & Le 2014, section 3.2), as they are complete.

    All are different, and the `num_best` best of every code are among them.
    """
    options, open_, state = next_token.options, Sentences.begin(z), model.initial_state(z)
    ids, greedy = torch.full_like(open_.owner, BOS_ID), torch.ones_like(open_.owner).bool()
    places = torch.full_like(open_.owner, options.beams)
    best = open_.log_prob.new_full((len(z), num_best), -torch.inf)

    def choose(scores: Tensor, p: Tensor, log_sum: Tensor) -> tuple[Tensor, Tensor]:
        values, tokens = scores.topk(min(options.beams, scores.shape[1]))
        return values - log_sum[:, None], tokens

    for length in range(1, options.max_length + 1):
        hidden, state = model.decoder.read(ids, state, z[open_.owner])
        values, tokens = next_token.chosen_by(choose, hidden, length - 1)
        grown, greedy, parent, ids, rank = _compete(open_, greedy, places, values, tokens)
        over = ids == EOS_ID
        yield grown.take(over)
        longer = grown._replace(past=torch.cat([grown.past, ids[:, None]], dim=1))
        if length == options.max_length:
            yield longer.take(~over)
            return

        owner = grown.owner[over]
        places = places - torch.bincount(owner, minlength=len(z))
        new = best.new_full((len(z), options.beams), -torch.inf)
        new[owner, rank[over]] = grown.log_prob[over] / length**options.length_penalty
        best = torch.cat([best, new], dim=1).topk(num_best).values
        # No end can score above this: sums only fall, and no length is above max_length. With a
        # length penalty the bound is loose, and mostly every place is taken.
        bound = grown.log_prob / options.max_length**options.length_penalty
        going = (~over & (bound > best[grown.owner, -1])).nonzero()[:, 0]
        if len(going) == 0:
            return
        open_, greedy, ids = longer.take(going), greedy[going], ids[going]
        state = tuple(part[:, parent[going]] for part in state)


def _compete(
    open_: Sentences, greedy: Tensor, places: Tensor, values: Tensor, tokens: Tensor
) -> tuple[Sentences, Tensor, Tensor, Tensor, Tensor]:
    """The best candidates (R, K) of each sentence, as many as it has `places` (N,) left.

    Gives M hypotheses, without the new token, and of each if it is greedy, parent, token and rank.
    """
    size, width, num = len(places), int(places.max()), values.shape[1]
    row = torch.arange(len(values), device=values.device)
    seat = row - torch.searchsorted(open_.owner, open_.owner)  # among those of its sentence
    table = values.new_full((size, width, num), -torch.inf)
    table[open_.owner, seat] = open_.log_prob[:, None] + values
    rows = row.new_zeros(size, width)
    rows[open_.owner, seat] = row

    priority = table.clone()
    priority[open_.owner, seat, 0] += torch.where(greedy, torch.inf, 0.0)
    first, index = priority.flatten(1).topk(width)  # (N, W)
    won = (first > -torch.inf) & (torch.arange(width, device=row.device) < places[:, None])
    owner, rank = won.nonzero(as_tuple=True)
    index = index[owner, rank]
    parent, place = rows[owner, index // num], index % num
    grown = Sentences(owner, open_.past[parent], table.flatten(1)[owner, index])
    return grown, first[owner, rank] == torch.inf, parent, tokens[parent, place], rank
