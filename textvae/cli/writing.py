"""Commands that write sentences, or show where some lie in the latent space.

Texts come from arguments, files or standard input; sentences go out one a line, or with `--json` an
object a line.
"""

from __future__ import annotations

import json as json_lines
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from textvae.checks import InputError, one_of
from textvae.cli.command import Json, Run, print_result, read_lines, say
from textvae.config import Decoding
from textvae.files import find_pretrained, output_file, read_config, replacing

if TYPE_CHECKING:
    from torch import Tensor

    from textvae.generation import TextVAE
    from textvae.model import Posterior

LIKELIEST = Decoding()
DRAWN = Decoding(strategy="sample", allow_unknown=False)

Records = Iterable[dict[str, Any]]
CHUNK = 4096  # sentences that are read and encoded at a time
BEST = 5  # different sentences of a search that are shown
BUSIEST = 3  # dimensions shown of each sentence
MAX_FITTED = 20_000  # training sentences whose codes a distribution is fitted to
MAX_UNKNOWN = 20  # unknown words that are shown


@dataclass(frozen=True)
class Texts:
    """A run and texts for its model, and how what comes of them is printed."""

    run: Run
    texts: Annotated[Sequence[str], "without any, or with -, one a line from standard input"] = ()
    _: KW_ONLY
    input: Annotated[str | None, "file of texts, one a line"] = None
    json: Json = False

    def load(self, count: int | None = None) -> tuple[TextVAE, list[str]]:
        """The model and the texts, all fit for it and `count` in number."""
        from textvae.generation import TextVAE, check_texts

        model, texts = TextVAE.from_pretrained(self.run), list(self.texts)
        if self.input is not None and texts:
            raise InputError("texts must be arguments or --input, got both")
        if texts in ([], ["-"]):
            texts = list(read_lines("-" if self.input is None else self.input))
        if count is not None and len(texts) != count:
            raise InputError(f"texts must be {count} in number, got {len(texts)}")
        config = read_config(find_pretrained(self.run), "model")
        # A run that was saved before runs noted it has its limit, a model alone has neither.
        limit = config.get("run", {}).get("data", {}).get("max_length")
        check_texts(model, texts, max_tokens=config.get("longest_sentence") or limit)
        return model, list(_report_unknown_words(model, texts))


def _read_corpus(source: str) -> Iterator[tuple[int, str]]:
    """The sentences of a file and their lines' numbers, without empty lines and space around."""
    from textvae.tokenizer import find_reserved

    name, sentence = "standard input" if source == "-" else source, ""
    for number, line in enumerate(read_lines(source), start=1):
        reserved = find_reserved(line)
        if reserved is not None:
            raise InputError(f"line {number} of {name} contains the reserved token {reserved}")
        if line.strip():
            sentence = line.strip()
            yield number, sentence
    if not sentence:
        raise InputError(f"{name} must hold at least one sentence, got empty lines only")


def _report_unknown_words(model: TextVAE, texts: Iterable[str]) -> Iterator[str]:
    """The same texts; when there are no more, says which words the model has never seen."""
    unknown: dict[str, None] = {}
    for text in texts:
        unknown |= dict.fromkeys(model.tokenizer.unknown_words(text))
        yield text
    if unknown:
        rest = f" … and {len(unknown) - MAX_UNKNOWN:,} more" if len(unknown) > MAX_UNKNOWN else ""
        words = " ".join(list(unknown)[:MAX_UNKNOWN])
        say(f"not in the vocabulary, read as <unk>: {words}{rest}")


def _written(
    model: TextVAE, z: Tensor, decoding: Decoding, known: Records, labels: Tensor | None = None
) -> Iterator[dict[str, Any]]:
    """The sentence of each latent code, (B, Z), and its log p(x|z), beside what is known of it."""
    labels = model.labels.changed(labels, len(z), decoding.label)
    found, told = model.decode(z, labels=labels, **asdict(decoding)), model.labels.named(labels)
    for one, more, own in zip(found, known, told, strict=True):
        yield {**more, **own, "text": one.text, "log_prob": one.log_prob}


def _show(as_json: bool, records: Records, line: str = "{text}") -> None:
    """Print each record in a line: as JSON, or as `line` has it.

    No line break is printed that a model of bytes may have put into a sentence.
    """
    for record in records:
        print_result(as_json, record, " ".join(line.format_map(record).splitlines()))


def sample(
    run: Run,
    *,
    num_sentences: Annotated[int, "how many"] = 10,
    like: Annotated[str | None, "z of the posteriors of this file's sentences, no prior's"] = None,
    from_: Annotated[
        str | None,
        "where z is from: prior; of --like or training texts aggregate, gaussian or gmm (fitted)",
    ] = None,
    language_model: Annotated[
        str | None, "run with latent_dim 0: also NLL under it, of these, the prior's and real ones"
    ] = None,
    json: Json = False,
    decoding: Decoding = DRAWN,
) -> None:
    """New sentences, one a line.

    example: textvae sample runs/grammar-1 -n 5 --top-p 0.9 --seed 1
    """
    from textvae.generation import SOURCES, TextVAE

    model, texts = TextVAE.from_pretrained(run), None
    source = from_ or ("prior" if like is None else "aggregate")
    if like is not None:
        texts = list(_report_unknown_words(model, (text for _, text in _read_corpus(like))))
    elif one_of("from", source, SOURCES) != "prior":
        from textvae.recipes import LoadedRun

        texts = LoadedRun.open(run, "train", most=MAX_FITTED).corpus["train"]["text"][:]
    z = model.source_codes(num_sentences, source=source, texts=texts, seed=decoding.seed)
    labels = model.drawn_labels(num_sentences, seed=decoding.seed)
    if model.labels.values and decoding.label is None:
        say(f"{', '.join(model.labels.values)}: drawn as often as in training (or give --label)")
    records = list(_written(model, z, decoding, [{}] * num_sentences, labels))
    _show(json, records)
    if language_model is not None:
        z = model.prior_codes(num_sentences, seed=decoding.seed)
        sets = {"prior": model.generate_text(z, labels=labels, **asdict(decoding))}
        sets |= {source: [one["text"] for one in records], "real": (texts or [])[:num_sentences]}
        _say_nll(language_model, sets)


def _say_nll(name: str, sets: dict[str, list[str]]) -> None:
    from textvae.batches import collate
    from textvae.diagnostics import importance_nll
    from textvae.generation import TextVAE

    judge, found = TextVAE.from_pretrained(name), []
    for source, texts in sets.items():
        if texts:
            batch = collate(judge.tokenizer.encode_batch(texts))
            found.append(f"{source} {importance_nll(judge, [batch], num_samples=100).nll:.2f}")
    say(f"NLL under {name}, nats per sentence: {', '.join(found)}")


def complete(
    run: Run,
    text: Annotated[str, "how a sentence begins, or one with gaps: 'i love _ very much'"],
    *,
    num_sentences: Annotated[int, "how many; like ones are shown once, and counted"] = 5,
    source: Annotated[str, "of the first z: posterior (of the text) or prior"] = "posterior",
    gap: Annotated[str, "mark of a missing token; a text without _ is a beginning"] = "_",
    rounds: Annotated[int, "how often z and what is missing are drawn anew"] = 10,
    json: Json = False,
    decoding: Decoding = DRAWN,
) -> None:
    """Go on from a beginning, or fill gaps; −log p(x), how often, and the sentence.

    Approximate: the first z is that of the text as it stands, and comes to fit the whole over the
    rounds; a gap is filled from the 50 tokens likeliest after what is before it; −log p(x) is by
    100 importance samples.

    example: textvae complete runs/my-1 'i love _ very much' -n 20
    """
    from textvae.generation import TextVAE

    model = TextVAE.from_pretrained(run)
    list(_report_unknown_words(model, [text.replace(gap, " ")]))
    options = {"source": source, "gap": gap, "rounds": rounds, **asdict(decoding)}
    found = model.complete(text, num_sentences, **options)
    _show(json, (one._asdict() for one in found), "{nll:.2f}\t{times}\t{text}")


def reconstruct(
    given: Texts,
    *,
    sampled: Annotated[bool, "through a draw from the posterior, not its mean"] = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """What comes back of sentences sent through the latent space; --label changes that, keeps z.

    example: textvae reconstruct runs/my-1 'prices fell' --strategy beam
    """
    model, texts = given.load()
    own, known = model.likeliest_labels(texts), ({"source": text} for text in texts)
    z = model.posterior_codes(texts, labels=own, sampled=sampled, seed=decoding.seed)
    _show(given.json, _written(model, z, decoding, known, own))


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
    from textvae.generation import changes

    model, texts = given.load()
    found = model.decode(model.path_codes(*texts, steps=steps, method=method), **asdict(decoding))
    shares = changes(found)
    records = (
        {"step": step, "distance": distance, "text": one.text, "log_prob": one.log_prob}
        for step, (distance, one) in enumerate(zip((None, *shares), found, strict=True))
    )
    _show(given.json, records)
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
    model, (text,) = given.load(1)
    z = model.traversal_codes(text, dim, low=low, high=high, steps=steps)
    values = (low + (high - low) * step / (steps - 1) for step in range(steps))
    known = ({"source": text, "dim": dim, "value": value} for value in values)
    _show(given.json, _written(model, z, decoding, known), "{value:+.2f}\t{text}")


def analogy(given: Texts, *, decoding: Decoding = LIKELIEST) -> None:
    """The sentence at A − B + C of three: to C as A is to B.

    example: textvae analogy runs/my-1 'he sees cats' 'he sees a cat' 'a dog ran'
    """
    model, (a, b, c) = given.load(3)
    z = model.analogy_codes(a, b, c)
    _show(given.json, _written(model, z, decoding, [{"a": a, "b": b, "c": c}]))


def direction(
    run: Run,
    *,
    from_: Annotated[str, "file of sentences without an attribute, one a line"],
    to: Annotated[str, "file of sentences with it"],
    apply: Annotated[str, "file of the sentences to move"],
    scale: Annotated[
        Sequence[float], "how far: [0.5,1]; 1 is from mean to mean (default: [0.5,1,1.5,2])"
    ] = (0.5, 1.0, 1.5, 2.0),
    plot: Annotated[str | None, "picture of the trade: .png, .svg or .pdf"] = None,
    json: Json = False,
    decoding: Decoding = LIKELIEST,
) -> None:
    """Move sentences by an attribute: the mean code of TO minus that of FROM.

    A classifier that learned FROM and TO apart says how many are taken for TO, BLEU to the
    sentences how much was kept; 0 is reconstruction.

    example: textvae direction runs/my-1 --from bad.txt --to good.txt --apply my.txt --scale [0.5,1]
    """
    from textvae.generation import TextVAE
    from textvae.report import pictures, text

    if plot is not None:
        pictures.checked_path(plot)
    model = TextVAE.from_pretrained(run)
    sets = (
        list(_report_unknown_words(model, (sentence for _, sentence in _read_corpus(file))))
        for file in (from_, to, apply)
    )
    before, after, moved = sets
    found, accuracy = model.direction(before, after, moved, scale, **asdict(decoding))
    for i, source in enumerate(moved):
        records = ({"source": source, "scale": k.scale, "text": k.texts[i]} for k in found)
        _show(json, records, "{scale:+g}\t{text}")
    rows = [{"scale": k.scale, "as TO, %": 100 * k.taken, "BLEU": k.bleu} for k in found]
    say(*text.table(rows).splitlines())
    say(f"the classifier is right on {accuracy:.1%} of FROM and TO, cross-validated")
    if plot is not None:
        scales = [each.scale for each in found]
        curves = {name: (scales, [row[name] for row in rows]) for name in ("as TO, %", "BLEU")}
        pictures.panel_chart(plot, [pictures.Panel(curves=curves, xlabel="scale", from_zero=True)])


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
    model, (text,) = given.load(1)
    z = model.jittered_codes(text, num_sentences, scale=scale, seed=decoding.seed)
    _show(given.json, _written(model, z, decoding, [{"source": text}] * num_sentences))


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
    from tqdm import tqdm

    model, texts = given.load()
    for start in tqdm(range(0, len(texts), CHUNK), leave=False, delay=1, disable=None):
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
        _show(given.json, [record], f"KL {total:.2f}  {busiest}\t{{text}}")


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
    except (TypeError, ValueError) as error:
        raise InputError(f"{codes} must hold numbers, as many for each code: {error}") from None
    if not z.isfinite().all():
        raise InputError(f"{codes} must hold finite numbers")
    _show(json, _written(model, z, decoding, [{}] * len(z)))


def _read_codes(source: str) -> Any:
    import numpy as np

    if source.endswith(".npz"):
        with np.load(source, allow_pickle=False) as arrays:
            found = dict(arrays)
    else:
        lines = map(json_lines.loads, read_lines(source))
        rows = [line if isinstance(line, dict) else {"z": line} for line in lines]
        found = {name: [row.get(name) for row in rows] for name in rows[0]}
    if not (names := [name for name in ("z", "mu") if name in found]):
        raise ValueError(f"neither z nor mu, but {', '.join(found)}")
    return found[names[0]]


def optimise(
    run: Run,
    *,
    property: Annotated[str, "FILE.py:function, of a sentence: a number, the more the better"],
    steps: Annotated[int, "sentences that are scored, and by random search beside"] = 100,
    max_kl: Annotated[
        float | None, "bound on |z|² / 2, nats (default: half the dimensions)"
    ] = None,
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
        how: dict[str, Any] = {"steps": steps, "max_kl": max_kl, "seed": seed, "sampler": sampler}
        found, faults = recipes.optimise(model, score, **how)
        skipped = f", {len(faults)} skipped, the first by {faults[0]}" if faults else ""
        say(f"{sampler}: {len(found)} of {steps} scored{skipped}")
        best = sorted({one.text: one for one in sorted(found)}.values(), reverse=True)[:BEST]
        records = ({"sampler": sampler, **one._asdict()} for one in (found if json else best))
        _show(json, records, "{sampler}\t{score:.4g}\tstep {step}\t{text}")


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
        for number, sentence in _read_corpus(corpus):
            numbers.append(number)
            yield sentence

    candidates = _report_unknown_words(model, sentences())
    found = model.neighbours(text, candidates, k, metric=metric)
    records = [
        {"distance": one.distance, "line": numbers[one.position], "text": one.text} for one in found
    ]
    _show(given.json, records, "{distance:.4f}\t{text}")
