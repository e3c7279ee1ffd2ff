"""Commands that write sentences: drawn, like others, between them, or beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from textvae.checks import one_of
from textvae.cli.command import Json, Run, say
from textvae.cli.texts import LIKELIEST, Texts, read_corpus, report_unknown_words, show, written
from textvae.config import Decoding

DRAWN = Decoding(strategy="sample", allow_unknown=False)


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
    from textvae.generation import MAX_FITTED, SOURCES, TextVAE

    model, texts = TextVAE.from_pretrained(run), None
    source = from_ or ("prior" if like is None else "aggregate")
    if like is not None:
        texts = list(report_unknown_words(model, (text for _, text in read_corpus(like))))
    elif one_of("from", source, SOURCES) != "prior":
        from textvae.recipes import LoadedRun

        texts = LoadedRun.open(run, "train", most=MAX_FITTED).corpus["train"]["text"][:]
    z = model.source_codes(num_sentences, source=source, texts=texts, seed=decoding.seed)
    labels = model.drawn_labels(num_sentences, seed=decoding.seed)
    if model.labels.values and decoding.label is None:
        say(f"{', '.join(model.labels.values)}: drawn as often as in training (or give --label)")
    records = list(written(model, z, decoding, [{}] * num_sentences, labels))
    show(json, records)
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
    list(report_unknown_words(model, [text.replace(gap, " ")]))
    options = {"source": source, "gap": gap, "rounds": rounds, **asdict(decoding)}
    found = model.complete(text, num_sentences, **options)
    show(json, (one._asdict() for one in found), "{nll:.2f}\t{times}\t{text}")


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
    show(given.json, written(model, z, decoding, known, own))


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
    show(given.json, records)
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
    show(given.json, written(model, z, decoding, known), "{value:+.2f}\t{text}")


def analogy(given: Texts, *, decoding: Decoding = LIKELIEST) -> None:
    """The sentence at A − B + C of three: to C as A is to B.

    example: textvae analogy runs/my-1 'he sees cats' 'he sees a cat' 'a dog ran'
    """
    model, (a, b, c) = given.load(3)
    z = model.analogy_codes(a, b, c)
    show(given.json, written(model, z, decoding, [{"a": a, "b": b, "c": c}]))


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
    before, after, moved = (
        list(report_unknown_words(model, (sentence for _, sentence in read_corpus(file))))
        for file in (from_, to, apply)
    )
    found, accuracy = model.direction(before, after, moved, scale, **asdict(decoding))
    for i, source in enumerate(moved):
        records = ({"source": source, "scale": k.scale, "text": k.texts[i]} for k in found)
        show(json, records, "{scale:+g}\t{text}")
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
    show(given.json, written(model, z, decoding, [{"source": text}] * num_sentences))
