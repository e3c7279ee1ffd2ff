"""`decode`: from latent codes to sentences; greedy decoding, drawing and beam search beneath it.

Shapes: B sentences that have not ended, P of them looked at together, T tokens so far, H hidden
units, V vocabulary, Z latent dimensions. In beam search N sentences, R open hypotheses of all of
them in the order of their sentences, W beams, K candidates of a hypothesis, M hypotheses that won a
place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.checks import InputError, integer
from textvae.config import Decoding
from textvae.generation.draws import TOKEN, draw, uniforms
from textvae.losses.output_layer import cached_rows
from textvae.model import DecoderState, SentenceVAE
from textvae.runtime import full_speed
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID

# Scores (sentences × beams × vocabulary) held at a time where no batch size is given: 32 MiB, as
# much as memory is used again for (`runtime.full_speed`).
MAX_SCORES = 2**23 - 2**11


class Decoded(NamedTuple):
    """One generated sentence, and what beam search has found beside it."""

    text: str
    ids: list[int]  # without special tokens
    log_prob: float  # the model's own log p(x|z), nats, EOS included unless cut at `max_length`
    others: tuple[Decoded, ...] = ()  # the next best, if they were asked for


@torch.no_grad()
def decode(
    model: SentenceVAE,
    z: Tensor,
    *,
    prefix: Sequence[int] = (),
    labels: Tensor | None = None,
    num_best: int = 1,
    batch_size: int | None = None,
    **options: Any,
) -> list[Decoded]:
    """Generate a sentence for each latent code, in their order: the one way from z to text.

    Args:
        model: The model, with a tokenizer; put it into evaluation mode first.
        z: Latent codes, (B sentences, Z dimensions).
        prefix: Ids that every sentence begins with; its log p is of what follows.
        labels: Numbers of the labels that a model is told, (B, F) or (1, F); `label` changes them.
        num_best: Of beam search: so many best sentences for each code, at most the number of beams,
            the best with all `others`; fewer where the search has found no more.
        batch_size: Codes decoded together, which changes no more than rounding; by default as many
            as fit into 32 MiB of scores.
        **options: Those of `Decoding`.
    """
    chosen, tokenizer = Decoding(**options), model.tokenizer
    integer("num_best", num_best, 1, chosen.beams)
    if (shape := tuple(z.shape)) != (len(z), model.latent_dim):
        raise InputError(f"z must have the shape (sentences, {model.latent_dim}), got {shape}")
    if batch_size is None:
        batch_size = max(1, MAX_SCORES // (model.vocab_size * chosen.beams))
    integer("batch_size", batch_size, 1)
    labels = model.labels.changed(labels, len(z), chosen.label).to(model.device)
    z = model.labels.told(labels, z.to(model.device))
    found = [list[tuple[Any, ...]]() for _ in range(len(z))]
    with full_speed(model.device):
        next_token = NextToken(model, chosen)
        for first in range(0, len(z), batch_size):
            part = z[first : first + batch_size]
            if chosen.strategy == "beam":
                ended = beam_search(model, part, next_token, prefix)
            else:
                ended = generate_tokens(model, part, next_token, prefix, first)
            for group in ended:
                for owner, *rest in zip(*(column.tolist() for column in group), strict=True):
                    found[first + owner].append(rest)

    def rank(one: tuple[list[int], float]) -> float:
        num_tokens = min(len(one[0]) + 1, chosen.max_length)  # EOS counted where there is one
        return -one[1] / float(num_tokens**chosen.length_penalty)

    results = []
    for candidates in found:
        best = sorted(candidates, key=rank)[:num_best]
        result, *others = [Decoded(tokenizer.decode(one[0]), *one) for one in best]
        results.append(result._replace(others=tuple(others)))
    return results


def generate_text(model: SentenceVAE, z: Tensor, **options: Any) -> list[str]:
    """The text of each latent code, (B, Z); see `decode`."""
    return [found.text for found in decode(model, z, **options)]


class Sentences(NamedTuple):
    """Sentences that are being generated, or complete."""

    owner: Tensor  # (B,), number of each one's code
    past: Tensor  # (B, T), tokens without special ones
    log_prob: Tensor  # (B,)

    @classmethod
    def begin(cls, z: Tensor, prefix: Sequence[int]) -> Sentences:
        """One of each code (B, Z), nothing but a prefix yet."""
        owner = torch.arange(len(z), device=z.device)
        past = owner.new_tensor(list(prefix)).expand(len(z), -1)
        return cls(owner, past, torch.zeros(len(z), device=z.device))

    def take(self, which: Tensor) -> Sentences:
        """Those at some places."""
        return Sentences(*(part[which] for part in self))


def read_past(model: SentenceVAE, z: Tensor, past: Tensor) -> tuple[Tensor, DecoderState]:
    """The last token (B,) of a past (B, T), BOS if that is empty, and the state before it."""
    ids, state = past.new_full((len(past),), BOS_ID), model.initial_state(z)
    for following in past.T:
        _, state = model.decoder.read(ids, state, z)
        ids = following
    return ids, state


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
    model: SentenceVAE, z: Tensor, next_token: NextToken, prefix: Sequence[int], first: int
) -> Iterator[Sentences]:
    """Draw tokens, or take the likeliest; yields sentences as they are complete.

    The draws of a sentence belong to its place; that of the first code is `first`.
    """
    options, open_ = next_token.options, Sentences.begin(z, prefix)
    ids, state = read_past(model, z, open_.past)

    def choose(scores: Tensor, p: Tensor, log_sum: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        drawn = options.strategy == "sample"
        chosen = draw(scores, p, shares, options) if drawn else scores.argmax(-1)
        return chosen, scores.gather(1, chosen[:, None])[:, 0] - log_sum

    for step in range(len(prefix), options.max_length):
        hidden, state = model.decoder.read(ids, state, z)
        shares = uniforms(options.seed, TOKEN, first + open_.owner, ids.new_tensor(step))
        ids, log_prob = next_token.chosen_by(choose, hidden, step, shares)
        open_ = open_._replace(log_prob=open_.log_prob + log_prob)
        going = ids != EOS_ID
        yield open_.take(~going)
        open_, ids, z = open_.take(going), ids[going], z[going]
        if len(ids) == 0:
            return
        state = tuple(part[:, going] for part in state)
        open_ = open_._replace(past=torch.cat([open_.past, ids[:, None]], 1))
    yield open_


def beam_search(
    model: SentenceVAE, z: Tensor, next_token: NextToken, prefix: Sequence[int]
) -> Iterator[Sentences]:
    """The likeliest sentences (Sutskever, Vinyals & Le 2014, section 3.2), as they are complete.

    A sentence starts with W places, for which the continuations of its open hypotheses compete at
    every step; one that ends keeps its place for good, so a search always ends and one of width 1
    is greedy decoding. The greedy hypothesis always has a place: left to itself, search may drop it
    in favour of worse ends.
    """
    options, open_ = next_token.options, Sentences.begin(z, prefix)
    ids, state = read_past(model, z, open_.past)
    greedy = torch.ones_like(open_.owner).bool()
    places = torch.full_like(open_.owner, options.beams)

    def choose(scores: Tensor, p: Tensor, log_sum: Tensor) -> tuple[Tensor, Tensor]:
        values, tokens = scores.topk(min(options.beams, scores.shape[1]))
        return values - log_sum[:, None], tokens

    for step in range(len(prefix), options.max_length):
        hidden, state = model.decoder.read(ids, state, z[open_.owner])
        values, tokens = next_token.chosen_by(choose, hidden, step)
        grown, greedy, parent, ids = _compete(open_, greedy, places, values, tokens)
        over = ids == EOS_ID
        yield grown.take(over)
        going = ~over
        open_ = grown._replace(past=torch.cat([grown.past, ids[:, None]], dim=1)).take(going)
        if len(open_.owner) == 0:
            return
        places = places - torch.bincount(grown.owner[over], minlength=len(z))
        greedy, ids = greedy[going], ids[going]
        state = tuple(part[:, parent[going]] for part in state)
    yield open_


def _compete(
    open_: Sentences, greedy: Tensor, places: Tensor, values: Tensor, tokens: Tensor
) -> tuple[Sentences, Tensor, Tensor, Tensor]:
    """The best candidates (R, K) of each sentence, as many as it has `places` (N,) left.

    Gives M hypotheses, without the new token, and of each if it is greedy, its parent and token.
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
    return grown, first[owner, rank] == torch.inf, parent, tokens[parent, place]
