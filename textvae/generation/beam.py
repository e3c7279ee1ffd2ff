"""Beam search, batched over sentences and beams.

A sentence starts with W places. At every step the continuations of its open hypotheses compete
for the places it has left; one that ends keeps its place for good, so a search always ends and
one of width 1 is greedy decoding. The greedy hypothesis always has a place: left to itself,
search may drop it in favour of worse ends. An open hypothesis that can't come among the results
any more leaves the batch.

Shapes: N sentences, R open hypotheses of all of them, W beams, K candidates of a hypothesis,
M hypotheses that won a place, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from textvae.generation.scores import Scores, choose_next
from textvae.generation.walk import Decoded, Rules, likeliest, permitted
from textvae.model import SentenceVAE

__all__ = ["beam_search"]


class Hypotheses(NamedTuple):
    """R hypotheses, in the order of their sentences.

    Attributes:
        owner: Number of the sentence of each, (R,).
        past: Tokens, (R, T).
        log_prob: The model's own log-probability, (R,).
        score: What ranks them, (R,): while they are open the sum, at their end normalised.
        greedy: Which ones are greedy so far, (R,).
    """

    owner: Tensor
    past: Tensor
    log_prob: Tensor
    score: Tensor
    greedy: Tensor

    def take(self, which: Tensor) -> Hypotheses:
        """Those at some places."""
        return Hypotheses(*(part[which] for part in self))


class Growth(NamedTuple):
    """M hypotheses that have won a place, one token longer.

    Attributes:
        grown: The hypotheses, `past` still without the token.
        parent: Which open one each continues, (M,).
        token: Its token, (M,).
        rank: Its rank within its sentence, (M,).
    """

    grown: Hypotheses
    parent: Tensor
    token: Tensor
    rank: Tensor


def beam_search(
    model: SentenceVAE, z: Tensor, rules: Rules, num_return: int = 1
) -> list[list[Decoded]]:
    """The best sentences of each latent code.

    The bound by which a hypothesis is let go is exact: log p only falls, and over no more than
    `max_length` tokens. Without length penalty it is tight; with one it is loose, and the search
    mostly goes on until every place is taken.

    Args:
        model: The model.
        z: Latent codes, (N, Z).
        rules: Options and banned tokens.
        num_return: Most sentences for each code, from 1 to the number of beams.

    Returns:
        For each code its best sentences, the best first, all different; fewer than `num_return`
        where there are no more.

    Reference:
        Sutskever, Vinyals & Le (2014), Sequence to Sequence Learning with Neural Networks, 3.2.
    """
    found: list[list[Decoded]] = [[] for _ in range(len(z))]
    for group in _search(model, z, rules, num_return):
        owners, past, log_probs, scores = (part.tolist() for part in group[:4])
        for owner, *parts in zip(owners, past, log_probs, scores, strict=True):
            found[owner].append(Decoded(*parts))
    return [sorted(one, key=lambda best: -best.score)[:num_return] for one in found]


def _search(model: SentenceVAE, z: Tensor, rules: Rules, num_return: int) -> list[Hypotheses]:
    """Hypotheses that have ended, a group for each step."""
    options, size = rules.options, len(z)
    row = torch.arange(size, device=z.device)
    zero = z.new_zeros(size, dtype=torch.float32)
    open_ = Hypotheses(row, row.new_empty(size, 0), zero, zero, row >= 0)
    ids, state = torch.full_like(row, rules.bos_id), model.initial_state(z)
    places = torch.full_like(row, options.beams)
    best = zero.new_full((size, num_return), -torch.inf)
    ended = []
    for length in range(1, options.max_length + 1):
        hidden, state = model.decoder.read(ids, state, z[open_.owner])
        choose = partial(_continue, past=open_.past, rules=rules)
        continuations = choose_next(model, hidden, rules.output_weight, choose)
        grown, parent, ids, rank = _compete(open_, places, options.beams, *continuations)
        longer = grown._replace(past=torch.cat([grown.past, ids[:, None]], dim=1))
        results = grown._replace(score=grown.score / length**options.length_penalty)
        over = ids == rules.eos_id
        ended.append(results.take(over))
        if length == options.max_length:
            ended.append(results._replace(past=longer.past).take(~over))
            break

        owner = grown.owner[over]
        places = places - torch.bincount(owner, minlength=size)
        new = zero.new_full((size, options.beams), -torch.inf)
        new[owner, rank[over]] = results.score[over]
        best = torch.cat([best, new], dim=1).topk(num_return).values
        # No end can score above this: sums only fall, and no length is above max_length.
        bound = grown.score / options.max_length**options.length_penalty
        going = (~over & (bound > best[grown.owner, -1])).nonzero()[:, 0]
        open_, ids, parent = longer.take(going), ids[going], parent[going]
        if len(ids) == 0:
            break
        state = tuple(part[:, parent] for part in state)
    return ended


def _continue(scores: Scores, past: Tensor, rules: Rules) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest next tokens: log p after the rules, the model's own, ids, each (P, K)."""
    log_probs = scores.of_all.log_softmax(-1)
    allowed = permitted(log_probs, past[scores.part], rules)
    values, tokens = likeliest(allowed, rules.options.beams, scores.likeliest, rules)
    return values, log_probs.gather(1, tokens), tokens


def _compete(
    open_: Hypotheses,
    places: Tensor,
    width: int,
    values: Tensor,
    log_probs: Tensor,
    tokens: Tensor,
) -> Growth:
    """The best continuations (R, K) of each sentence, as many as it has places left."""
    size = len(places)
    row = torch.arange(len(values), device=values.device)
    seat = row - torch.searchsorted(open_.owner, open_.owner)  # among those of its sentence
    table = values.new_full((size, width, values.shape[1]), -torch.inf)
    table[open_.owner, seat] = open_.score[:, None] + values
    rows = row.new_zeros(size, width)
    rows[open_.owner, seat] = row

    priority = table.clone()
    priority[open_.owner, seat, 0] += torch.where(open_.greedy, torch.inf, 0.0)
    first, index = priority.flatten(1).topk(width)  # (N, W)
    won = (first > -torch.inf) & (torch.arange(width, device=row.device) < places[:, None])
    owner, rank = won.nonzero(as_tuple=True)
    index = index[owner, rank]
    parent = rows[owner, index // values.shape[1]]
    place = index % values.shape[1]
    grown = Hypotheses(
        owner,
        open_.past[parent],
        open_.log_prob[parent] + log_probs[parent, place],
        table.flatten(1)[owner, index],
        first[owner, rank] == torch.inf,
    )
    return Growth(grown, parent, tokens[parent, place], rank)
