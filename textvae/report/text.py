"""Text for the terminal: tables, what is trained, what was measured, how good sentences are."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from textvae.files import find_pretrained, read_config

if TYPE_CHECKING:
    from textvae.corpus import Corpus
    from textvae.diagnostics import Diagnosis, Verdict
    from textvae.recipes import Examples, LoadedRun, Quality
    from textvae.training import Trainer

CORPUS_NAMES = {
    "ptb": "Penn Treebank",
    "grammar": "EMBEDDED CORPUS (made by a grammar, no real text)",
}

PARTIAL = (
    "* cut short: NLL and PPL are of a random part of the sentences, all else of the whole split"
)

FITTED = "NLL, fitted prior"
BARS = " ▁▂▃▄▅▆▇█"
MOST_SHOWN = 200  # characters of an example
MOST_TYPED = 10  # words of one, in a command


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of like keys as an aligned text table, two decimals where there is a fraction."""
    if not rows:
        return ""
    cells = [[decimal(v) if isinstance(v, float) else str(v) for v in r.values()] for r in rows]
    return _aligned([list(rows[0]), *cells], ">" * len(rows[0]))


def decimal(value: float) -> str:
    """Two decimals, or the magnitude of what is too large for them."""
    return f"{value:.2f}" if abs(value) < 1e6 else f"{value:.1e}"


def _aligned(rows: Sequence[Sequence[str]], sides: str, between: str = "  ") -> str:
    """Each column to the side that its `<` or `>` points to."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sizes = [f"{side}{width}" for side, width in zip(sides, widths, strict=True)]
    return "\n".join(between.join(map(format, row, sizes)).rstrip() for row in rows)


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """Lines of like keys as a Markdown table."""
    if not lines:
        return ""
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def summary(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Over the seeds of each `name`, the `spread` of the key in `rows` that each column shows."""
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        cells = {title: spread([row[key] for row in own]) for title, key in columns.items()}
        lines.append({"": name, "seeds": str(len(own)), **cells})
    return lines


def spread(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation over runs (n − 1), with as many digits as the size asks for."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean, are_counts = fmean(known), all(isinstance(value, int) for value in known)
    digits = 1 if are_counts else 3 if abs(mean) < 0.1 else 2
    deviation = f" ± {stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{mean:.{digits}f}{deviation}"


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
    run, split, model = trainer.run, trainer.train.split, trainer.model
    kind = f"z of {model.latent_dim}" if model.latent_dim else "language model"
    counts = {
        "empty lines skipped": sum(corpus.skipped.values()) if corpus else 0,
        "sentences cut": split.num_truncated,
        "sentences dropped": split.num_dropped,
    }
    left_out = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    precision = str(trainer.stepper.precision).removeprefix("torch.")
    begun = run.config.training.init_from
    if corpus is not None and begun is not None:
        known = read_config(find_pretrained(begun), "model")["model"]["vocab_size"]
        kind = f"begun from {begun}, {model.vocab_size - known:,} words new to it: {kind}"
    return (
        f"{run.path}: {run.config.data_source}, {split.num_sentences:,} sentences "
        f"of {split.num_tokens:,} tokens to train on{left_out}\n"
        f"{kind}, vocabulary {model.vocab_size:,}, {sum(p.numel() for p in model.parameters()):,} "
        f"parameters, {precision} on {model.device}"
    )


def heading(run: LoadedRun) -> str:
    """Corpus, split and its size, in a line, of a run that was measured."""
    size = f"{run.evaluation.num_sentences:,} sentences of {run.evaluation.num_tokens:,} tokens"
    corpus, told = CORPUS_NAMES.get(run.corpus.name, run.corpus.name), run.model.labels.values
    given = f", given {' and '.join(told)}" if told else ""
    return f"{corpus}, {run.split} split{given}: {size}"


def evaluation(run: LoadedRun, **more: Any) -> str:
    """An evaluated run: corpus, a table of one row (with `more` columns), KL per dimension."""
    found = run.evaluation
    units = f"{found.au}/{found.latent_dim}"
    row = {"rec": found.rec, "KL": found.kl, "−ELBO": -found.elbo, "ELBO-PPL": found.elbo_ppl}
    rows = [{**row, "AU": units, "active dims": found.active_dimensions, **more}]
    kl = f"KL per dimension {kl_bars(found.kl_per_dim)}"
    return f"{heading(run)}, nats per sentence\n{table(rows)}\n{kl}"


def closing(
    run: LoadedRun,
    results: Mapping[str, Any],
    examples: Examples,
    path: str | Path,
    verdict: Verdict,
) -> str:
    """All that a finished training in `path` shows; `results` are those of `recipes.finish`."""
    epochs = f"{results['epochs']} (best {results['best_epoch']})"
    measured = evaluation(run, β=results["beta"], epochs=epochs, minutes=results["minutes"])
    beginnings = [" ".join(text.split()[:MOST_TYPED]) for text, _ in examples.reconstructions]
    name, texts = shlex.quote(str(path)), list(map(shlex.quote, beginnings))
    lines = [
        f"the run is in {path}; go on with",
        f"  textvae diagnose {name}",
        f"  textvae sample {name} -n 10 --seed 1",
    ]
    if texts:
        lines.append(f"  textvae reconstruct {name} {texts[0]}")
        lines.append(f"  textvae interpolate {name} {' '.join((texts * 2)[:2])}")
    parts = f"\n{measured}", examples_text(examples), verdict_text(verdict), "\n".join(lines)
    return "\n\n".join(parts)


def verdict_text(verdict: Verdict) -> str:
    """A verdict, why, and what to try next, each in a line."""
    return f"verdict: {verdict.verdict}\n{verdict.explanation}\nnext: {verdict.advice}"


def examples_text(examples: Examples) -> str:
    """Samples, three reconstructions and an interpolation, as far as there are any."""
    lines = ["samples from the prior", *(f"  {_short(text)}" for text in examples.samples)]
    if pairs := examples.reconstructions:
        lines += ["", "reconstructions (through the posterior mean, greedy)"]
        for text, back in pairs[:3]:
            lines += [f"  {_short(text)}", f"  → {_short(back)}"]
        lines += ["", f"interpolation between “{pairs[0][0]}” and “{pairs[-1][0]}”"]
        lines += [f"  {_short(text)}" for text in examples.interpolation]
    return "\n".join(lines)


def _short(text: str) -> str:
    """As much of a text as is pleasant to read: a model that is hardly trained never ends."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"


def figures_row(diagnosis: Diagnosis) -> dict[str, str]:
    """The figures of one run by name, nats per sentence; an NLL cut short is marked with a star."""
    elbo, nll, star = diagnosis.elbo, diagnosis.nll, "*" if diagnosis.interrupted else ""
    width = elbo.latent_dim
    # The error is infinite where too little was measured to tell.
    error = f" ± {nll.se:.2f}" if nll is not None and math.isfinite(nll.se) else ""
    row = {"rec": elbo.rec, "KL": elbo.kl, "−ELBO": -elbo.elbo, "ELBO-PPL": elbo.elbo_ppl}
    return {name: decimal(value) for name, value in row.items()} | {
        "NLL": ("–" if nll is None else f"{nll.nll:.2f}{error}") + star,
        "PPL": ("–" if nll is None else decimal(nll.ppl)) + star,
        **({FITTED: decimal(nll.fitted.nll) + star} if nll and nll.fitted else {}),
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
    found, nll, has_z = run.diagnosis, run.diagnosis.nll, run.diagnosis.elbo.latent_dim > 0
    notes = "a language model: its NLL is exact"
    if has_z:
        notes = f"MI can be at most log N = {found.mi.mi_max:.2f}"
    if has_z and nll is not None:
        samples = f"{nll.num_samples} importance samples ({nll.effective_samples:.2f} effective)"
        notes = f"NLL ± standard error, {samples}; {notes}"
    parts = [
        f"{heading(run)}, nats per sentence\n{table([figures_row(found)])}",
        PARTIAL if found.interrupted else "",
        notes,
        f"KL per dimension {kl_bars(found.elbo.kl_per_dim)}",
        *(_of_z(found) if has_z else ()),
        verdict_text(found.verdict),
    ]
    return "\n\n".join(filter(None, parts))


def comparison_text(runs: Sequence[LoadedRun]) -> str:
    """Runs that were diagnosed on the same sentences, a line each."""
    named = list(zip(run_names(runs), [run.diagnosis for run in runs], strict=True))
    rows = [{"run": n, **figures_row(each), "verdict": each.verdict.verdict} for n, each in named]
    partial = [PARTIAL] if any(each.interrupted for _, each in named) else []
    lines = [f"{heading(runs[0])}, nats per sentence", table(rows), *partial]
    bars = _aligned([(name, kl_bars(each.elbo.kl_per_dim)) for name, each in named], "><", " ")
    return "\n".join([*lines, "", "KL per dimension", bars])


def _of_z(diagnosis: Diagnosis) -> list[str]:
    """Active units, ablation, and the known factors where there are any."""
    units = {f"{threshold:g}": count for threshold, count in diagnosis.au_curve.items()}
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
        f"what the decoder takes from z\n{table(ablation_rows(diagnosis))}",
        f"known factors, by a linear probe of z\n{table(factors)}" if factors else "",
        str(diagnosis.disentanglement or ""),
    ]


def ablation_rows(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Whose z, −log p(x|z), and how much more that is than with the sentence's own."""
    found = diagnosis.ablation
    kinds = {"its own": found.own, "another sentence's": found.shuffled}
    kinds |= {"from the prior": found.prior, "zero": found.zero}
    return [
        {"z": kind, "−log p(x|z)": nll, "more than own": f"{nll - found.own:+.2f}"}
        for kind, nll in kinds.items()
    ]


FEWER = (
    "The split has fewer sentences than there are samples: self-BLEU, distinct-n and repeated "
    "depend on how many there are."
)

FIGURES = (  # of `TextFigures`: name, form, and what it is and ought to be
    ("self-BLEU", "{.self_bleu:.2f}", "each against the others; above real: too alike"),
    ("distinct-1", "{.distinct[0]:.1%}", "of all 1-grams, how many differ; below real: too alike"),
    ("distinct-2", "{.distinct[1]:.1%}", "of all 2-grams, how many differ; below real: too alike"),
    ("distinct-3", "{.distinct[2]:.1%}", "of all 3-grams, how many differ; below real: too alike"),
    ("distinct-4", "{.distinct[3]:.1%}", "of all 4-grams, how many differ; below real: too alike"),
    ("repeated", "{.duplicates:.1%}", "sentences there were already; best as real"),
    ("new", "{.novelty:.1%}", "sentences not trained on; below real: learned by rote"),
    ("new 4-grams", "{.novel_4grams:.1%}", "of 4-grams, not trained on; best as real"),
    ("length", "{.length_mean:.2f}", "words, mean; best as real"),
    ("± sd", "{.length_sd:.2f}", "words, standard deviation; best as real"),
    (
        "length distance",
        "{.length_distance:.2f}",
        "words, Wasserstein, to the training set's; lower is better",
    ),
)


def quality_text(quality: Quality) -> str:
    """Everything that was found: a table with what each figure is."""
    samples, real = quality.samples, quality.real
    rows = [("", f"{samples.num_sentences:,} samples", f"{real.num_sentences:,} real", "")]
    rows += [(name, form.format(samples), form.format(real), told) for name, form, told in FIGURES]
    if quality.grammatical is not None:
        told = "sentences that the grammar can say; higher is better"
        rows.append(("grammatical", f"{quality.grammatical:.1%}", "–", told))
    if (ppl := quality.perplexities) is not None:
        told = "language model of the training split; below real: too plain, above: unlikely"
        rows.append(("forward PPL", f"{ppl.forward:.2f}", f"{ppl.real:.2f}", told))
    if (back := quality.reconstruction) is not None:
        told = "of the real, reconstructed; higher is better"
        rows.append(("BLEU", "–", f"{back.bleu:.2f}", told))
        told = "of these, word for word; higher is better"
        rows.append(("exact", "–", f"{back.exact_match:.1%}", told))
    corpus = CORPUS_NAMES.get(quality.corpus, quality.corpus)
    settings = f"temperature {quality.temperature:g}, seed {quality.seed}"
    heading = f"{quality.run}: {corpus}, {quality.split} split, {settings}"
    table = f"{heading}\n{_aligned(rows, '<>><')}"
    return f"{table}\n\n{FEWER}" if real.num_sentences < samples.num_sentences else table
