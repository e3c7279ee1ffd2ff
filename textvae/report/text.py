"""Text for the terminal: tables, what is trained, what was measured, how good sentences are."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textvae.corpus import Corpus
    from textvae.diagnostics import Diagnosis, Evaluation
    from textvae.quality import PathStep, TextFigures
    from textvae.recipes import Examples, LoadedRun, Quality
    from textvae.training import Trainer

CORPUS_NAMES = {
    "ptb": "Penn Treebank",
    "grammar": "EMBEDDED CORPUS (made by a grammar, no real text)",
}

PARTIAL = (
    "* cut short: NLL and PPL are of a random part of the sentences, all else of the whole split"
)

BARS = " ▁▂▃▄▅▆▇█"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of like keys as an aligned text table, two decimals where there is a fraction."""
    if not rows:
        return ""
    cells = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def bars(values: Sequence[float], top: float) -> str:
    """A bar for each value from 0 to `top`; that of 0 is blank, and no other is."""
    heights = (max(1, round(value / top * (len(BARS) - 1))) if value > 0 else 0 for value in values)
    return "".join(BARS[height] for height in heights)


def kl_bars(kl_per_dim: Sequence[float]) -> str:
    """KL of each dimension as a line of bars, the busiest first; full height is the largest.

    Dimensions under a thousandth of a nat are blank, so that a collapsed one shows as nothing.
    """
    if not kl_per_dim:
        return "no latent dimensions (a language model)"
    top, *_ = ordered = sorted(kl_per_dim, reverse=True)
    shown = bars([value if value >= 0.001 else 0.0 for value in ordered], top)
    return f"│{shown}│ {len(ordered)} dimensions, largest {top:.3f} nats"


def run_heading(trainer: Trainer, corpus: Corpus | None = None) -> str:
    """What is about to be trained, where, and what was left out of the data, in two lines."""
    split, model = trainer.train.split, trainer.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    kind = f"z of {model.latent_dim}" if model.latent_dim else "language model"
    counts = {
        "empty lines skipped": sum(corpus.skipped.values()) if corpus else 0,
        "sentences cut": split.num_truncated,
        "sentences dropped": split.num_dropped,
    }
    left_out = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    precision = str(trainer.stepper.precision).removeprefix("torch.")
    return (
        f"{trainer.run.path}: {trainer.run.config.data_source}, {split.num_sentences:,} sentences "
        f"of {split.num_tokens:,} tokens to train on{left_out}\n"
        f"{kind}, vocabulary {model.vocab_size:,}, {parameters:,} parameters, "
        f"{precision} on {trainer.model.device}"
    )


def heading(run: LoadedRun, measured: Evaluation) -> str:
    """Corpus, split and its size, in a line."""
    size = f"{measured.num_sentences:,} sentences of {measured.num_tokens:,} tokens"
    return f"{CORPUS_NAMES.get(run.corpus.name, run.corpus.name)}, {run.split} split: {size}"


def evaluation(run: LoadedRun, **more: Any) -> str:
    """An evaluated run: corpus, a table of one row (with `more` columns), KL per dimension."""
    found = run.evaluation
    row = {
        "rec": found.rec,
        "KL": found.kl,
        "−ELBO": -found.elbo,
        "ELBO-PPL": found.elbo_ppl,
        "AU": f"{found.au}/{len(found.kl_per_dim)}",
        "active dims": found.active_dimensions,
        **more,
    }
    kl = f"KL per dimension {kl_bars(found.kl_per_dim)}"
    return f"{heading(run, found)}, nats per sentence\n{table([row])}\n{kl}"


def closing(
    run: LoadedRun, results: Mapping[str, Any], examples: Examples, path: str | Path
) -> str:
    """All that a finished training in `path` shows; `results` are those of `recipes.finish`."""
    epochs = f"{results['epochs']} (best {results['best_epoch']})"
    more = {"β": results["beta"], "epochs": epochs, "minutes": results["minutes"]}
    parts = evaluation(run, **more), examples_text(examples), _next_commands(path, examples)
    return "\n" + "\n\n".join(parts)


def examples_text(examples: Examples) -> str:
    """Samples, three reconstructions and an interpolation, as far as there are any."""
    lines = ["samples from the prior", *(f"  {text}" for text in examples.samples)]
    if examples.reconstructions:
        (first, _), *_, (last, _) = examples.reconstructions * 2  # there may be but one
        lines += ["", "reconstructions (through the posterior mean, greedy)"]
        for text, back in examples.reconstructions[:3]:
            lines += [f"  {text}", f"  → {back}"]
        lines += ["", f"interpolation between “{first}” and “{last}”"]
        lines += [f"  {text}" for text in examples.interpolation]
    return "\n".join(lines)


def _next_commands(path: str | Path, examples: Examples) -> str:
    run, texts = shlex.quote(str(path)), [shlex.quote(text) for text, _ in examples.reconstructions]
    lines = [
        f"the run is in {path}; go on with",
        f"  textvae diagnose {run}",
        f"  textvae sample {run} -n 10 --seed 1",
    ]
    if texts:
        lines.append(f"  textvae reconstruct {run} {texts[0]}")
        lines.append(f"  textvae interpolate {run} {' '.join((texts * 2)[:2])}")
    return "\n".join(lines)


def figures_row(diagnosis: Diagnosis) -> dict[str, str]:
    """The figures of one run by name, nats per sentence; an NLL cut short is marked with a star."""
    elbo, nll, star = diagnosis.elbo, diagnosis.nll, "*" if diagnosis.interrupted else ""
    width = len(elbo.kl_per_dim)
    # The error is infinite where too little was measured to tell.
    error = f" ± {nll.se:.2f}" if nll is not None and math.isfinite(nll.se) else ""
    return {
        "rec": f"{elbo.rec:.2f}",
        "KL": f"{elbo.kl:.2f}",
        "−ELBO": f"{-elbo.elbo:.2f}",
        "ELBO-PPL": f"{elbo.elbo_ppl:.2f}",
        "NLL": ("–" if nll is None else f"{nll.nll:.2f}{error}") + star,
        "PPL": ("–" if nll is None else f"{nll.ppl:.2f}") + star,
        "MI": f"{diagnosis.mi.mi:.2f}" if width else "–",
        "AU": f"{elbo.au}/{width}" if width else "–",
        "active dims": f"{elbo.active_dimensions}/{width}" if width else "–",
    }


def run_names(runs: Sequence[LoadedRun]) -> list[str]:
    """What to call runs beside each other: directories, with the path where names are alike."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.run.path) for run in runs]


def diagnosis_text(run: LoadedRun) -> str:
    """Everything that was found of a diagnosed run, the verdict last."""
    found, verdict = run.diagnosis, run.diagnosis.verdict
    parts = [
        f"{heading(run, found.elbo)}, nats per sentence\n{table([figures_row(found)])}",
        PARTIAL if found.interrupted else "",
        _notes(found),
        f"KL per dimension {kl_bars(found.elbo.kl_per_dim)}",
        *(_of_z(found) if found.elbo.kl_per_dim else ()),
        f"verdict: {verdict.verdict}\n{verdict.explanation}\nnext: {verdict.advice}",
    ]
    return "\n\n".join(part for part in parts if part)


def comparison_text(runs: Sequence[LoadedRun]) -> str:
    """Runs that were diagnosed on the same sentences, a line each."""
    names, found = run_names(runs), [run.diagnosis for run in runs]
    named, width = list(zip(names, found, strict=True)), max(map(len, names))
    rows = [{"run": n, **figures_row(each), "verdict": each.verdict.verdict} for n, each in named]
    bars = [f"{name:>{width}} {kl_bars(each.elbo.kl_per_dim)}" for name, each in named]
    partial = [PARTIAL] if any(each.interrupted for each in found) else []
    lines = [f"{heading(runs[0], found[0].elbo)}, nats per sentence", table(rows), *partial]
    return "\n".join([*lines, "", "KL per dimension", *bars])


def _notes(diagnosis: Diagnosis) -> str:
    if not diagnosis.elbo.kl_per_dim:
        return "a language model: its NLL is exact"
    notes = f"MI can be at most log N = {diagnosis.mi.mi_max:.2f}"
    if (nll := diagnosis.nll) is None:
        return notes
    effective = f"({nll.effective_samples:.2f} effective)"
    return f"NLL ± standard error, {nll.num_samples} importance samples {effective}; {notes}"


def _of_z(diagnosis: Diagnosis) -> list[str]:
    """Active units, ablation, and the known factors where there are any."""
    units = {f"{threshold:g}": count for threshold, count in diagnosis.au_curve.items()}
    ablation = [
        {"z": kind, "−log p(x|z)": nll, "more than own": f"{more:+.2f}"}
        for kind, nll, more in ablation_rows(diagnosis)
    ]
    factors = [
        {
            "factor": probe.name,
            "told by z": f"{probe.accuracy:.0%}",
            "majority": f"{probe.majority:.0%}",
            "information": f"{probe.information:.2f} of {probe.entropy:.2f}",
            "best dimension": "–" if probe.best_dimension is None else probe.best_dimension,
            "alone": probe.best_dimension_information,
        }
        for probe in diagnosis.factors
    ]
    return [
        f"active units by the variance of the posterior mean\n{table([units])}",
        f"what the decoder takes from z\n{table(ablation)}",
        f"known factors, by a linear probe of z\n{table(factors)}" if factors else "",
    ]


def ablation_rows(diagnosis: Diagnosis) -> list[tuple[str, float, float]]:
    """Whose z, −log p(x|z), and how much more that is than with the sentence's own."""
    found = diagnosis.ablation
    kinds = ("its own", "another sentence's", "from the prior", "zero")
    nlls = (found.own, found.shuffled, found.prior, found.zero)
    return [(kind, nll, nll - found.own) for kind, nll in zip(kinds, nlls, strict=True)]


NONE, SHARE, NUMBER = "–", "{:.1%}", "{:.2f}"

FEWER = (
    "The split has fewer sentences than there are samples: self-BLEU, distinct-n and repeated "
    "depend on how many there are."
)

DISTANCE = "words, Wasserstein, to the training set's; lower is better"

# A figure: its name, the samples', the real sentences', and what it is and ought to be.
Row = tuple[str, str, str, str]

FIGURES = (  # of `TextFigures`: name, field, form, and what it is and ought to be
    ("self-BLEU", "self_bleu", NUMBER, "each against the others; above real: too alike"),
    ("distinct-", "distinct", SHARE, "of all {}-grams, how many differ; below real: too alike"),
    ("repeated", "duplicates", SHARE, "sentences there were already; best as real"),
    ("new", "novelty", SHARE, "sentences not trained on; below real: learned by rote"),
    ("new 4-grams", "novel_4grams", SHARE, "of 4-grams, not trained on; best as real"),
    ("length", "length_mean", NUMBER, "words, mean; best as real"),
    ("± sd", "length_sd", NUMBER, "words, standard deviation; best as real"),
    ("length distance", "length_distance", NUMBER, DISTANCE),
)


def quality_text(quality: Quality) -> str:
    """Everything that was found: a table with what each figure is, and the path of the factors."""
    samples, real = quality.samples, quality.real
    corpus = CORPUS_NAMES.get(quality.corpus, quality.corpus)
    settings = f"temperature {quality.temperature:g}, seed {quality.seed}"
    heading = f"{quality.run}: {corpus}, {quality.split} split, {settings}"
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
        for n, (one, other) in enumerate(zip(own, theirs, strict=True), 1):
            yield f"{name}{n}", form.format(one), form.format(other), meaning.format(n)


def _other_rows(quality: Quality) -> Iterator[Row]:
    """Figures that not every run has."""
    if (grammar := quality.grammar) is not None:
        meaning = "sentences that the grammar can say; higher is better"
        yield "grammatical", f"{grammar.accepted:.1%}", NONE, meaning
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
