"""Decoding as usual: one sentence at a time, a call of the model for each token, lists.

Shapes: B sentences, K open hypotheses, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID

__all__ = ["Hypothesis", "beam_one_at_a_time", "drawn", "likeliest", "one_at_a_time"]


@torch.no_grad()
def one_at_a_time(
    model: SentenceVAE, z: Tensor, max_length: int, choose: Callable[[Tensor], int]
) -> list[list[int]]:
    """Sentence by sentence, token by token."""
    sentences = []
    for code in z[:, None]:
        state, token, sentence = model.initial_state(code), BOS_ID, list[int]()
        while len(sentence) < max_length:
            scores, state = model.step(torch.tensor([token]), state, code)
            token = choose(scores)
            if token == EOS_ID:
                break
            sentence.append(token)
        sentences.append(sentence)
    return sentences


def likeliest(scores: Tensor) -> int:
    """Greedy choice from (1, V) scores."""
    return int(scores.argmax(-1).item())


def drawn(scores: Tensor) -> int:
    """Random choice from (1, V) scores."""
    return int(torch.multinomial(torch.softmax(scores, -1), 1).item())


class Hypothesis(NamedTuple):
    """A sentence that beam search has begun: log p, ids from BOS on, the decoder's state."""

    score: float
    ids: list[int]
    state: tuple[Tensor, ...]


@torch.no_grad()
def beam_one_at_a_time(
    model: SentenceVAE, z: Tensor, beams: int, max_length: int
) -> list[tuple[float, list[int]]]:
    """For each code log p and ids of the best sentence found."""
    found = [beam_of_one(model, code, beams, max_length) for code in z[:, None]]
    return [(best.score, [i for i in best.ids if i not in (BOS_ID, EOS_ID)]) for best in found]


def beam_of_one(model: SentenceVAE, code: Tensor, beams: int, max_length: int) -> Hypothesis:
    """Beam search for one code (1, Z): the open hypotheses are a batch, all else is lists.

    It ends when as many sentences are complete as there are beams, as the search of He et al.
    (2019), Lagging Inference Networks and Posterior Collapse in Variational Autoencoders, does.
    """
    live, done = [Hypothesis(0.0, [BOS_ID], model.initial_state(code))], list[Hypothesis]()
    for _ in range(max_length):
        ids = torch.tensor([one.ids[-1] for one in live])
        states = zip(*(one.state for one in live), strict=True)
        state = tuple(torch.cat(parts, dim=1) for parts in states)
        scores, state = model.step(ids, state, code.expand(len(live), -1))
        sums = torch.log_softmax(scores, -1) + torch.tensor([one.score for one in live])[:, None]
        best = sums.flatten().topk(min(beams - len(done), sums.numel()))
        grown = list[Hypothesis]()
        for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            parent, token = divmod(index, scores.shape[1])
            own = tuple(part[:, parent : parent + 1] for part in state)
            one = Hypothesis(score, [*live[parent].ids, token], own)
            (done if token == EOS_ID else grown).append(one)
        live = grown
        if not live:
            break
    return max([*done, *live], key=lambda one: one.score)
