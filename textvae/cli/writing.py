"""Commands that write sentences, or show where some lie in the latent space.

One sentence a line, or with `--json` an object a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from textvae.checks import InputError
from textvae.cli.command import Json, Run, say
from textvae.cli.sentences import Texts, load, read_corpus, report_unknown_words, show
from textvae.config import Decoding
from textvae.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from textvae.model import Posterior, SentenceVAE

LIKELIEST = Decoding()
DRAWN = Decoding(strategy="sample", allow_unknown=False)

CHUNK = 4096
"""Sentences that are read and encoded at a time."""

BUSIEST = 3
"""Dimensions shown of each sentence."""


def sample(
    run: Run,
    *,
    num_sentences: Annotated[int, "how many"] = 10,
    like: Annotated[str | None, "z of the posteriors of this file's sentences, no prior's"] = None,
    json: Json = False,
    decoding: Decoding = DRAWN,
) -> None:
    """New sentences, one a line.

    example: textvae sample runs/grammar-1 -n 5 --top-p 0.9 --seed 1
    """
    from textvae.generation import aggregate_codes, prior_codes

    model, seed = load(run), decoding.seed
    if like is None:
        z = prior_codes(model, num_sentences, seed=seed)
    else:
        texts = report_unknown_words(model, (text for _, text in read_corpus(like)))
        z = aggregate_codes(model, num_sentences, list(texts), seed=seed)
    show(_decoded(model, z, decoding), json)


def reconstruct(
    given: Texts,
    *,
    sampled: Annotated[bool, "through a draw from the posterior, not its mean"] = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """What comes back of sentences sent through the latent space.

    example: textvae reconstruct runs/my-1 'prices fell' --strategy beam
    """
    from textvae.generation import posterior_codes

    model, texts = given.load()
    z = posterior_codes(model, texts, sampled=sampled, seed=decoding.seed)
    found = zip(texts, _decoded(model, z, decoding), strict=True)
    given.show({"source": text} | one for text, one in found)


def interpolate(
    given: Texts,
    *,
    steps: Annotated[int, "sentences from one to the next, both ends included"] = 5,
    method: Annotated[str, "linear or spherical"] = "linear",
    decoding: Decoding = LIKELIEST,
) -> None:
    """Sentences on the way from one to another, two or more.

    example: textvae interpolate runs/my-1 'prices fell' 'he said so' --steps 7
    """
    from textvae.generation import changes, decode, path_codes

    model, texts = given.load()
    found = decode(model, path_codes(model, *texts, steps=steps, method=method), **asdict(decoding))
    shares = changes(found)
    given.show(
        {"step": step, "distance": distance, "text": one.text, "log_prob": one.log_prob}
        for step, (distance, one) in enumerate(zip((None, *shares), found, strict=True))
    )
    smoothness, num_different = 1 - sum(shares) / len(shares), len({one.text for one in found})
    say(f"smoothness {smoothness:.2f}, {num_different} different sentences of {len(found)}")


def traverse(
    given: Texts,
    *,
    dim: Annotated[int, "the dimension, from 0; `encode` names busy ones"],
    low: Annotated[float, "its first value; the prior's deviation is 1"] = -3.0,
    high: Annotated[float, "its last value"] = 3.0,
    steps: Annotated[int, "values, both ends included"] = 7,
    decoding: Decoding = LIKELIEST,
) -> None:
    """A sentence with one latent dimension taken from end to end.

    example: textvae traverse runs/my-1 'prices fell' --dim 3 --steps 5
    """
    from textvae.generation import traversal_codes

    model, (text,) = given.load(1)
    z = traversal_codes(model, text, dim, low=low, high=high, steps=steps)
    records = [
        {"source": text, "dim": dim, "value": low + (high - low) * step / (steps - 1)} | one
        for step, one in enumerate(_decoded(model, z, decoding))
    ]
    given.show(records, "{value:+.2f}\t{text}")


def analogy(given: Texts, *, decoding: Decoding = LIKELIEST) -> None:
    """The sentence at A − B + C of three: to C as A is to B.

    example: textvae analogy runs/my-1 'he sees cats' 'he sees a cat' 'a dog ran'
    """
    from textvae.generation import analogy_codes

    model, (a, b, c) = given.load(3)
    found = _decoded(model, analogy_codes(model, a, b, c), decoding)
    given.show({"a": a, "b": b, "c": c} | one for one in found)


def jitter(
    given: Texts,
    *,
    num_sentences: Annotated[int, "how many"] = 5,
    scale: Annotated[float, "how far, in deviations of the posterior"] = 1.0,
    decoding: Decoding = LIKELIEST,
) -> None:
    """Sentences from around one.

    example: textvae jitter runs/my-1 'prices fell' -n 8 --scale 2
    """
    from textvae.generation import jittered_codes

    model, (text,) = given.load(1)
    z = jittered_codes(model, text, num_sentences, scale=scale, seed=decoding.seed)
    given.show({"source": text} | one for one in _decoded(model, z, decoding))


def _decoded(model: SentenceVAE, z: Tensor, decoding: Decoding) -> list[dict[str, Any]]:
    """The sentence of each latent code, (B, Z), and its log p(x|z)."""
    from textvae.generation import decode

    found = decode(model, z, **asdict(decoding))
    return [{"text": one.text, "log_prob": one.log_prob} for one in found]


def encode(
    given: Texts,
    *,
    output: Annotated[
        str | None, "write mu and logvar (sentences, dimensions) and kl (sentences) to this .npz"
    ] = None,
) -> None:
    """Where sentences lie in the latent space.

    example: textvae encode runs/my-1 --input my.txt --output my.npz
    """
    if output is None:
        for texts, posterior in _encoded(given):
            _show_places(given, texts, posterior)
        return
    if given.json:
        raise InputError("output must be lines (--json) or a file (--output), got both")
    path = Path(output)
    if path.suffix != ".npz":
        raise InputError(f"output must be a file .npz, got {output}")
    if path.is_dir():
        raise IsADirectoryError(f"output must be a file, {output} is a directory")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no directory for {output}")
    # Opened before anything is encoded: what can't be written is known now.
    with replacing(path) as temporary, temporary.open("wb") as file:
        import numpy as np

        parts = [posterior for _, posterior in _encoded(given)]
        whole = type(parts[0]).cat(parts).map(lambda parameter: parameter.cpu())
        mean, logvar, kl = whole.mean, whole.variance.log(), whole.kl().sum(-1)
        np.savez(file, mu=mean.numpy(), logvar=logvar.numpy(), kl=kl.numpy())
    say(f"{path} written: {len(whole):,} sentences, KL {kl.mean():.2f} nats on average")


def _encoded(given: Texts) -> Iterator[tuple[list[str], Posterior]]:
    """The texts given and their posteriors, a part at a time."""
    from tqdm import tqdm

    from textvae.generation import encode

    model, longest, first = load(given.run), given.longest, 1
    bar = tqdm(given.read(), unit=" sentences", leave=False, delay=1, disable=None)
    rest = report_unknown_words(model, bar)
    while texts := list(islice(rest, CHUNK)):
        try:
            posterior = encode(model, texts, max_tokens=longest)
        except InputError as fault:
            bar.close()
            place = f", counted from text {first:,}" if first > 1 else ""
            raise InputError(f"{fault}{place}") from None
        yield texts, posterior
        first += len(texts)


def _show_places(given: Texts, texts: list[str], posterior: Posterior) -> None:
    kl, mean, variance = posterior.kl(), posterior.mean, posterior.variance
    names = ("text", "kl", "mu", "logvar")
    columns = (texts, kl.sum(-1).tolist(), mean.tolist(), variance.log().tolist())
    records = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if not given.json:
        order = kl.argsort(dim=-1, descending=True, stable=True)[:, :BUSIEST].tolist()
        for record, dims, deviations in zip(records, order, variance.sqrt().tolist(), strict=True):
            record["busiest"] = "  ".join(
                f"z[{dim}] {record['mu'][dim]:+.2f} ±{deviations[dim]:.2f}" for dim in dims
            )
    given.show(records, "KL {kl:.2f}  {busiest}\t{text}")


def neighbours(
    given: Texts,
    *,
    corpus: Annotated[str, "file of sentences, one a line; - too"],
    k: Annotated[int, "how many"] = 10,
    metric: Annotated[
        str, "cosine or euclidean, between posterior means, or kl, from the text's posterior"
    ] = "cosine",
) -> None:
    """The sentences of a corpus nearest to one.

    example: textvae neighbours runs/my-1 'prices fell' --corpus my.txt -k 5
    """
    from textvae.generation import neighbours

    model, (text,) = given.load(1)
    numbers: list[int] = []

    def sentences() -> Iterator[str]:
        for number, sentence in read_corpus(corpus):
            numbers.append(number)
            yield sentence

    found = neighbours(model, text, report_unknown_words(model, sentences()), k, metric=metric)
    records = [
        {"distance": one.distance, "line": numbers[one.position], "text": one.text} for one in found
    ]
    given.show(records, "{distance:.4f}\t{text}")
