"""A diagnosis, or several side by side, as one HTML file that needs nothing else.

The file has no script and asks no network for anything; every text of corpus or model is escaped.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.checks import NotInstalledError
from textvae.files import replacing
from textvae.report.pictures import (
    COLORS,
    Curves,
    Panel,
    Picture,
    bars,
    chart,
    cloud,
    require_matplotlib,
)
from textvae.report.text import ablation_rows, figures_row, heading, run_names

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

    from textvae.diagnostics import Diagnosis
    from textvae.recipes import Examples, LoadedRun

MAX_CODES = 1000  # in the picture of the aggregate posterior
MAX_DIMENSIONS = 12  # columns of the factors' heat map
OF_Z = ("KL", "MI", "AU", "active dims")  # figures that a language model does not have
WATCHED = {  # what is drawn over steps: key of a record, title and unit
    "beta": ("β", "weight of the KL term"),
    "rec": ("rec", "nats per sentence"),
    "kl": ("KL", "nats per sentence"),
    "au": ("active units", "dimensions"),
    "mi": ("MI", "nats per sentence"),
}


def check_page(path: str | Path) -> None:
    """Raise OSError or ImportError before anything is measured, if no page can be written there."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"the report must be a file, {path} is a directory")
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no directory for the report {path}")
    _environment()
    require_matplotlib()


def write_page(run: LoadedRun, examples: Examples, path: str | Path) -> None:
    """Write the report on one diagnosed run to an HTML file, whole or not at all."""
    found, config = run.diagnosis, run.config
    has_z = bool(found.elbo.kl_per_dim)
    _write(
        path,
        "diagnosis.html",
        title=f"{run.name}: {found.verdict.verdict}",
        name=run.name,
        measured=heading(run, found.elbo),
        diagnosis=found,
        figures={k: v for k, v in figures_row(found).items() if has_z or k not in OF_Z},
        has_z=has_z,
        training=_training_pictures(run),
        latent=_latent_pictures(found) if has_z else [],
        ablation=ablation_rows(found),
        factor_dimensions=_telling_dimensions(found),
        examples=examples,
        configuration={
            "data": {"source": config.data_source, **dataclasses.asdict(config.data)},
            "model": dataclasses.asdict(config.model),
            "training": dataclasses.asdict(config.training),
        },
    )


def write_comparison(runs: Sequence[LoadedRun], path: str | Path) -> None:
    """Write the report on several runs, diagnosed on the same sentences, as `write_page` does."""
    named = list(zip(run_names(runs), runs, cycle(COLORS), strict=False))
    values = [value for run in runs for value in run.diagnosis.elbo.kl_per_dim]
    top = max(filter(math.isfinite, values), default=0.0)
    _write(
        path,
        "comparison.html",
        title=f"{len(runs)} runs side by side",
        measured=heading(runs[0], runs[0].diagnosis.elbo),
        runs=[
            (name, run.diagnosis, figures_row(run.diagnosis), color) for name, run, color in named
        ],
        training=[
            _watched(key, {name: _over_steps(run, "valid", key) for name, run, _ in named})
            for key in ("kl", "au", "mi", "rec")
            if any(_over_steps(run, "valid", key)[0] for run in runs)
        ],
        latent=[
            bars(name, elbo.kl_per_dim, f"{elbo.kl:.2f} nats in all", color=color, top=top)
            for name, run, color in named
            if (elbo := run.diagnosis.elbo).kl_per_dim
        ],
    )


def _write(path: str | Path, template: str, **content: Any) -> None:
    page = _environment().get_template(template).render(content)
    with replacing(Path(path)) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _environment() -> jinja2.Environment:
    try:
        import jinja2
    except ImportError:
        raise NotInstalledError('pages need Jinja2: pip install "textvae[plot]"') from None
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


def _over_steps(run: LoadedRun, split: str, key: str) -> tuple[list[float], list[float]]:
    of_split = (record for record in run.run.metrics() if record["split"] == split)
    records = [record for record in of_split if isinstance(record.get(key), int | float)]
    return [record["step"] for record in records], [record[key] for record in records]


def _watched(key: str, curves: Curves, faint: Any = None) -> Picture:
    (title, unit), from_zero, whole = WATCHED[key], key != "rec", key == "au"
    panel = Panel(curves=curves, xlabel="step", faint=faint, from_zero=from_zero, whole=whole)
    return chart(title, panel, unit)


def _training_pictures(run: LoadedRun) -> list[Picture]:
    pictures = []
    for key in WATCHED:
        valid, train = (_over_steps(run, split, key) for split in ("valid", "train"))
        if key == "beta" and train[0]:
            pictures.append(_watched(key, {"_": train}))  # the same weight, logged more often
        elif valid[0] or train[0]:  # an older run did not watch all of them
            pictures.append(_watched(key, {"_": valid}, train))
    records = [r for r in run.run.metrics() if r["split"] == "valid" and r.get("kl_per_dim")]
    if records:
        steps = [record["step"] for record in records]
        per_dim = zip(*(record["kl_per_dim"] for record in records), strict=True)
        curves = {f"_{d}": (steps, values) for d, values in enumerate(per_dim)}
        panel = Panel(curves=curves, xlabel="step", from_zero=True)
        pictures.append(chart("KL of each dimension", panel, "nats per sentence"))
    return pictures


def _latent_pictures(found: Diagnosis) -> list[Picture]:
    elbo, width = found.elbo, len(found.elbo.kl_per_dim)
    units = Panel(
        curves={"_": (list(found.au_curve), list(found.au_curve.values()))},
        xlabel="threshold on the variance of the posterior mean",
        ylabel=f"of {width} dimensions",
        logx=True,
        mark=0.01,
        from_zero=True,
        whole=True,
    )
    pictures = [
        bars("KL per dimension", elbo.kl_per_dim, f"{elbo.kl:.2f} nats in all, the busiest first"),
        chart("Active units over the threshold", units, "the usual threshold is marked"),
    ]
    if width > 1:
        import torch

        # One code of each of some sentences, from all over the split.
        random = torch.Generator().manual_seed(0)
        codes = found.posterior.sample(torch.randn(found.posterior.mean.shape, generator=random))
        pictures.append(
            cloud(
                "Aggregate posterior against prior",
                codes[torch.randperm(len(codes), generator=random)[:MAX_CODES]],
                sorted(range(width), key=lambda d: -elbo.kl_per_dim[d])[:2],
                "a code of each sentence in the two busiest dimensions; the circles hold half and "
                "95 % of the prior",
            )
        )
    return pictures


def _telling_dimensions(found: Diagnosis) -> list[int]:
    """The dimensions that alone tell most of the known factors, the best first."""
    told = [sum(each) for each in zip(*(p.information_per_dim for p in found.factors), strict=True)]
    return sorted(range(len(told)), key=lambda d: -told[d])[:MAX_DIMENSIONS]
