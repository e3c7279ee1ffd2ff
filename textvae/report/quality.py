"""How good a run's sentences are, for the terminal: `quality_text`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from textvae.quality import PathStep, TextFigures
from textvae.recipes import Quality
from textvae.report.text import CORPUS_NAMES

__all__ = ["quality_text"]

FEWER = (
    "The split has fewer sentences than there are samples: self-BLEU, distinct-n and repeated "
    "depend on how many there are."
)

NONE = "–"
SHARE = "{:.1%}"


class _Row(NamedTuple):
    """A figure: its name, the samples', the real sentences', and what it is and ought to be."""

    name: str
    samples: str
    real: str
    meaning: str


def quality_text(quality: Quality) -> str:
    """Everything that was found: a table with what each figure is, and the path of the factors.

    Args:
        quality: What `quality_run` gives.

    Returns:
        Lines of text.
    """
    samples, real = quality.samples, quality.real
    corpus = CORPUS_NAMES.get(quality.corpus, quality.corpus)
    heading = (
        f"{quality.run}: {corpus}, {quality.split} split, temperature {quality.temperature:g}, "
        f"seed {quality.seed}"
    )
    rows = [
        _Row("", f"{samples.num_sentences:,} samples", f"{real.num_sentences:,} real", ""),
        *_text_rows(samples, real),
        *_grammar_rows(quality),
        *_perplexity_rows(quality),
        *_reconstruction_rows(quality),
    ]
    parts = [f"{heading}\n{_aligned(rows)}"]
    if real.num_sentences < samples.num_sentences:
        parts.append(FEWER)
    if quality.grammar is not None and quality.grammar.path is not None:
        parts.append(_path(quality.grammar.path))
    return "\n\n".join(parts)


def _text_rows(samples: TextFigures, real: TextFigures) -> list[_Row]:
    def row(name: str, field: str, form: str, meaning: str) -> _Row:
        own, theirs = getattr(samples, field), getattr(real, field)
        return _Row(name, form.format(own), form.format(theirs), meaning)

    return [
        row("self-BLEU", "self_bleu", "{:.2f}", "each against the others; above real: too alike"),
        *_distinct_rows(samples, real),
        row("repeated", "duplicates", SHARE, "sentences there were already; best as real"),
        row("new", "novelty", SHARE, "sentences not trained on; below real: learned by rote"),
        row("new 4-grams", "novel_4grams", SHARE, "of 4-grams, not trained on; best as real"),
        row("length", "length_mean", "{:.2f}", "words, mean; best as real"),
        row("± sd", "length_sd", "{:.2f}", "words, standard deviation; best as real"),
        row(
            "length distance",
            "length_distance",
            "{:.2f}",
            "words, Wasserstein, to the training set's; lower is better",
        ),
    ]


def _distinct_rows(samples: TextFigures, real: TextFigures) -> list[_Row]:
    pairs = zip(samples.distinct, real.distinct, strict=True)
    return [
        _Row(
            f"distinct-{order}",
            SHARE.format(own),
            SHARE.format(theirs),
            f"of all {order}-grams, how many differ; below real: too alike",
        )
        for order, (own, theirs) in enumerate(pairs, start=1)
    ]


def _grammar_rows(quality: Quality) -> list[_Row]:
    if quality.grammar is None:
        return []
    meaning = "sentences that the grammar can say; higher is better"
    return [_Row("grammatical", f"{quality.grammar.accepted:.1%}", NONE, meaning)]


def _perplexity_rows(quality: Quality) -> list[_Row]:
    found = quality.perplexities
    if found is None:
        return []
    forward = "language model of the training split; below real: too plain, above: unlikely"
    return [_Row("forward PPL", f"{found.forward:.2f}", f"{found.real:.2f}", forward)]


def _reconstruction_rows(quality: Quality) -> list[_Row]:
    found = quality.reconstruction
    if found is None:
        return []
    return [
        _Row("BLEU", NONE, f"{found.bleu:.2f}", "of the real, reconstructed; higher is better"),
        _Row(
            "exact",
            NONE,
            f"{found.exact_match:.1%}",
            "of these, word for word; higher is better",
        ),
    ]


def _aligned(rows: Sequence[_Row]) -> str:
    name, samples, real = (max(len(row[column]) for row in rows) for column in range(3))
    return "\n".join(
        f"{row.name:<{name}}  {row.samples:>{samples}}  {row.real:>{real}}  {row.meaning}".rstrip()
        for row in rows
    )


def _path(path: Sequence[PathStep]) -> str:
    """An interpolation, and beneath each sentence the factors that changed."""
    lines = ["factors along an interpolation (* the grammar can't say it)"]
    for number, step in enumerate(path, start=1):
        lines.append(f"{number:>2}{' ' if step.is_accepted else '*'} {step.text}")
        changes = (f"{name} {old} → {new}" for name, (old, new) in step.changed.items())
        if step.changed:
            lines.append(f"      {', '.join(changes)}")
    return "\n".join(lines)
