"""A diagnosis for the terminal: `diagnosis_text` of one run, `comparison_text` of several.

Also offers what every table says alike: `heading`, `figures_row`, `kinds_of_z` and
`run_names`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from textvae.diagnostics.diagnosis import Diagnosis
from textvae.recipes import LoadedRun
from textvae.report.tables import kl_bars, table
from textvae.report.text import CORPUS_NAMES

__all__ = ["comparison_text", "diagnosis_text", "figures_row", "heading", "kinds_of_z", "run_names"]

PARTIAL = (
    "* cut short: NLL and PPL are of a random part of the sentences, all else of the whole split"
)


def heading(diagnosed: LoadedRun) -> str:
    """Corpus, split and its size, in a line."""
    corpus, found = diagnosed.corpus.name, diagnosed.diagnosis
    return (
        f"{CORPUS_NAMES.get(corpus, corpus)}, {diagnosed.split} split: "
        f"{found.elbo.num_sentences:,} sentences of {found.elbo.num_tokens:,} tokens"
    )


def figures_row(diagnosis: Diagnosis) -> dict[str, str]:
    """The figures of one run by their names, nats per sentence.

    An NLL that was cut short is marked with a star; a language model has no z to speak of.
    """
    star, elbo, nll = "*" if diagnosis.interrupted else "", diagnosis.elbo, diagnosis.nll
    width = elbo.latent_dim
    return {
        "rec": f"{elbo.rec:.2f}",
        "KL": f"{elbo.kl:.2f}",
        "−ELBO": f"{-elbo.elbo:.2f}",
        "ELBO-PPL": f"{elbo.elbo_ppl:.2f}",
        "NLL": (f"{nll.nll:.2f}{_error(nll.se)}" if nll else "–") + star,
        "PPL": (f"{nll.ppl:.2f}" if nll else "–") + star,
        "MI": f"{diagnosis.mi.mi:.2f}" if width else "–",
        "AU": f"{elbo.au}/{width}" if width else "–",
        "active dims": f"{elbo.active_dimensions}/{width}" if width else "–",
    }


def run_names(runs: Sequence[LoadedRun]) -> list[str]:
    """What to call runs beside each other: directories, with the path where names are alike."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.run.path) for run in runs]


def kinds_of_z(diagnosis: Diagnosis) -> dict[str, float]:
    """−log p(x|z) by whose z it is, nats per sentence."""
    found = diagnosis.ablation
    return {
        "its own": found.own,
        "another sentence's": found.shuffled,
        "from the prior": found.prior,
        "zero": found.zero,
    }


def diagnosis_text(diagnosed: LoadedRun) -> str:
    """Everything that was found, the verdict last.

    Args:
        diagnosed: The run, diagnosed.

    Returns:
        Lines of text.
    """
    found = diagnosed.diagnosis
    verdict = found.verdict
    parts = [
        f"{heading(diagnosed)}, nats per sentence\n{table([figures_row(found)])}",
        PARTIAL if found.interrupted else "",
        _notes(found),
        f"KL per dimension {kl_bars(found.elbo.kl_per_dim)}",
        _active_units(found),
        _ablation(found),
        _factors(found),
        f"verdict: {verdict.verdict}\n{verdict.explanation}\nnext: {verdict.advice}",
    ]
    return "\n\n".join(part for part in parts if part)


def comparison_text(runs: Sequence[LoadedRun]) -> str:
    """Runs side by side, a line each.

    Args:
        runs: The runs, diagnosed on the same sentences.

    Returns:
        Lines of text.
    """
    named = dict(zip(run_names(runs), (run.diagnosis for run in runs), strict=True))
    rows = [
        {"run": name, **figures_row(found), "verdict": found.verdict.verdict}
        for name, found in named.items()
    ]
    width = max(map(len, named))
    bars = [f"{name:>{width}} {kl_bars(found.elbo.kl_per_dim)}" for name, found in named.items()]
    partial = [PARTIAL] if any(run.diagnosis.interrupted for run in runs) else []
    lines = [f"{heading(runs[0])}, nats per sentence", table(rows), *partial]
    return "\n".join([*lines, "", "KL per dimension", *bars])


def _error(se: float) -> str:
    """Nothing where too little was measured to tell."""
    return f" ± {se:.2f}" if math.isfinite(se) else ""


def _notes(diagnosis: Diagnosis) -> str:
    if not diagnosis.elbo.latent_dim:
        return "a language model: its NLL is exact"
    notes = [f"MI can be at most log N = {diagnosis.mi.mi_max:.2f}"]
    if (nll := diagnosis.nll) is not None:
        notes.insert(
            0,
            f"NLL ± standard error, {nll.num_samples} importance samples "
            f"({nll.effective_samples:.2f} effective), {nll.precision}",
        )
    return "; ".join(notes)


def _active_units(diagnosis: Diagnosis) -> str:
    if not diagnosis.elbo.latent_dim:
        return ""
    row = {f"{threshold:g}": count for threshold, count in diagnosis.au_curve.items()}
    return f"active units by the variance of the posterior mean\n{table([row])}"


def _ablation(diagnosis: Diagnosis) -> str:
    if not diagnosis.elbo.latent_dim:
        return ""
    rows = [
        {"z": kind, "−log p(x|z)": nll, "more than own": f"{nll - diagnosis.ablation.own:+.2f}"}
        for kind, nll in kinds_of_z(diagnosis).items()
    ]
    return f"what the decoder takes from z\n{table(rows)}"


def _factors(diagnosis: Diagnosis) -> str:
    if not diagnosis.factors:
        return ""
    rows = [
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
    return f"known factors, by a linear probe of z\n{table(rows)}"
