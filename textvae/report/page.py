"""A diagnosis, or several side by side, as one HTML file that needs nothing else.

Offers `write_page` and `write_comparison`, and `check_page`, which tells beforehand whether they
can be written. The file has no script and asks no network for
anything; every text of corpus or model is escaped.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from textvae.diagnostics.diagnosis import Diagnosis
from textvae.diagnostics.factors import FactorProbe
from textvae.files import replacing
from textvae.generation import interpolate, reconstruct, sample
from textvae.model import Posterior
from textvae.recipes import LoadedRun
from textvae.report.diagnosis import figures_row, heading, kinds_of_z, run_names
from textvae.report.pictures import (
    COLORS,
    Line,
    Picture,
    active_units,
    bars,
    cloud,
    curves,
    require_matplotlib,
)
from textvae.report.text import readable

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

__all__ = ["check_page", "write_comparison", "write_page"]

MAX_CODES = 1000
"""Codes in the picture of the aggregate posterior."""

MAX_DIMENSIONS = 12
"""Columns of the factors' heat map."""

NUM_SAMPLES = 10

WATCHED = {
    "beta": ("β", "weight of the KL term"),
    "rec": ("rec", "nats per sentence"),
    "kl": ("KL", "nats per sentence"),
    "au": ("active units", "dimensions"),
    "mi": ("MI", "nats per sentence"),
}
"""What is drawn over steps: key of a record, title and unit."""


WHAT = {
    "rec": "what the decoder still has to guess, given z",
    "KL": "what z costs: how far posteriors are from the prior",
    "−ELBO": "rec + KL, a bound on the NLL",
    "ELBO-PPL": "that bound as perplexity per token",
    "PPL": "the NLL as perplexity per token",
    "AU": "active units: dimensions whose posterior mean has a variance of at least 0.01",
    "active dims": "dimensions with a KL of at least 0.01 nats",
}
"""What a figure is; those that depend on the diagnosis are added there."""

OF_Z = ("KL", "MI", "AU", "active dims")
"""Figures that a language model does not have."""


class Figure(NamedTuple):
    """One row of the table of figures."""

    name: str
    value: str
    what: str


class HeatRow(NamedTuple):
    """What each of the dimensions shown tells of one factor; shares of its entropy."""

    probe: FactorProbe
    cells: list[tuple[float, float]]


def check_page(path: str | Path) -> None:
    """Raise what `write_page` would raise before anything is written.

    Args:
        path: The HTML file to be.

    Raises:
        ImportError: If matplotlib or Jinja2 is not installed.
        OSError: If there is no directory for it, or `path` is one.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"the report must be a file, {path} is a directory")
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no directory for the report {path}")
    _environment()
    require_matplotlib()


def write_page(diagnosed: LoadedRun, path: str | Path) -> None:
    """Write the report on one run, whole or not at all.

    Args:
        diagnosed: The run, diagnosed.
        path: The HTML file; an existing one is replaced.

    Raises:
        ImportError: If matplotlib or Jinja2 is not installed.
        OSError: If the file can't be written.
    """
    diagnosis = diagnosed.diagnosis
    _write(
        path,
        "diagnosis.html",
        title=f"{diagnosed.name}: {diagnosis.verdict.verdict}",
        name=diagnosed.name,
        measured=heading(diagnosed),
        diagnosis=diagnosis,
        figures=_figures(diagnosis),
        training=_training_pictures(diagnosed),
        latent=_latent_pictures(diagnosed),
        ablation=_ablation(diagnosed),
        **_factor_map(diagnosed),
        **_sentences(diagnosed),
        configuration=_configuration(diagnosed),
    )


def write_comparison(runs: Sequence[LoadedRun], path: str | Path) -> None:
    """Write the report on several runs, whole or not at all.

    Args:
        runs: The runs, diagnosed on the same sentences.
        path: The HTML file; an existing one is replaced.

    Raises:
        ImportError: If matplotlib or Jinja2 is not installed.
        OSError: If the file can't be written.
    """
    _write(
        path,
        "comparison.html",
        title=f"{len(runs)} runs side by side",
        measured=heading(runs[0]),
        columns=list(figures_row(runs[0].diagnosis)),
        rows=[
            {
                "name": name,
                "cells": figures_row(run.diagnosis).values(),
                "diagnosis": run.diagnosis,
                "color": color,
            }
            for name, run, color in zip(run_names(runs), runs, cycle(COLORS), strict=False)
        ],
        mi_max=runs[0].diagnosis.mi.mi_max,
        num_samples=max(_num_samples(run.diagnosis) for run in runs),
        is_partial=any(run.diagnosis.interrupted for run in runs),
        training=_compared_training(runs),
        latent=_compared_latent(runs),
    )


def _write(path: str | Path, template: str, **content: Any) -> None:
    page = _environment().get_template(template).render(content)
    with replacing(Path(path)) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _environment() -> jinja2.Environment:
    try:
        import jinja2
    except ImportError:
        raise ImportError('pages need Jinja2: pip install "textvae[plot]"') from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("textvae.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = _marked
    return environment


def _marked(text: str) -> Markup:
    """Text escaped, with its command-line options set apart, so that they do not break."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(--[a-z][a-z-]*)", r"<code>\1</code>", str(escape(text))))


def _figures(diagnosis: Diagnosis) -> list[Figure]:
    row = figures_row(diagnosis)
    if not diagnosis.elbo.latent_dim:
        row = {name: value for name, value in row.items() if name not in OF_Z}
    what = {
        **WHAT,
        "NLL": f"importance-weighted, {_num_samples(diagnosis)} samples, ± standard error"
        if diagnosis.elbo.latent_dim
        else "exact: this is a language model",
        "MI": f"what z says about its sentence; at most log N = {diagnosis.mi.mi_max:.2f}",
    }
    return [Figure(name, value, what[name]) for name, value in row.items()]


def _num_samples(diagnosis: Diagnosis) -> int:
    return 0 if diagnosis.nll is None else diagnosis.nll.num_samples


def _over_steps(diagnosed: LoadedRun, split: str, key: str) -> list[tuple[int, float]]:
    return [
        (record["step"], record[key])
        for record in diagnosed.run.metrics()
        if record["split"] == split and isinstance(record.get(key), int | float)
    ]


def _watched(key: str, lines: Sequence[Line]) -> Picture:
    title, unit = WATCHED[key]
    return curves(title, lines, unit, from_zero=key != "rec", counts=key == "au")


def _training_pictures(diagnosed: LoadedRun) -> list[Picture]:
    pictures = []
    for key in WATCHED:
        valid, train = (_over_steps(diagnosed, split, key) for split in ("valid", "train"))
        if key == "beta":
            # Logged more often in training, and the same weight.
            lines = [Line(train if train else valid)]
        else:
            lines = [Line(train, is_faint=True), Line(valid)]
        # An older run did not watch all of them.
        if train or valid:
            pictures.append(_watched(key, lines))
    return pictures + _each_dimension(diagnosed)


def _each_dimension(diagnosed: LoadedRun) -> list[Picture]:
    records = [r for r in diagnosed.run.metrics() if r["split"] == "valid" and r.get("kl_per_dim")]
    if not records:
        return []
    steps = [record["step"] for record in records]
    lines = [
        Line(list(zip(steps, values, strict=True)))
        for values in zip(*(record["kl_per_dim"] for record in records), strict=True)
    ]
    return [curves("KL of each dimension", lines, "nats per sentence")]


def _latent_pictures(diagnosed: LoadedRun) -> list[Picture]:
    found, elbo = diagnosed.diagnosis, diagnosed.diagnosis.elbo
    width = elbo.latent_dim
    if width == 0:
        return []
    pictures = [
        bars("KL per dimension", elbo.kl_per_dim, f"{elbo.kl:.2f} nats in all, the busiest first"),
        active_units(
            "Active units over the threshold",
            found.au_curve,
            width,
            "the usual threshold is marked",
        ),
    ]
    if width > 1:
        pictures.append(
            cloud(
                "Aggregate posterior against prior",
                _codes(found.posterior),
                sorted(range(width), key=lambda d: -elbo.kl_per_dim[d])[:2],
                "a code of each sentence in the two busiest dimensions; the circles hold half and "
                "95 % of the prior",
            )
        )
    return pictures


def _codes(posterior: Posterior) -> torch.Tensor:
    """One code of each of some sentences, from all over the split, (S, Z)."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(posterior.mean.shape, generator=random)
    chosen = torch.randperm(len(posterior), generator=random)[:MAX_CODES]
    return posterior.sample(noise)[chosen]


def _ablation(diagnosed: LoadedRun) -> list[tuple[str, float, float]]:
    """Which z, its NLL, and how much more that is than with the sentence's own."""
    found = diagnosed.diagnosis
    if not found.elbo.latent_dim:
        return []
    return [(kind, nll, nll - found.ablation.own) for kind, nll in kinds_of_z(found).items()]


def _factor_map(diagnosed: LoadedRun) -> dict[str, Any]:
    probes = diagnosed.diagnosis.factors
    if not probes:
        return {"factor_dimensions": [], "factors": []}
    told = torch.tensor([probe.information_per_dim for probe in probes])
    shown = told.sum(0).argsort(descending=True)[:MAX_DIMENSIONS].tolist()
    return {
        "factor_dimensions": shown,
        "factors": [
            HeatRow(
                probe,
                [
                    (v := probe.information_per_dim[d], v / max(probe.entropy, v, 1e-12))
                    for d in shown
                ],
            )
            for probe in probes
        ],
    }


def _sentences(diagnosed: LoadedRun) -> dict[str, Any]:
    model, split = diagnosed.model, diagnosed.corpus[diagnosed.split]
    content: dict[str, Any] = {
        "samples": sample(model, NUM_SAMPLES, seed=0),
        "reconstructions": [],
        "interpolation": [],
    }
    if model.latent_dim > 0:
        texts = readable(split["text"])
        content["reconstructions"] = list(zip(texts, reconstruct(model, texts), strict=True))
        content["interpolation"] = interpolate(model, texts[0], texts[-1], steps=7)
    return content


def _configuration(diagnosed: LoadedRun) -> dict[str, dict[str, Any]]:
    config = diagnosed.config
    return {
        "data": {"source": config.data_source, **dataclasses.asdict(config.data)},
        "model": dataclasses.asdict(config.model),
        "training": dataclasses.asdict(config.training),
    }


def _compared_training(runs: Sequence[LoadedRun]) -> list[Picture]:
    pictures = []
    for key in ("kl", "au", "mi", "rec"):
        lines = [
            Line(points, color)
            for run, color in zip(runs, cycle(COLORS), strict=False)
            if (points := _over_steps(run, "valid", key))
        ]
        if lines:
            pictures.append(_watched(key, lines))
    return pictures


def _compared_latent(runs: Sequence[LoadedRun]) -> list[Picture]:
    values = [value for run in runs for value in run.diagnosis.elbo.kl_per_dim]
    top = max(filter(math.isfinite, values), default=0.0)
    return [
        bars(
            name,
            run.diagnosis.elbo.kl_per_dim,
            f"{run.diagnosis.elbo.kl:.2f} nats in all",
            color=color,
            top=top,
        )
        for name, run, color in zip(run_names(runs), runs, cycle(COLORS), strict=False)
        if run.diagnosis.elbo.latent_dim
    ]
