"""One token after the other: greedy decoding and drawing, and what beam search shares with them.

Offers `walk`, the rules that every strategy keeps (`Rules`, `rules_of`, `permitted`,
`likeliest`) and the result, `Decoded`.

Shapes: B sentences that have not ended, T tokens so far, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from textvae.generation import filters
from textvae.generation.blocks import drawn, largest
from textvae.generation.options import Decoding
from textvae.generation.scores import Scores, choose_next
from textvae.generation.streams import TOKEN, uniforms
from textvae.model import SentenceVAE
from textvae.runtime import resolve_precision
from textvae.tokenizer import Tokenizer

__all__ = ["Decoded", "Rules", "likeliest", "permitted", "rules_of", "walk"]

LEAST_LOG_P = -60.0
"""Below, a draw's log p is of numbers that fp32 holds no better than as zero or nearly so."""


class Decoded(NamedTuple):
    """One generated sentence.

    Attributes:
        ids: Its tokens, without special ones.
        log_prob: The model's own log p(x|z), nats, EOS included; of a sentence that was cut at
            `max_length`, of its tokens.
        score: What beam search ranks by: log p, after `repetition_penalty`, over
            tokens ** `length_penalty`, EOS counted.
    """

    ids: list[int]
    log_prob: float
    score: float


class Rules(NamedTuple):
    """Which tokens may come.

    Attributes:
        options: The options of decoding.
        banned: Ids that never come, (N,), on the model's device.
        bos_id: What every sentence begins with.
        eos_id: What ends one.
        output_weight: The output embedding, (V, H), in the precision of its product.
    """

    options: Decoding
    banned: Tensor
    bos_id: int
    eos_id: int
    output_weight: Tensor


def rules_of(model: SentenceVAE, tokenizer: Tokenizer, options: Decoding) -> Rules:
    """The rules for a model's vocabulary.

    Raises:
        ValueError: If a forbidden id is not in the vocabulary, or if no token is left.
    """
    size = model.vocab_size
    wrong = [token for token in options.forbidden if not 0 <= token < size]
    if wrong:
        raise ValueError(f"forbidden ids must be from 0 to {size - 1}, got {wrong[0]}")
    banned = {tokenizer.pad_id, tokenizer.bos_id, *options.forbidden}
    if not options.allow_unknown:
        banned.add(tokenizer.unk_id)
    if len(banned | ({tokenizer.eos_id} if options.min_length > 0 else set())) == size:
        raise ValueError("forbidden must leave at least one token that may come, got all of them")
    ids = torch.tensor(sorted(banned), device=model.device)
    weight = model.decoder.output.weight
    if resolve_precision(options.precision, model.device) == torch.bfloat16:
        weight = weight.bfloat16()
    return Rules(options, ids, tokenizer.bos_id, tokenizer.eos_id, weight)


def permitted(log_probs: Tensor, past: Tensor, rules: Rules) -> Tensor:
    """Log-probabilities (B, V) after the rules, given the tokens so far, (B, T).

    Those of tokens that must not come are overwritten in place: a copy of so much costs time, and
    nobody asks for them again.
    """
    penalty = rules.options.repetition_penalty
    if penalty != 1:
        log_probs = filters.repetition(log_probs, past, penalty)
    return _without_banned(log_probs, past, rules, -torch.inf)


def likeliest(
    allowed: Tensor, number: int, among: Tensor | None, rules: Rules
) -> tuple[Tensor, Tensor]:
    """The likeliest tokens after the rules, of (B, V): values and ids, each (B, K).

    Args:
        allowed: From `permitted`.
        number: How many; all, if there are fewer.
        among: Ids that were the likeliest before the rules, (B, M), if that is known: then only
            these are looked at, unless the rules have left too few of them.
        rules: The rules.
    """
    if among is not None and rules.options.repetition_penalty == 1 and number <= among.shape[1]:
        values, places = allowed.gather(1, among).topk(number)
        if bool((values[:, -1] > -torch.inf).all()):
            return values, among.gather(1, places)
    return largest(allowed, min(number, allowed.shape[1]))


def _without_banned(values: Tensor, past: Tensor, rules: Rules, by: float) -> Tensor:
    """Overwrite the (B, V) values of tokens that must not come."""
    values.index_fill_(1, rules.banned, by)
    if past.shape[1] < rules.options.min_length:
        values[:, rules.eos_id] = by
    return values


def walk(model: SentenceVAE, z: Tensor, rules: Rules, first: int = 0) -> list[Decoded]:
    """Draw the tokens if the strategy is `"sample"`, take the likeliest otherwise.

    Args:
        model: The model.
        z: Latent codes, (B, Z).
        rules: Options and banned tokens.
        first: Place of the first code among all: the draws of a sentence belong to its place.

    Returns:
        A sentence for each code.
    """
    rows = torch.arange(len(z), device=z.device)
    ids = torch.full_like(rows, rules.bos_id)
    past = rows.new_empty(len(z), 0)
    sums = z.new_zeros(len(z), 2, dtype=torch.float32)  # log p, and log p after the rules
    state, ended = model.initial_state(z), []
    for step in range(rules.options.max_length):
        hidden, state = model.decoder.read(ids, state, z)
        shares = uniforms(rules.options.seed, TOKEN, first + rows, rows.new_tensor(step))
        choose = partial(_choose, past=past, rules=rules, shares=shares)
        ids, log_probs = choose_next(model, hidden, rules.output_weight, choose)
        sums = sums + log_probs
        going = (ids != rules.eos_id).nonzero()[:, 0]
        if len(going) < len(ids):
            over = (ids == rules.eos_id).nonzero()[:, 0]
            ended.append((rows[over], past[over], sums[over]))
            rows, ids, past, sums, z = (part[going] for part in (rows, ids, past, sums, z))
            state = tuple(part[:, going] for part in state)
            if len(going) == 0:
                break
        past = torch.cat([past, ids[:, None]], dim=1)
    return _in_order([*ended, (rows, past, sums)])


def _choose(scores: Scores, past: Tensor, rules: Rules, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The next token, and its log p before and after the rules."""
    past, shares = past[scores.part], shares[scores.part]
    if rules.options.draws_from_model:
        ids, log_p = _drawn_from_model(scores.of_all, past, rules, shares)
        if bool((log_p > LEAST_LOG_P).all()):
            return ids, log_p.expand(-1, 2)
    log_probs = scores.of_all.log_softmax(-1)
    allowed = permitted(log_probs, past, rules)
    if rules.options.strategy == "sample":
        ids = _drawn(allowed, rules.options, shares)
    else:
        ids = likeliest(allowed, 1, scores.likeliest, rules)[1][:, 0]
    return ids, torch.cat([each.gather(1, ids[:, None]) for each in (log_probs, allowed)], 1)


def _drawn_from_model(
    scores: Tensor, past: Tensor, rules: Rules, shares: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens (B,) and their log p (B, 1), in one pass over the vocabulary instead of two.

    Where what must not come is so likely that all else vanishes beside it, log p is too.
    """
    p = _without_banned(scores.softmax(-1), past, rules, 0)
    ids = drawn(p, shares)
    return ids, p.gather(1, ids[:, None]).log()


def _drawn(scores: Tensor, options: Decoding, shares: Tensor) -> Tensor:
    if options.temperature != 1:
        scores = filters.temperature(scores, options.temperature)
    if options.top_k is not None:
        scores = filters.top_k(scores, options.top_k)
    if options.top_p is not None:
        scores = filters.top_p(scores, options.top_p)
    if options.typical_p is not None:
        scores = filters.typical(scores, options.typical_p)
    return drawn(scores.softmax(-1), shares)


def _in_order(ended: list[tuple[Tensor, Tensor, Tensor]]) -> list[Decoded]:
    found = {}
    for part in ended:
        rows, past, sums = (tensor.tolist() for tensor in part)
        for row, ids, (log_prob, score) in zip(rows, past, sums, strict=True):
            found[row] = Decoded(ids, log_prob, score)
    return [found[row] for row in range(len(found))]
