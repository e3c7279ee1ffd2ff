"""Commands that measure runs: `textvae evaluate | diagnose | compare | quality`.

Ctrl-C while the NLL of a diagnosis is measured shows what there is by then, a valid estimate from a
random part of the sentences, and ends with exit code 130. Before that there is nothing to show.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated

from textvae.cli.command import Json, Run, say
from textvae.cli.sentences import print_json
from textvae.config import Options, option

Report = Annotated[str | None, "also write this HTML file"]


@dataclass(frozen=True, kw_only=True)
class Measurement(Options):
    """What a run is measured on."""

    split: str = option("test", "train, valid or test")
    data_dir: str | None = option(None, "where the corpus is now (default: where it was)")
    seed: int = option(0, "of all noise: the same seed, the same results", "[0, inf)")


@dataclass(frozen=True, kw_only=True)
class Diagnosing(Measurement):
    """How runs are diagnosed."""

    num_samples: int = option(500, "importance samples K of the NLL")


ON_TEST, USUAL = Measurement(), Diagnosing()


def evaluate(run: Run, *, measurement: Measurement = ON_TEST, json: Json = False) -> None:
    """Measure a run: true ELBO, KL, active units."""
    from textvae import recipes, report

    found = recipes.evaluate_run(run, **asdict(measurement))
    if json:
        print_json(found.evaluation.to_dict())
    else:
        print(report.evaluation(found))


def diagnose(
    run: Run, *, diagnosis: Diagnosing = USUAL, json: Json = False, report: Report = None
) -> None:
    """Whether, how far and why a run has collapsed, and what to try."""
    _diagnose([run], diagnosis, json, report, is_one=True)


def compare(
    runs: Annotated[Sequence[str], "run directories or hub ids, at least 2"],
    *,
    diagnosis: Diagnosing = USUAL,
    json: Json = False,
    report: Report = None,
) -> None:
    """Diagnoses of several runs side by side."""
    _diagnose(runs, diagnosis, json, report, is_one=False)


def _diagnose(
    names: Sequence[str], diagnosis: Diagnosing, json: bool, page: str | None, *, is_one: bool
) -> None:
    from tqdm import tqdm

    from textvae import recipes, report

    if page is not None:
        report.check_page(page)  # before minutes are spent on what can't be written
    bar = partial(tqdm, unit=" batches", leave=False, disable=None)
    options = {**asdict(diagnosis), "progress": bar}
    if is_one:
        found = [recipes.diagnose_run(names[0], **options)]
    else:
        found = recipes.diagnose_runs(names, **options)
    if json:
        contents = [
            {"run": str(one.run.path), "corpus": one.corpus.name, "split": one.split}
            | one.diagnosis.to_dict()
            for one in found
        ]
        print_json(contents[0] if is_one else {"runs": contents})
    else:
        print(report.diagnosis_text(found[0]) if is_one else report.comparison_text(found))
    if page is not None:
        if is_one:
            examples = recipes.examples_of(found[0], num_samples=10, num_steps=7)
            report.write_page(found[0], examples, page)
        else:
            report.write_comparison(found, page)
        say(f"the report is in {page}")
    for name in names[len(found) :]:
        say(f"not measured: {name}")
    last = found[-1]
    if last.diagnosis.interrupted:
        nll, num_sentences = last.diagnosis.nll, last.diagnosis.elbo.num_sentences
        share = f"{nll.num_sentences if nll else 0:,} of its {num_sentences:,} sentences"
        say(f"interrupted: the NLL of {last.name} is of {share}")
        sys.stdout.flush()
        raise KeyboardInterrupt


def quality(
    run: Run,
    *,
    num_samples: Annotated[int, "samples, and real sentences beside"] = 1000,
    measurement: Measurement = ON_TEST,
    temperature: Annotated[float, "of the samples, above 0"] = 1.0,
    language_model: Annotated[
        str | None, "a run with latent_dim 0 on the same corpus: perplexities under it"
    ] = None,
    json: Json = False,
) -> None:
    """How good a run's sentences are: varied, new, likely; BLEU of reconstructions."""
    from textvae import recipes, report

    options = {"num_samples": num_samples, "temperature": temperature, **asdict(measurement)}
    found = recipes.quality_run(run, language_model=language_model, progress=say, **options)
    if json:
        print_json(found.to_dict())
    else:
        print(report.quality_text(found))
