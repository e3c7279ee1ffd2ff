"""What is written to files: a diagnosis, or several side by side, as one HTML file; studies.

A page needs nothing else: it has no script and asks no network for anything; every text of corpus
or model is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textvae.files import output_file, replacing, write_json
from textvae.report import pictures
from textvae.report.pictures import COLORS, Curve, Curves, Panel, picture
from textvae.report.text import ablation_rows, figures_row, heading, markdown, run_names, spread

if TYPE_CHECKING:
    from textvae.diagnostics import Diagnosis
    from textvae.recipes import Examples, LoadedRun

Pictures = Iterator[dict[str, str]]

MAX_CODES = 1000  # in the picture of the aggregate posterior
MAX_DIMENSIONS = 12  # columns of the factors' heat map
ENDINGS = {"pruned": "stopped early", "fail": "interrupted"}
NONE_HEALTHY = "none is healthy yet: the same command with more --minutes goes on"
# Pictures beside the verdict: whether z is paid for, in which dimensions, and where its codes are.
TELLING = ("KL", "KL per dimension", "Aggregate posterior against prior")
OVER_STEPS = {  # what is drawn over steps: key of a record, title and unit
    "beta": ("β", "weight of the KL term"),
    "rec": ("rec", "nats per sentence"),
    "kl": ("KL", "nats per sentence"),
    "au": ("active units", "dimensions"),
    "mi": ("MI", "nats per sentence"),
    "kl_per_dim": ("KL of each dimension", "nats per sentence"),
}


def check_page(path: str | Path) -> None:
    """Raise before anything is measured, if no page can be written there."""
    output_file(path, ".html")


def write_page(run: LoadedRun, examples: Examples, path: str | Path) -> None:
    """Write the report on one diagnosed run to an HTML file, whole or not at all."""
    found, has_z = run.diagnosis, run.diagnosis.elbo.latent_dim > 0
    training, latent = list(_training_pictures(run)), list(_latent_pictures(found) if has_z else ())
    telling = [each for each in [*training, *latent] if each["title"] in TELLING] if has_z else []
    _write(
        path,
        "diagnosis.html",
        title=f"{run.name}: {found.verdict.verdict}",
        run=run,
        measured=heading(run),
        diagnosis=found,
        figures=figures_row(found),
        has_z=has_z,
        telling=telling,
        training=[each for each in training if each not in telling],
        latent=[each for each in latent if each not in telling],
        ablation=ablation_rows(found),
        factor_dimensions=_informative_dimensions(found),
        examples=examples,
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
        measured=heading(runs[0]),
        runs=[(name, r.diagnosis, figures_row(r.diagnosis), color) for name, r, color in named],
        training=list(_compared_pictures({name: run for name, run, _ in named})),
        latent=[
            picture(name, f"{elbo.kl:.2f} nats in all", pictures.bars, elbo.kl_per_dim, color, top)
            for name, run, color in named
            if (elbo := run.diagnosis.elbo).latent_dim
        ],
    )


def _write(path: str | Path, template: str, **content: Any) -> None:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("textvae.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = _marked
    page = environment.get_template(template).render(content)
    with replacing(output_file(path, ".html")) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _marked(text: str) -> Any:
    """Text escaped, with its command-line options set apart, so that they do not break."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(--[a-z][a-z-]*)", r"<code>\1</code>", str(escape(text))))


def _over_steps(run: LoadedRun, split: str, key: str) -> tuple[list[float], list[Any]]:
    records = [r for r in run.run.metrics() if r["split"] == split and r.get(key) not in (None, [])]
    return [record["step"] for record in records], [record[key] for record in records]


def _training_picture(key: str, several: Curves, faint: Curve = ((), ())) -> Pictures:
    """The picture, if there is a curve to see: a single point is none."""
    if any(len(steps) > 1 for steps, _ in [*several.values(), faint]):
        title, unit = OVER_STEPS[key]
        look: dict[str, Any] = {"from_zero": key != "rec", "whole": key == "au", "training": True}
        ends = key == "kl_per_dim"
        panel = Panel(curves=several, xlabel="step", faint=faint, named_ends=ends, **look)
        yield picture(title, unit, pictures.curves, panel)


def _training_pictures(run: LoadedRun) -> Pictures:
    for key in OVER_STEPS:  # an older run did not watch all of them
        valid, train = (_over_steps(run, split, key) for split in ("valid", "train"))
        curves: dict[str, Curve] = {"_": valid}
        if key == "kl_per_dim":
            steps, values = valid
            curves = {f"_{d}": (steps, kl) for d, kl in enumerate(zip(*values, strict=True))}
        elif key == "beta" and train[0]:
            curves, train = {"_": train}, ([], [])  # the same weight, logged more often
        yield from _training_picture(key, curves, train)


def _compared_pictures(runs: Mapping[str, LoadedRun]) -> Pictures:
    for key in ("kl", "au", "mi", "rec"):
        curves = {name: _over_steps(run, "valid", key) for name, run in runs.items()}
        yield from _training_picture(key, curves)


def _latent_pictures(found: Diagnosis) -> Pictures:
    elbo, width = found.elbo, found.elbo.latent_dim
    told = f"{elbo.kl:.2f} nats in all, busiest first"
    yield picture("KL per dimension", told, pictures.bars, elbo.kl_per_dim)
    look: dict[str, Any] = {"logx": True, "mark": 0.01, "from_zero": True, "whole": True}
    panel = Panel(
        curves={"_": (list(found.au_curve), list(found.au_curve.values()))},
        xlabel="threshold on the variance of the posterior mean",
        ylabel=f"of {width} dimensions",
        **look,
    )
    told = "the usual threshold is marked"
    yield picture("Active units over the threshold", told, pictures.curves, panel)
    if width > 1:
        import torch

        # One code of each of some sentences, from all over the split.
        random = torch.Generator().manual_seed(0)
        codes = found.posterior.sample(torch.randn(found.posterior.mean.shape, generator=random))
        codes = codes[torch.randperm(len(codes), generator=random)[:MAX_CODES]]
        busiest = sorted(range(width), key=lambda d: -elbo.kl_per_dim[d])[:2]
        told = "codes; circles hold 50 and 95% of the prior"
        yield picture(TELLING[2], told, pictures.cloud, codes, busiest, height=3.2)


def _informative_dimensions(found: Diagnosis) -> list[int]:
    """The dimensions that alone tell most of the known factors, the best first."""
    told = [sum(each) for each in zip(*(p.information_per_dim for p in found.factors), strict=True)]
    return sorted(range(len(told)), key=lambda d: -told[d])[:MAX_DIMENSIONS]


def check_study(path: Path) -> None:
    """Raise before hours of training what `write_study` would after; makes the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures.checked_path(path.with_suffix(".png"))


def write_study(
    path: Path, text: str, content: Mapping[str, Any], draw: Callable[[Path], None]
) -> str:
    """Write `PATH.md`, `PATH.json`, and `PATH.png` by `draw`; what to say of it in the terminal."""
    with replacing(path.with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(path.with_suffix(".json"), content)
    draw(path.with_suffix(".png"))
    return f"{text}\nwritten: {path}.md, .json, .png"


def write_search(path: Path, found: Mapping[str, Any]) -> str:
    """Write what `recipes.search_record` gives as `write_study` does, NLL drawn over KL."""
    figures = {"NLL": "nll", "KL": "kl", "MI": "mi", "AU": "au", "minutes": "minutes"}
    rows, points = [], dict[str, tuple[list[float], list[float]]]()
    for trial in found["trials"]:
        options = ", ".join(f"{name} {value:.3g}" for name, value in trial["options"].items())
        row = {"trial": str(trial["number"]), "recipe": trial["recipe"], "options": options}
        row |= {title: spread([trial[key]]) for title, key in figures.items()}
        row["verdict"] = trial["verdict"] or ENDINGS.get(trial["state"], trial["state"])
        rows.append(row)
        if trial["nll"] is not None:
            xs, ys = points.setdefault(trial["recipe"], ([], []))
            xs.append(trial["kl"])
            ys.append(trial["nll"])
    told = f"the best healthy model is in {found['best']}" if found["best"] else NONE_HEALTHY
    ylabel = "NLL of validation, nats per sentence"
    panel = Panel(curves=points, scattered=True, xlabel="KL, nats per sentence", ylabel=ylabel)
    text = f"{markdown(rows)}\n\n{told}\n"
    return write_study(path, text, found, lambda to: pictures.panel_chart(to, [panel]))
