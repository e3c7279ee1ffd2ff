"""Sentences that are given in part: a beginning, or all but some tokens.

Shapes: N chains, K candidates, V vocabulary, Z latent dimensions.
"""

import math
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from textvae.batches import collate
from textvae.checks import MANY, InputError, integer, one_of
from textvae.config import Decoding
from textvae.diagnostics import importance_nll
from textvae.generation.codes import prior_codes
from textvae.generation.decoding import NextToken, decode, read_past
from textvae.generation.draws import CHOICE, TOKEN, draw, uniforms
from textvae.model import SentenceVAE
from textvae.tokenizer import UNK_ID, UNK_TOKEN

CANDIDATES = 50  # likeliest tokens after those before a gap, which it is filled from
NUM_SAMPLES = 100  # importance samples of the NLL


class Completion(NamedTuple):
    """A whole sentence."""

    text: str
    nll: float  # −log p(x), importance-weighted, nats
    times: int  # chains that ended with it


@torch.no_grad()
def complete(
    model: SentenceVAE,
    text: str,
    num_sentences: int = 5,
    *,
    source: str = "posterior",
    gap: str = "_",
    rounds: int = 10,
    seed: int = 0,
    strategy: str = "sample",
    allow_unknown: bool = False,
    **options: Any,
) -> list[Completion]:
    """Go on from a beginning, or fill the gaps of a text that has them, of a token each.

    Each of `num_sentences` chains begins with a z from the prior, or the posterior of the text as
    it stands, and draws what is missing from p(missing | given, z). A round proposes a z of q(z|x),
    takes it by Metropolis' rule, and draws again (Bowman et al. 2016 impute in turns, too, but take
    every z), so that many rounds end in p(z, missing | given), up to gaps filled from the
    `CANDIDATES` alone. With `greedy` or `beam` what is missing is set to its likeliest value in
    each round (iterated conditional modes), while z is still drawn. Gives the different ends,
    likeliest first. In a text with gaps words out of the vocabulary are gaps, too.
    A model that is told labels needs them all by the option `label`; then all is given these.
    """
    integer("num_sentences", num_sentences, 1, most=MANY)
    integer("rounds", rounds, 0, most=MANY)
    one_of("source", source, ("posterior", "prior"))
    if not text.strip() or not gap or (gap != "_" and gap not in text):
        raise InputError(f"text must have tokens, and the mark of a gap {gap!r}, got {text!r}")
    seeds, ids = Random(seed), model.tokenizer.encode(text.replace(gap, UNK_TOKEN))
    gaps = [place for place, token in enumerate(ids) if token == UNK_ID and gap in text]
    one_of("strategy", strategy, ("sample", "greedy", *(() if gaps else ("beam",))))
    options |= {"strategy": strategy, "allow_unknown": allow_unknown}
    z: Tensor | None = None
    sentences, rows = [ids] * num_sentences, torch.arange(num_sentences, device=model.device)
    labels = model.labels.changed(None, num_sentences, options.get("label"))
    most = math.inf if gaps else Decoding(**options).max_length
    cut = [not gaps] * num_sentences  # a beginning is read as a sentence that was cut: without EOS
    for _ in range(rounds + 1):
        own = Decoding(seed=seeds.getrandbits(50), **options)
        batch = collate(sentences, truncated=cut, labels=labels.numpy()).to(model.device)
        posterior = model.encode(batch)
        noise = prior_codes(model, num_sentences, seed=own.seed)
        new = posterior.sample(noise)
        if z is None:
            z = noise if source == "prior" else new
        else:
            weight, old = (
                model.log_likelihood(batch, code) - posterior.log_ratio(code) for code in (new, z)
            )
            is_taken = uniforms(own.seed, CHOICE, rows, rows).log() < weight - old
            z = torch.where(is_taken[:, None], new, z)
        for place in gaps:
            sentences = _filled(model, z, labels, sentences, place, own)
        if not gaps:
            sentences = [one.ids for one in decode(model, z, prefix=ids, **vars(own))]
        cut = [len(one) >= most for one in sentences]
    return _counted(model, sentences, most, labels, seed)


def _counted(
    model: SentenceVAE, sentences: list[list[int]], most: float, labels: Tensor, seed: int
) -> list[Completion]:
    """The different ones of sentences of the same labels, cut at `most` tokens, likeliest first."""
    counts = Counter(map(tuple, sentences))
    cut = [len(one) >= most for one in counts]
    batch = collate(list(counts), truncated=cut, labels=labels[: len(counts)].numpy())
    nll = importance_nll(model, [batch], num_samples=NUM_SAMPLES, seed=seed)
    texts = model.tokenizer.decode_batch(counts)
    ends = zip(texts, nll.per_sentence.tolist(), counts.values(), strict=True)
    return sorted((Completion(*end) for end in ends), key=lambda end: end.nll)


def _filled(
    model: SentenceVAE,
    z: Tensor,
    labels: Tensor,
    sentences: list[list[int]],
    place: int,
    options: Decoding,
) -> list[list[int]]:
    """The N sentences with the token at a place from p(token | all others, z (N, Z))."""
    past = torch.tensor([one[:place] for one in sentences], device=z.device).long()
    code = model.labels.told(labels.to(z.device), z)
    scores, _ = model.step(*read_past(model, code, past), code)
    # Of a length above 0: a gap is never the end.
    scores[:, NextToken(model, replace(options, min_length=1)).banned_early] = -torch.inf
    after, tokens = scores.topk(min(CANDIDATES, model.vocab_size))  # (N, K)
    filled = [
        [*one[:place], token, *one[place + 1 :]]
        for one, some in zip(sentences, tokens.tolist(), strict=True)
        for token in some
    ]
    own_z, own = (each.repeat_interleave(tokens.shape[1], 0) for each in (z, labels))
    batch = collate(filled, labels=own.numpy()).to(z.device)
    joint = model.log_likelihood(batch, own_z).view_as(after)
    joint = joint.masked_fill(after == -torch.inf, -torch.inf)
    row = torch.arange(len(z), device=z.device)
    chosen = joint.argmax(-1)
    if options.strategy == "sample":
        shares = uniforms(options.seed, TOKEN, row, torch.full_like(row, place))
        chosen = draw(joint, joint.softmax(-1), shares, options)
    return [filled[i] for i in (row * tokens.shape[1] + chosen).tolist()]
