"""Commands that write: `sample | reconstruct | interpolate | traverse | analogy | jitter`.

One sentence a line, or with `--json` an object a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, add_run, load, say
from textvae.cli.sentences import (
    add_decoding,
    add_json,
    add_texts,
    corpus_of,
    decoding_of,
    model_and_texts,
    show,
    telling,
)

if TYPE_CHECKING:
    from torch import Tensor

    from textvae.model import SentenceVAE

__all__ = ["COMMANDS"]


def _sample(options: Namespace) -> None:
    from textvae.generation import aggregate_codes, prior_codes

    model, num, seed = load(options.run), options.num_sentences, options.seed
    if options.like is None:
        z = prior_codes(model, num, seed=seed)
    else:
        z = aggregate_codes(model, num, list(telling(model, corpus_of(options.like))), seed=seed)
    show(options, _decoded(model, z, options))


def _reconstruct(options: Namespace) -> None:
    from textvae.generation import posterior_codes

    model, texts = model_and_texts(options)
    z = posterior_codes(model, texts, sampled=options.sampled, seed=options.seed)
    found = _decoded(model, z, options)
    show(options, [{"source": text} | one for text, one in zip(texts, found, strict=True)])


def _interpolate(options: Namespace) -> None:
    from textvae.generation import changes, decode, path_codes

    model, texts = model_and_texts(options)
    z = path_codes(model, *texts, steps=options.steps, method=options.method)
    found = decode(model, z, **decoding_of(options))
    shares = changes(found)
    records = [
        {"step": step, "distance": distance, "text": one.text, "log_prob": one.log_prob}
        for step, (distance, one) in enumerate(zip((None, *shares), found, strict=True))
    ]
    show(options, records)
    say(
        f"smoothness {1 - sum(shares) / len(shares):.2f}, "
        f"{len({one.text for one in found})} different sentences of {len(found)}"
    )


def _traverse(options: Namespace) -> None:
    from textvae.generation import traversal_codes

    model, (text,) = model_and_texts(options, 1)
    dim, low, high, steps = options.dim, options.low, options.high, options.steps
    z = traversal_codes(model, text, dim, low=low, high=high, steps=steps)
    values = [low + (high - low) * step / (steps - 1) for step in range(steps)]
    records = [
        {"source": text, "dim": dim, "value": value} | one
        for value, one in zip(values, _decoded(model, z, options), strict=True)
    ]
    show(options, records, "{value:+.2f}\t{text}")


def _analogy(options: Namespace) -> None:
    from textvae.generation import analogy_codes

    model, (a, b, c) = model_and_texts(options, 3)
    found = _decoded(model, analogy_codes(model, a, b, c), options)
    show(options, [{"a": a, "b": b, "c": c} | one for one in found])


def _jitter(options: Namespace) -> None:
    from textvae.generation import jittered_codes

    model, (text,) = model_and_texts(options, 1)
    num, scale, seed = options.num_sentences, options.scale, options.seed
    z = jittered_codes(model, text, num, scale=scale, seed=seed)
    show(options, [{"source": text} | one for one in _decoded(model, z, options)])


def _decoded(model: SentenceVAE, z: Tensor, options: Namespace) -> list[dict[str, Any]]:
    """The sentence of each latent code, (B, Z), and its log p(x|z)."""
    from textvae.generation import decode

    found = decode(model, z, **decoding_of(options))
    return [{"text": one.text, "log_prob": one.log_prob} for one in found]


def _sample_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("-n", "--num-sentences", type=int, default=10, help="how many")
    parser.add_argument(
        "--like",
        type=str | None,
        metavar="FILE",
        help="take z from the posteriors of this file's sentences, not from the prior",
    )
    add_json(parser)
    add_decoding(parser, strategy="sample", allow_unknown=False)
    parser.epilog = "example: textvae sample runs/grammar-1 -n 5 --top-p 0.9 --seed 1"


def _reconstruct_arguments(parser: ArgumentParser) -> None:
    add_texts(parser, "sentences")
    parser.add_argument(
        "--sampled", action="store_true", help="through a draw from the posterior, not its mean"
    )
    add_json(parser)
    add_decoding(parser)
    parser.epilog = "example: textvae reconstruct runs/my-1 'prices fell' --strategy beam"


def _interpolate_arguments(parser: ArgumentParser) -> None:
    add_texts(parser, "two sentences or more")
    add = parser.add_argument
    add("--steps", type=int, default=5, help="sentences from one to the next, both ends included")
    add("--method", type=str, default="linear", help="linear or spherical")
    add_json(parser)
    add_decoding(parser)
    parser.epilog = "example: textvae interpolate runs/my-1 'prices fell' 'he said so' --steps 7"


def _traverse_arguments(parser: ArgumentParser) -> None:
    add_texts(parser, "a sentence")
    add = parser.add_argument
    add("--dim", type=int, required=True, help="the dimension, from 0; `encode` names busy ones")
    add("--low", type=float, default=-3.0, help="its first value; the prior's deviation is 1")
    add("--high", type=float, default=3.0, help="its last value")
    add("--steps", type=int, default=7, help="values, both ends included")
    add_json(parser)
    add_decoding(parser)
    parser.epilog = "example: textvae traverse runs/my-1 'prices fell' --dim 3 --steps 5"


def _analogy_arguments(parser: ArgumentParser) -> None:
    add_texts(parser, "three sentences A, B and C")
    add_json(parser)
    add_decoding(parser)
    parser.epilog = "example: textvae analogy runs/my-1 'he sees cats' 'he sees a cat' 'a dog ran'"


def _jitter_arguments(parser: ArgumentParser) -> None:
    add_texts(parser, "a sentence")
    add = parser.add_argument
    add("-n", "--num-sentences", type=int, default=5, help="how many")
    add("--scale", type=float, default=1.0, help="how far, in deviations of the posterior")
    add_json(parser)
    add_decoding(parser)
    parser.epilog = "example: textvae jitter runs/my-1 'prices fell' -n 8 --scale 2"


COMMANDS = (
    Command("sample", "new sentences, one a line", _sample_arguments, _sample),
    Command(
        "reconstruct",
        "what comes back of sentences sent through the latent space",
        _reconstruct_arguments,
        _reconstruct,
    ),
    Command(
        "interpolate",
        "sentences on the way from one to another",
        _interpolate_arguments,
        _interpolate,
    ),
    Command(
        "traverse",
        "a sentence with one latent dimension taken from end to end",
        _traverse_arguments,
        _traverse,
    ),
    Command(
        "analogy", "the sentence at A − B + C: to C as A is to B", _analogy_arguments, _analogy
    ),
    Command("jitter", "sentences from around one", _jitter_arguments, _jitter),
)
