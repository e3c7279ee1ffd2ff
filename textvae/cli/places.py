"""Commands about places in the latent space: where sentences are, what is there, and near."""

from __future__ import annotations

import json as json_lines
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from textvae.checks import InputError
from textvae.cli.command import Json, Run, bar, read_lines, say
from textvae.cli.texts import LIKELIEST, Texts, read_corpus, report_unknown_words, show, written
from textvae.config import Decoding
from textvae.files import output_file, replacing

if TYPE_CHECKING:
    from textvae.model import Posterior

CHUNK = 4096  # sentences that are read and encoded at a time
BEST = 5  # different sentences of a search that are shown
BUSIEST = 3  # dimensions shown of each sentence


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
    path = output_file(output, ".npz")
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
    model, texts = given.load()
    for start in bar(range(0, len(texts), CHUNK), unit="it"):
        part = texts[start : start + CHUNK]
        yield part, model.encode_texts(part)


def _show_places(given: Texts, texts: list[str], posterior: Posterior) -> None:
    kls, variances = posterior.kl(), posterior.variance
    rows = kls, kls.sum(-1), posterior.mean, variances.log(), variances.sqrt()
    for text, kl, *row in zip(texts, *rows, strict=True):
        total, mu, logvar, deviations = (values.tolist() for values in row)
        dims = kl.argsort(descending=True, stable=True)[:BUSIEST].tolist()
        busiest = "  ".join(f"z[{dim}] {mu[dim]:+.2f} ±{deviations[dim]:.2f}" for dim in dims)
        record = {"text": text, "kl": total, "mu": mu, "logvar": logvar}
        show(given.json, [record], f"KL {total:.2f}  {busiest}\t{{text}}")


def decode(
    run: Run,
    codes: Annotated[str, ".npz with an array z or mu, or JSON lines of them; - too"],
    *,
    json: Json = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """The sentence of each latent code: the way back from `encode`.

    example: textvae decode runs/my-1 my.npz --strategy beam
    """
    import torch

    from textvae.generation import TextVAE

    model = TextVAE.from_pretrained(run)
    try:
        z = torch.tensor(_read_codes(codes), dtype=torch.float32)
    except (TypeError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{codes} must hold numbers, as many for each code: {error}") from None
    if not z.isfinite().all():
        raise InputError(f"{codes} must hold finite numbers")
    show(json, written(model, z, decoding, [{}] * len(z)))


def _read_codes(source: str) -> Any:
    import numpy as np

    if source.lower().endswith(".npz"):
        # Opened as what it is first: of anything else numpy speaks of pickles.
        with zipfile.ZipFile(source), np.load(source, allow_pickle=False) as arrays:
            found = dict(arrays)
    else:
        lines = map(json_lines.loads, read_lines(source))
        rows = [line if isinstance(line, dict) else {"z": line} for line in lines]
        found = {name: [row.get(name) for row in rows] for name in rows[0]}
    if not (names := [name for name in ("z", "mu") if name in found]):
        raise ValueError(f"neither z nor mu, but {', '.join(found)}")
    return found[names[0]]


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
    model, (text,) = given.load(1)
    numbers: list[int] = []

    def sentences() -> Iterator[str]:
        for number, sentence in read_corpus(corpus):
            numbers.append(number)
            yield sentence

    candidates = report_unknown_words(model, sentences())
    found = model.neighbours(text, candidates, k, metric=metric)
    records = [
        {"distance": one.distance, "line": numbers[one.position], "text": one.text} for one in found
    ]
    show(given.json, records, "{distance:.4f}\t{text}")


def optimise(
    run: Run,
    *,
    property: Annotated[str, "FILE.py:function, of a sentence: a number, the more the better"],
    steps: Annotated[int, "sentences that are scored, and by random search beside"] = 100,
    max_kl: Annotated[
        float | None, "bound on |z|² / 2, nats (default: half the dimensions)"
    ] = None,
    label: Annotated[str | None, "labels that the model is told: NAME=VALUE[,NAME=VALUE]"] = None,
    seed: Annotated[int, "of the search: the same seed, the same codes"] = 0,
    json: Json = False,
) -> None:
    """Search the latent space for sentences that score high, by a Gaussian process.

    example: textvae optimise runs/my-1 --property my.py:score --steps 100
    """
    from textvae import recipes
    from textvae.generation import TextVAE

    model, score = TextVAE.from_pretrained(run), recipes.score_function(property)
    for sampler in ("gp", "random"):
        how: dict[str, Any] = {"steps": steps, "max_kl": max_kl, "label": label, "seed": seed}
        found, faults = recipes.optimise(model, score, sampler=sampler, **how)
        skipped = f", {len(faults)} skipped, the first by {faults[0]}" if faults else ""
        say(f"{sampler}: {len(found)} of {steps} scored{skipped}")
        best = sorted({one.text: one for one in sorted(found)}.values(), reverse=True)[:BEST]
        records = ({"sampler": sampler, **one._asdict()} for one in (found if json else best))
        show(json, records, "{sampler}\t{score:.4g}\tstep {step}\t{text}")
