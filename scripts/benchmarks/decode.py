"""Decoding, batched, against the usual loop: sampling, greedy, beam search."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from benchmarks.arithmetic import flops_per_token
from benchmarks.measuring import Benchmark, Limit, Pair, Plan, at_least
from benchmarks.subject import PRECISIONS, PTB_SIZE, new_model, sizes
from benchmarks.usual import beam_one_at_a_time, drawn, likeliest, one_at_a_time
from textvae.generation import MAX_LENGTH, NUM_BEAMS, decode, decode_scored
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, Tokenizer

__all__ = ["DECODE", "UNTRAINED_LENGTH", "num_tokens", "token_limit", "untrained_model"]

UNTRAINED_LENGTH = 25
"""Tokens of every sentence of an untrained model: a little more than Penn Treebank's mean."""

NEVER = -1e9
"""A bias that no score makes up for."""


def add_decode_options(parser: ArgumentParser) -> None:
    """What is decoded, and by which model."""
    parser.add_argument("--run", type=str | None, help="run directory or hub id (default: none)")
    parser.add_argument(
        "--num-sentences", type=int, default=512, help="latent codes; beam search takes half"
    )
    parser.add_argument(
        "--num-reference", type=int, default=64, help="of these, decoded by the usual loop"
    )
    parser.add_argument("--precision", choices=[*PRECISIONS, "both"], default="both", help="ours")
    parser.add_argument(
        "--max-length",
        type=int | None,
        help=f"most tokens (default: {MAX_LENGTH} with a run, else {UNTRAINED_LENGTH})",
    )


def plan_decode(options: Namespace) -> Plan:
    """Sampling, greedy decoding and beam search, the same latent codes for both sides."""
    at_least(1, num_reference=options.num_reference, max_length=options.max_length)
    at_least(2, num_sentences=options.num_sentences)
    model = untrained_model() if options.run is None else SentenceVAE.from_pretrained(options.run)
    silence(model, PAD_ID, BOS_ID)
    length = options.max_length
    if length is None:
        length = UNTRAINED_LENGTH if options.run is None else MAX_LENGTH
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(options.num_sentences, model.latent_dim, generator=generator)
    half, some = z[: len(z) // 2], z[: options.num_reference]
    chosen = list(PRECISIONS) if options.precision == "both" else [options.precision]
    pairs = []
    for name in chosen:
        pairs += [
            sampling(model, z, some, length, name),
            greedy(model, z, some, length, name),
            beam(model, half, some[: len(half)], length, name),
        ]
    return Plan(
        pairs,
        f"{' and '.join(chosen)}; the usual loop's is fp32",
        decode_setting(options.run, model, len(z), len(some), length),
    )


def decode_setting(
    run: str | None, model: SentenceVAE, num_sentences: int, num_reference: int, length: int
) -> dict[str, str]:
    """Which model, which codes, and what is not as it would be in use."""
    untrained = f"random weights, no sentence ends by itself: all are cut at {length} tokens"
    return {
        "model": f"{untrained if run is None else run} ({sizes(model)})",
        "codes": f"{num_sentences} from the prior, {num_sentences // 2} for beam search",
        "usual loop": f"one sentence at a time, of the first {num_reference} codes at most; its "
        f"beam search goes on until {NUM_BEAMS} sentences are complete",
        "tokens": "those of the results, EOS too",
    }


def untrained_model() -> SentenceVAE:
    """A model of Penn Treebank's size, whose sentences never end.

    Random ends would make lengths, and with them the figures, a matter of chance. The output
    weights are large, because some words must stand out as they do in a trained model: among
    10,000 equal ones the likeliest would be a matter of rounding.
    """
    model = new_model().eval()
    torch.nn.init.normal_(model.decoder.output.weight, generator=torch.Generator().manual_seed(0))
    words = (f"word{i}" for i in range(PTB_SIZE["vocab_size"] - 4))
    model.tokenizer = Tokenizer.train([" ".join(words)])
    silence(model, EOS_ID)
    return model


def silence(model: SentenceVAE, *ids: int) -> None:
    """Let tokens never come: textvae forbids padding and BOS, the usual loop has no such rule."""
    with torch.no_grad():
        model.decoder.output.bias[list(ids)] = NEVER


def num_tokens(sentences: Sequence[Sequence[int]], max_length: int) -> int:
    """Tokens that were generated, EOS too."""
    return sum(min(len(ids) + 1, max_length) for ids in sentences)


def sampling(model: SentenceVAE, z: Tensor, some: Tensor, max_length: int, precision: str) -> Pair:
    """Draws are random on both sides, so nothing but their lengths can be compared."""

    def ours() -> list[list[int]]:
        return decode(model, z, strategy="sample", max_length=max_length, precision=precision)

    def reference() -> list[list[int]]:
        return one_at_a_time(model, some, max_length, drawn)

    def check() -> str:
        lengths = [num_tokens(x, max_length) / len(x) for x in (ours(), reference())]
        return "{:.1f} and {:.1f} tokens a sentence".format(*lengths)

    return Pair(
        f"sampling, {len(z)} sentences, {precision}",
        "tokens/s",
        check,
        lambda: num_tokens(ours(), max_length),
        lambda: num_tokens(reference(), max_length),
        token_limit(model, precision),
        token_limit(model),
    )


def greedy(model: SentenceVAE, z: Tensor, some: Tensor, max_length: int, precision: str) -> Pair:
    """The sentences must be the same, but for those in which rounding decides a tie."""

    def ours() -> list[list[int]]:
        return decode(model, z, max_length=max_length, precision=precision)

    def reference() -> list[list[int]]:
        return one_at_a_time(model, some, max_length, likeliest)

    def check() -> str:
        pairs = zip(ours()[: len(some)], reference(), strict=True)
        return agreement("identical", [a == b for a, b in pairs])

    return Pair(
        f"greedy, {len(z)} sentences, {precision}",
        "tokens/s",
        check,
        lambda: num_tokens(ours(), max_length),
        lambda: num_tokens(reference(), max_length),
        token_limit(model, precision),
        token_limit(model),
    )


def beam(model: SentenceVAE, z: Tensor, some: Tensor, max_length: int, precision: str) -> Pair:
    """Both find the best they can; neither must be far behind the other on the whole.

    The searches differ in two rules: textvae keeps a place for the greedy sentence, and stops as
    soon as no better sentence can come. So either may find a likelier one now and then.
    """

    def ours() -> list[float]:
        found = decode_scored(
            model,
            z,
            strategy="beam",
            num_beams=NUM_BEAMS,
            max_length=max_length,
            precision=precision,
        )
        return [best.log_prob for best in found]

    def reference() -> list[float]:
        return [score for score, _ in beam_one_at_a_time(model, some, NUM_BEAMS, max_length)]

    def check() -> str:
        return comparison(ours()[: len(some)], reference())

    return Pair(
        f"beam of {NUM_BEAMS}, {len(z)} sentences, {precision}",
        "sentences/s",
        check,
        lambda: len(ours()),
        lambda: len(reference()),
        no_limit="how many hypotheses a search goes through is not counted",
    )


def token_limit(model: SentenceVAE, precision: str = "fp32") -> Limit:
    """Of decoding, on both sides. How long sentences get matters little: see `arithmetic.py`."""
    flops = flops_per_token(model, UNTRAINED_LENGTH, encodings=0)
    return Limit(flops, PRECISIONS[precision])


def agreement(what: str, same: Sequence[bool]) -> str:
    """How many results agree; one in a hundred may not.

    Raises:
        RuntimeError: If more do not.
    """
    said = f"{sum(same)} of {len(same)} {what}"
    if sum(same) < 0.99 * len(same):
        raise RuntimeError(f"the two sides don't do the same: {said}")
    return said


def comparison(ours: Sequence[float], reference: Sequence[float]) -> str:
    """Which search found likelier sentences, by their log p.

    Raises:
        RuntimeError: If ours has found worse ones on the whole: by over 1 % of the mean log p.
    """
    gains = [a - b for a, b in zip(ours, reference, strict=True)]
    better, worse = (sum(sign * gain > 1e-3 for gain in gains) for sign in (1, -1))
    means = fmean(ours), fmean(reference)
    said = f"{len(gains) - better - worse} of {len(gains)} as likely, {better} likelier, "
    said += f"{worse} less; mean log p {means[0]:.2f} and {means[1]:.2f}"
    if means[0] < means[1] - 0.01 * abs(means[1]):
        raise RuntimeError(f"textvae's search finds worse sentences: {said}")
    return said


DECODE = Benchmark(
    "sampling, greedy decoding and beam search, batched and not", add_decode_options, plan_decode
)
