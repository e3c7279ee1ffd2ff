"""Commands that write: `sample | reconstruct | interpolate | traverse | analogy | jitter`.

One sentence a line, or with `--json` an object a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from textvae.cli.command import Json, Run, say
from textvae.cli.sentences import (
    Input,
    Sentence,
    Sentences,
    load,
    load_with_texts,
    read_corpus,
    report_unknown_words,
    show,
)
from textvae.config import Decoding

if TYPE_CHECKING:
    from torch import Tensor

    from textvae.model import SentenceVAE

LIKELIEST = Decoding()
DRAWN = Decoding(strategy="sample", allow_unknown=False)


def sample(
    run: Run,
    *,
    num_sentences: Annotated[int, "how many"] = 10,
    like: Annotated[
        str | None,
        "file of sentences whose posteriors z is of, not the prior",
    ] = None,
    json: Json = False,
    decoding: Decoding = DRAWN,
) -> None:
    """New sentences, one a line.

    example: textvae sample runs/grammar-1 -n 5 --top-p 0.9 --seed 1
    """
    from textvae.generation import aggregate_codes, prior_codes

    model = load(run)
    if like is None:
        z = prior_codes(model, num_sentences, seed=decoding.seed)
    else:
        texts = list(report_unknown_words(model, read_corpus(like)))
        z = aggregate_codes(model, num_sentences, texts, seed=decoding.seed)
    show(_decoded(model, z, decoding), json)


def reconstruct(
    run: Run,
    texts: Sentences = (),
    *,
    input: Input = None,
    sampled: Annotated[bool, "through a draw from the posterior, not its mean"] = False,
    json: Json = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """What comes back of sentences sent through the latent space.

    example: textvae reconstruct runs/my-1 'prices fell' --strategy beam
    """
    from textvae.generation import posterior_codes

    model, found = load_with_texts(run, texts, input)
    decoded = _decoded(
        model, posterior_codes(model, found, sampled=sampled, seed=decoding.seed), decoding
    )
    show([{"source": text} | one for text, one in zip(found, decoded, strict=True)], json)


def interpolate(
    run: Run,
    texts: Annotated[Sequence[str], "two sentences or more"] = (),
    *,
    input: Input = None,
    steps: Annotated[int, "sentences from one to the next, both ends included"] = 5,
    method: Annotated[str, "linear or spherical"] = "linear",
    json: Json = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """Sentences on the way from one to another.

    example: textvae interpolate runs/my-1 'prices fell' 'he said so' --steps 7
    """
    from textvae.generation import changes, decode, path_codes

    model, ends = load_with_texts(run, texts, input)
    found = decode(model, path_codes(model, *ends, steps=steps, method=method), **asdict(decoding))
    shares = changes(found)
    records = [
        {"step": step, "distance": distance, "text": one.text, "log_prob": one.log_prob}
        for step, (distance, one) in enumerate(zip((None, *shares), found, strict=True))
    ]
    show(records, json)
    say(
        f"smoothness {1 - sum(shares) / len(shares):.2f}, "
        f"{len({one.text for one in found})} different sentences of {len(found)}"
    )


def traverse(
    run: Run,
    texts: Sentence = (),
    *,
    input: Input = None,
    dim: Annotated[int, "the dimension, from 0; `encode` names busy ones"],
    low: Annotated[float, "its first value; the prior's deviation is 1"] = -3.0,
    high: Annotated[float, "its last value"] = 3.0,
    steps: Annotated[int, "values, both ends included"] = 7,
    json: Json = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """A sentence with one latent dimension taken from end to end.

    example: textvae traverse runs/my-1 'prices fell' --dim 3 --steps 5
    """
    from textvae.generation import traversal_codes

    model, (text,) = load_with_texts(run, texts, input, 1)
    z = traversal_codes(model, text, dim, low=low, high=high, steps=steps)
    values = [low + (high - low) * step / (steps - 1) for step in range(steps)]
    records = [
        {"source": text, "dim": dim, "value": value} | one
        for value, one in zip(values, _decoded(model, z, decoding), strict=True)
    ]
    show(records, json, "{value:+.2f}\t{text}")


def analogy(
    run: Run,
    texts: Annotated[Sequence[str], "three sentences A, B and C"] = (),
    *,
    input: Input = None,
    json: Json = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """The sentence at A − B + C: to C as A is to B.

    example: textvae analogy runs/my-1 'he sees cats' 'he sees a cat' 'a dog ran'
    """
    from textvae.generation import analogy_codes

    model, (a, b, c) = load_with_texts(run, texts, input, 3)
    found = _decoded(model, analogy_codes(model, a, b, c), decoding)
    show([{"a": a, "b": b, "c": c} | one for one in found], json)


def jitter(
    run: Run,
    texts: Sentence = (),
    *,
    input: Input = None,
    num_sentences: Annotated[int, "how many"] = 5,
    scale: Annotated[float, "how far, in deviations of the posterior"] = 1.0,
    json: Json = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """Sentences from around one.

    example: textvae jitter runs/my-1 'prices fell' -n 8 --scale 2
    """
    from textvae.generation import jittered_codes

    model, (text,) = load_with_texts(run, texts, input, 1)
    z = jittered_codes(model, text, num_sentences, scale=scale, seed=decoding.seed)
    show([{"source": text} | one for one in _decoded(model, z, decoding)], json)


def _decoded(model: SentenceVAE, z: Tensor, decoding: Decoding) -> list[dict[str, Any]]:
    """The sentence of each latent code, (B, Z), and its log p(x|z)."""
    from textvae.generation import decode

    found = decode(model, z, **asdict(decoding))
    return [{"text": one.text, "log_prob": one.log_prob} for one in found]
