"""Decoding, batched, against the usual loop: sampling, greedy, beam search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from benchmarks.bench import Bench, Side
from benchmarks.models import PTB_SIZE, flops_per_token, new_model, sizes
from benchmarks.usual import beam_one_at_a_time, drawn, likeliest, one_at_a_time
from textvae import SentenceVAE, Tokenizer
from textvae.generation import MAX_LENGTH, NUM_BEAMS
from textvae.generation import decode as our_decode
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID

Ids = list[list[int]]
Choice = Callable[[Tensor], int]
Agreement = Callable[[Ids, Ids, int], str]

UNTRAINED_LENGTH = 25
"""Tokens of every sentence of an untrained model: a little more than Penn Treebank's mean."""

NEVER = -1e9
"""A bias that no score makes up for."""


def decode(
    bench: Bench,
    run: str | None = None,
    num_sentences: PositiveInt = 512,
    num_reference: PositiveInt = 64,
    max_length: PositiveInt | None = None,
) -> None:
    """Sampling, greedy decoding and beam search, batched and not."""
    model = untrained_model() if run is None else SentenceVAE.from_pretrained(run)
    silence(model, PAD_ID, BOS_ID)
    length = max_length or (UNTRAINED_LENGTH if run is None else MAX_LENGTH)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(num_sentences, model.latent_dim, generator=generator)
    some, half = z[:num_reference], z[: max(1, num_sentences // 2)]
    untrained = f"random weights, no sentence ends by itself: all are cut at {length} tokens"
    bench.describe(
        "fp32",
        {
            "model": f"{run or untrained} ({sizes(model)})",
            "codes": f"{len(z)} from the prior, {len(half)} for beam search",
            "usual loop": f"one sentence at a time, of the first {len(some)} codes at most; its "
            f"beam search goes on until {NUM_BEAMS} sentences are complete",
            "tokens": "those of the results, EOS too",
        },
    )
    flops = flops_per_token(model, UNTRAINED_LENGTH, encodings=0)  # lengths matter little here

    def compare(name: str, strategy: str, choose: Choice, agree: Agreement) -> None:
        def ours() -> Ids:
            return our_ids(model, z, strategy, length)

        def usual() -> Ids:
            return one_at_a_time(model, some, length, choose)

        bench.compare(
            f"{name}, {len(z)} sentences",
            "tokens/s",
            agree(ours(), usual(), length),
            Side(lambda: num_tokens(ours(), length), flops),
            Side(lambda: num_tokens(usual(), length), flops),
        )

    compare("sampling", "sample", drawn, lengths)
    compare("greedy", "greedy", likeliest, identical)
    compare_beams(bench, model, half, some[: len(half)], length)


def our_ids(model: SentenceVAE, z: Tensor, strategy: str, max_length: int) -> Ids:
    """What textvae decodes."""
    found = our_decode(model, z, strategy=strategy, max_length=max_length)
    return [one.ids for one in found]


def compare_beams(
    bench: Bench, model: SentenceVAE, z: Tensor, some: Tensor, max_length: int
) -> None:
    """Beam search: both find the best they can, and neither must be far behind on the whole.

    The searches differ in two rules: textvae keeps a place for the greedy sentence, and stops as
    soon as no better sentence can come. So either may find a likelier one now and then.
    """

    def ours() -> list[float]:
        options = {"strategy": "beam", "num_beams": NUM_BEAMS, "max_length": max_length}
        return [best.log_prob for best in our_decode(model, z, **options)]

    def usual() -> list[float]:
        return [score for score, _ in beam_one_at_a_time(model, some, NUM_BEAMS, max_length)]

    bench.compare(
        f"beam of {NUM_BEAMS}, {len(z)} sentences",
        "sentences/s",
        as_likely(ours()[: len(some)], usual()),
        Side(lambda: len(ours())),
        Side(lambda: len(usual())),
        no_limit="how many hypotheses a search goes through is not counted",
    )


def untrained_model() -> SentenceVAE:
    """A model of Penn Treebank's size, whose sentences never end.

    Random ends would make lengths, and with them the figures, a matter of chance. The output
    weights are large, because some words must stand out as they do in a trained model: among
    10,000 equal ones the likeliest would be a matter of rounding.
    """
    words = (f"word{i}" for i in range(PTB_SIZE["vocab_size"] - 4))
    model = new_model(tokenizer=Tokenizer.train([" ".join(words)])).eval()
    torch.nn.init.normal_(model.decoder.output.weight, generator=torch.Generator().manual_seed(0))
    silence(model, EOS_ID)
    return model


def silence(model: SentenceVAE, *ids: int) -> None:
    """Let tokens never come: textvae forbids padding and BOS, the usual loop has no such rule."""
    with torch.no_grad():
        model.decoder.output.bias[list(ids)] = NEVER


def num_tokens(sentences: Ids, max_length: int) -> int:
    """Tokens that were generated, EOS too."""
    return sum(min(len(ids) + 1, max_length) for ids in sentences)


def lengths(ours: Ids, usual: Ids, max_length: int) -> str:
    """All that can be compared of random draws."""
    means = [num_tokens(found, max_length) / len(found) for found in (ours, usual)]
    return "{:.1f} and {:.1f} tokens a sentence".format(*means)


def identical(ours: Ids, usual: Ids, max_length: int) -> str:
    """How many sentences are the same; one in a hundred may not be, where rounding decides."""
    same = sum(a == b for a, b in zip(ours, usual, strict=False))
    said = f"{same} of {len(usual)} identical"
    if same < 0.99 * len(usual):
        raise RuntimeError(f"the two sides don't do the same: {said}")
    return said


def as_likely(ours: Sequence[float], usual: Sequence[float]) -> str:
    """Which search found likelier sentences, by their log p.

    An error if ours has found worse ones on the whole: by over 1 % of the mean log p.
    """
    gains = [a - b for a, b in zip(ours, usual, strict=True)]
    better, worse = (sum(sign * gain > 1e-3 for gain in gains) for sign in (1, -1))
    means = fmean(ours), fmean(usual)
    said = f"{len(gains) - better - worse} of {len(gains)} as likely, {better} likelier, "
    said += f"{worse} less; mean log p {means[0]:.2f} and {means[1]:.2f}"
    if means[0] < means[1] - 0.01 * abs(means[1]):
        raise RuntimeError(f"textvae's search finds worse sentences: {said}")
    return said
