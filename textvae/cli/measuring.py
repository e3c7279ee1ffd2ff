"""Commands that measure runs: `textvae evaluate | diagnose | compare | quality`.

Ctrl-C while the NLL of a diagnosis is measured shows what there is by then, a valid estimate from a
random part of the sentences, and ends with exit code 130. Before that there is nothing to show.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from textvae.cli.command import DataDir, Json, Run, Seed, Split, say
from textvae.cli.sentences import print_json
from textvae.config import Options, option

if TYPE_CHECKING:
    from textvae.recipes import LoadedRun

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Measurement(Options):
    """How runs are diagnosed."""

    split: str = option("test", "train, valid or test")
    data_dir: str | None = option(None, "where the corpus is now (default: where it was)")
    num_samples: int = option(500, "importance samples K of the NLL")
    seed: int = option(0, "of all noise: the same seed, the same results", "[0, inf)")
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "of the NLL: fp32, bf16 (thousandths of a nat off), or auto: bf16 where it is fast"
    )


USUAL = Measurement()

Report = Annotated[str | None, "also write this HTML file"]


def evaluate(
    run: Run,
    *,
    split: Split = "test",
    data_dir: DataDir = None,
    json: Json = False,
    seed: Seed = 0,
) -> None:
    """Measure a run: true ELBO, KL, active units."""
    from textvae import recipes, report

    measured = recipes.evaluate_run(run, split, data_dir=data_dir, seed=seed)
    if json:
        print_json(measured.evaluation.to_dict())
    else:
        print(report.evaluation(measured))


def diagnose(
    run: Run,
    *,
    measurement: Measurement = USUAL,
    json: Json = False,
    report: Report = None,
) -> None:
    """Whether, how far and why a run has collapsed, and what to try."""
    from textvae import recipes
    from textvae import report as reports

    _check_report(report)
    found = recipes.diagnose_run(run, **asdict(measurement), progress=_progress)
    if json:
        print_json(_plain(found))
    else:
        print(reports.diagnosis_text(found))
    if report is not None:
        examples = recipes.examples_of(found, num_samples=10, num_steps=7)
        reports.write_page(found, examples, report)
        say(f"the report is in {report}")
    _end_if_cut_short([found])


def compare(
    runs: Annotated[Sequence[str], "run directories or hub ids, at least 2"],
    *,
    measurement: Measurement = USUAL,
    json: Json = False,
    report: Report = None,
) -> None:
    """Diagnoses of several runs side by side."""
    from textvae import recipes
    from textvae import report as reports

    _check_report(report)
    found = recipes.diagnose_runs(runs, **asdict(measurement), progress=_progress)
    if json:
        print_json({"runs": [_plain(each) for each in found]})
    else:
        print(reports.comparison_text(found))
    if report is not None:
        reports.write_comparison(found, report)
        say(f"the report is in {report}")
    for name in runs[len(found) :]:
        say(f"not measured: {name}")
    _end_if_cut_short(found)


def quality(
    run: Run,
    *,
    num_samples: Annotated[int, "samples, and real sentences beside"] = 1000,
    split: Split = "test",
    data_dir: DataDir = None,
    seed: Seed = 0,
    temperature: Annotated[float, "of the samples, above 0"] = 1.0,
    language_model: Annotated[
        str | None,
        "a run with latent_dim 0 on the same corpus: perplexities under it",
    ] = None,
    json: Json = False,
) -> None:
    """How good a run's sentences are: varied, new, likely; BLEU of reconstructions."""
    from textvae import recipes
    from textvae.report import quality_text

    found = recipes.quality_run(
        run,
        num_samples=num_samples,
        split=split,
        data_dir=data_dir,
        seed=seed,
        temperature=temperature,
        language_model=language_model,
        progress=say,
    )
    if json:
        print_json(found.to_dict())
    else:
        print(quality_text(found))


def _plain(found: LoadedRun) -> dict[str, Any]:
    origin = {"run": str(found.run.path), "corpus": found.corpus.name, "split": found.split}
    return origin | found.diagnosis.to_dict()


def _check_report(path: str | None) -> None:
    """Before minutes are spent on what can't be written."""
    from textvae import report

    if path is not None:
        report.check_page(path)


def _end_if_cut_short(runs: Sequence[LoadedRun]) -> None:
    for run in runs:
        found = run.diagnosis
        if found.interrupted:
            measured = 0 if found.nll is None else found.nll.num_sentences
            say(
                f"interrupted: the NLL of {run.name} is of {measured:,} of its "
                f"{found.elbo.num_sentences:,} sentences"
            )
            sys.stdout.flush()
            raise KeyboardInterrupt


def _progress(batches: Iterable[T], title: str) -> Iterable[T]:
    """A bar on standard error where that is a terminal, gone when it is done."""
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(batches, title, unit=" batches", leave=False, disable=None)
    return bar
