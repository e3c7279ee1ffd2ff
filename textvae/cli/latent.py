"""Commands that show where sentences lie in the latent space: `textvae encode | neighbours`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from textvae.checks import InputError
from textvae.cli.command import Json, Run, say
from textvae.cli.sentences import (
    Input,
    Sentence,
    Sentences,
    given_texts,
    load,
    load_with_texts,
    longest_of,
    read_corpus,
    report_unknown_words,
    show,
)
from textvae.files import replacing

if TYPE_CHECKING:
    from textvae.model import Posterior

CHUNK = 4096
"""Sentences that are read and encoded at a time."""

BUSIEST = 3
"""Dimensions shown of each sentence."""


def encode(
    run: Run,
    texts: Sentences = (),
    *,
    input: Input = None,
    json: Json = False,
    output: Annotated[
        str | None,
        "write arrays mu and logvar (sentences, dimensions) and kl (sentences), in nats",
    ] = None,
) -> None:
    """Where sentences lie in the latent space.

    example: textvae encode runs/my-1 --input my.txt --output my.npz
    """
    if output is None:
        for chunk, posterior in _encoded(run, texts, input):
            _show(chunk, posterior, json)
        return
    if json:
        raise InputError("output must be lines (--json) or a file (--output), got both")
    path = _checked_output(output)
    # Opened before anything is encoded: what can't be written is known now.
    with replacing(path) as temporary, temporary.open("wb") as file:
        import numpy as np

        parts = [posterior for _, posterior in _encoded(run, texts, input)]
        whole = type(parts[0]).cat(parts).map(lambda parameter: parameter.cpu())
        mean, logvar, kl = whole.mean, whole.variance.log(), whole.kl().sum(-1)
        np.savez(file, mu=mean.numpy(), logvar=logvar.numpy(), kl=kl.numpy())
    say(f"{path} written: {len(whole):,} sentences, KL {kl.mean():.2f} nats on average")


def _encoded(
    run: str, texts: Sequence[str], source: str | None
) -> Iterator[tuple[list[str], Posterior]]:
    """The texts given and their posteriors, a part at a time."""
    from tqdm import tqdm

    from textvae.generation import encode as encode_texts

    model, longest = load(run), longest_of(run)
    bar = tqdm(given_texts(texts, source), unit=" sentences", leave=False, delay=1, disable=None)
    rest, first = report_unknown_words(model, bar), 1
    while chunk := list(islice(rest, CHUNK)):
        try:
            posterior = encode_texts(model, chunk, max_tokens=longest)
        except InputError as fault:
            bar.close()
            place = f", counted from text {first:,}" if first > 1 else ""
            raise InputError(f"{fault}{place}") from None
        yield chunk, posterior
        first += len(chunk)


def _checked_output(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".npz":
        raise InputError(f"output must be a file .npz, got {name}")
    if path.is_dir():
        raise IsADirectoryError(f"output must be a file, {name} is a directory")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no directory for {name}")
    return path


def _show(texts: list[str], posterior: Posterior, json: bool) -> None:
    kl, mean, variance = posterior.kl(), posterior.mean, posterior.variance
    columns = (texts, kl.sum(-1).tolist(), mean.tolist(), variance.log().tolist())
    names = ("text", "kl", "mu", "logvar")
    records = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if not json:
        order = kl.argsort(dim=-1, descending=True, stable=True)[:, :BUSIEST].tolist()
        for record, dims, deviations in zip(records, order, variance.sqrt().tolist(), strict=True):
            record["busiest"] = "  ".join(
                f"z[{dim}] {record['mu'][dim]:+.2f} ±{deviations[dim]:.2f}" for dim in dims
            )
    show(records, json, "KL {kl:.2f}  {busiest}\t{text}")


def neighbours(
    run: Run,
    texts: Sentence = (),
    *,
    input: Input = None,
    corpus: Annotated[str, "sentences, one a line; - too"],
    k: Annotated[int, "how many"] = 10,
    metric: Annotated[
        str,
        "cosine or euclidean, between posterior means, or kl, from the text's posterior",
    ] = "cosine",
    json: Json = False,
) -> None:
    """The sentences of a corpus nearest to one.

    example: textvae neighbours runs/my-1 'prices fell' --corpus my.txt -k 5
    """
    from textvae.generation import neighbours as nearest

    model, (text,) = load_with_texts(run, texts, input, 1)
    numbers: list[int] = []
    sentences = report_unknown_words(model, read_corpus(corpus, numbers))
    records = [
        {"distance": one.distance, "line": numbers[one.position], "text": one.text}
        for one in nearest(model, text, sentences, k, metric=metric)
    ]
    show(records, json, "{distance:.4f}\t{text}")
