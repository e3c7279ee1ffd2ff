"""Commands that show where sentences lie in the latent space: `textvae encode | neighbours`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from textvae.cli.command import Command, load, say
from textvae.cli.sentences import (
    add_json,
    add_texts,
    corpus_of,
    given_texts,
    longest_of,
    model_and_texts,
    show,
    telling,
)
from textvae.files import replacing

if TYPE_CHECKING:
    from textvae.model import Posterior, SentenceVAE

__all__ = ["COMMANDS"]

CHUNK = 4096
"""Sentences that are read and encoded at a time."""

BUSIEST = 3
"""Dimensions shown of each sentence."""


def _encode(options: Namespace) -> None:
    if options.output is None:
        model = load(options.run)
        for texts, posterior in _encoded(model, options):
            _show(options, texts, posterior)
        return
    if options.json:
        raise ValueError("output must be lines (--json) or a file (--output), got both")
    path = _checked_output(options.output)
    model = load(options.run)
    # Opened before anything is encoded: what can't be written is known now.
    with replacing(path) as temporary, temporary.open("wb") as file:
        import numpy as np
        import torch

        from textvae.losses import kl_divergence

        parts = [posterior for _, posterior in _encoded(model, options)]
        mu, logvar = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        kl = kl_divergence(mu, logvar, "none")
        np.savez(file, mu=mu.numpy(), logvar=logvar.numpy(), kl=kl.numpy())
    say(f"{path} written: {len(mu):,} sentences, KL {kl.mean():.2f} nats on average")


def _encoded(model: SentenceVAE, options: Namespace) -> Iterator[tuple[list[str], Posterior]]:
    """The texts given and their posteriors, a part at a time."""
    from tqdm import tqdm

    from textvae.generation import encode

    longest = longest_of(options.run)
    bar = tqdm(given_texts(options), unit=" sentences", leave=False, delay=1, disable=None)
    first = 1
    for texts in _parts(telling(model, bar)):
        try:
            posterior = encode(model, texts, max_tokens=longest)
        except ValueError as fault:
            bar.close()
            place = f", counted from text {first:,}" if first > 1 else ""
            raise ValueError(f"{fault}{place}") from None
        yield texts, posterior
        first += len(texts)


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while part := list(islice(rest, CHUNK)):
        yield part


def _checked_output(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".npz":
        raise ValueError(f"output must be a file .npz, got {name}")
    if path.is_dir():
        raise IsADirectoryError(f"output must be a file, {name} is a directory")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no directory for {name}")
    return path


def _show(options: Namespace, texts: list[str], posterior: Posterior) -> None:
    from textvae.losses import kl_per_dimension

    kl = kl_per_dimension(*posterior)
    columns = zip(
        texts, kl.sum(-1).tolist(), posterior.mu.tolist(), posterior.logvar.tolist(), strict=True
    )
    records = [
        {"text": text, "kl": total, "mu": mu, "logvar": logvar}
        for text, total, mu, logvar in columns
    ]
    if not options.json:
        order = kl.argsort(dim=-1, descending=True, stable=True)[:, :BUSIEST].tolist()
        sigma = (0.5 * posterior.logvar).exp().tolist()
        for record, dims, deviations in zip(records, order, sigma, strict=True):
            record["busiest"] = "  ".join(
                f"z[{dim}] {record['mu'][dim]:+.2f} ±{deviations[dim]:.2f}" for dim in dims
            )
    show(options, records, "KL {kl:.2f}  {busiest}\t{text}")


def _neighbours(options: Namespace) -> None:
    from textvae.generation import neighbours

    model, (text,) = model_and_texts(options, 1)
    numbers: list[int] = []
    corpus = telling(model, corpus_of(options.corpus, numbers))
    found = neighbours(model, text, corpus, options.k, metric=options.metric)
    records = [
        {"distance": one.distance, "line": numbers[one.position], "text": one.text} for one in found
    ]
    show(options, records, "{distance:.4f}\t{text}")


def _encode_arguments(parser: ArgumentParser) -> None:
    add_texts(parser, "sentences")
    add_json(parser)
    parser.add_argument(
        "--output",
        type=str | None,
        metavar="FILE.npz",
        help="write arrays mu and logvar (sentences, dimensions) and kl (sentences), in nats",
    )
    parser.epilog = "example: textvae encode runs/my-1 --input my.txt --output my.npz"


def _neighbours_arguments(parser: ArgumentParser) -> None:
    add_texts(parser, "a sentence")
    add = parser.add_argument
    add("--corpus", type=str, required=True, metavar="FILE", help="sentences, one a line; - too")
    add("-k", type=int, default=10, help="how many")
    add(
        "--metric",
        type=str,
        default="cosine",
        help="cosine or euclidean, between posterior means, or kl, from the text's posterior",
    )
    add_json(parser)
    parser.epilog = "example: textvae neighbours runs/my-1 'prices fell' --corpus my.txt -k 5"


COMMANDS = (
    Command("encode", "where sentences lie in the latent space", _encode_arguments, _encode),
    Command(
        "neighbours",
        "the sentences of a corpus nearest to one",
        _neighbours_arguments,
        _neighbours,
    ),
)
