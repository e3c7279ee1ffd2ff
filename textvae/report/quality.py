"""How good a run's sentences are, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from textvae.quality import PathStep, TextFigures
from textvae.recipes import Quality
from textvae.report.text import CORPUS_NAMES

FEWER = (
    "The split has fewer sentences than there are samples: self-BLEU, distinct-n and repeated "
    "depend on how many there are."
)
NONE = "–"
SHARE = "{:.1%}"

Row = tuple[str, str, str, str]
"""A figure: its name, the samples', the real sentences', and what it is and ought to be."""

FIGURES = (
    ("self-BLEU", "self_bleu", "{:.2f}", "each against the others; above real: too alike"),
    ("distinct-", "distinct", SHARE, "of all {}-grams, how many differ; below real: too alike"),
    ("repeated", "duplicates", SHARE, "sentences there were already; best as real"),
    ("new", "novelty", SHARE, "sentences not trained on; below real: learned by rote"),
    ("new 4-grams", "novel_4grams", SHARE, "of 4-grams, not trained on; best as real"),
    ("length", "length_mean", "{:.2f}", "words, mean; best as real"),
    ("± sd", "length_sd", "{:.2f}", "words, standard deviation; best as real"),
    (
        "length distance",
        "length_distance",
        "{:.2f}",
        "words, Wasserstein, to the training set's; lower is better",
    ),
)
"""Of `TextFigures`: name, field, form, and what it is and ought to be."""


def quality_text(quality: Quality) -> str:
    """Everything that was found: a table with what each figure is, and the path of the factors."""
    samples, real = quality.samples, quality.real
    heading = (
        f"{quality.run}: {CORPUS_NAMES.get(quality.corpus, quality.corpus)}, {quality.split} "
        f"split, temperature {quality.temperature:g}, seed {quality.seed}"
    )
    rows = [
        ("", f"{samples.num_sentences:,} samples", f"{real.num_sentences:,} real", ""),
        *_text_rows(samples, real),
        *_other_rows(quality),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {own:>{widths[1]}}  {theirs:>{widths[2]}}  {meaning}".rstrip()
        for name, own, theirs, meaning in rows
    ]
    parts = ["\n".join([heading, *lines])]
    if real.num_sentences < samples.num_sentences:
        parts.append(FEWER)
    if quality.grammar is not None and quality.grammar.path is not None:
        parts.append(_path(quality.grammar.path))
    return "\n\n".join(parts)


def _text_rows(samples: TextFigures, real: TextFigures) -> Iterator[Row]:
    for name, field, form, meaning in FIGURES:
        own, theirs = getattr(samples, field), getattr(real, field)
        if field != "distinct":
            yield name, form.format(own), form.format(theirs), meaning
            continue
        for order, pair in enumerate(zip(own, theirs, strict=True), 1):
            yield f"{name}{order}", *map(form.format, pair), meaning.format(order)


def _other_rows(quality: Quality) -> Iterator[Row]:
    """Figures that not every run has."""
    if quality.grammar is not None:
        meaning = "sentences that the grammar can say; higher is better"
        yield "grammatical", f"{quality.grammar.accepted:.1%}", NONE, meaning
    if (found := quality.perplexities) is not None:
        meaning = "language model of the training split; below real: too plain, above: unlikely"
        yield "forward PPL", f"{found.forward:.2f}", f"{found.real:.2f}", meaning
    if (back := quality.reconstruction) is not None:
        yield "BLEU", NONE, f"{back.bleu:.2f}", "of the real, reconstructed; higher is better"
        yield "exact", NONE, f"{back.exact_match:.1%}", "of these, word for word; higher is better"


def _path(path: tuple[PathStep, ...]) -> str:
    """An interpolation, and beneath each sentence the factors that changed."""
    lines = ["factors along an interpolation (* the grammar can't say it)"]
    for number, step in enumerate(path, start=1):
        lines.append(f"{number:>2}{' ' if step.is_accepted else '*'} {step.text}")
        changes = (f"{name} {old} → {new}" for name, (old, new) in step.changed.items())
        if step.changed:
            lines.append(f"      {', '.join(changes)}")
    return "\n".join(lines)
