"""Commands that measure runs, and those that show: `schedules` and the page to `explore`.

Ctrl-C while the NLL of a diagnosis is measured shows what there is by then, a valid estimate from a
random part of the sentences, and ends with exit code 130. Before that there is nothing to show.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from textvae.annealers import ANNEALERS
from textvae.checks import InputError, one_of
from textvae.cli.command import Json, Run, bar, print_result, read_lines, say
from textvae.config import Options, option
from textvae.files import output_file, read_json, replacing

CHANGED = "accept another corpus than trained on; marks the results"
FITTED_PRIOR = "also the NLL with z drawn as by sample --from gaussian or gmm, fitted to codes"
SCHEDULES = f"{', '.join(ANNEALERS)} (all these if none is named) or vae-annealing"
SORTS = ("nll", "nll_per_token", "rec", "kl")
ENDINGS = (".csv", ".parquet")  # of scores


@dataclass(frozen=True, kw_only=True)
class Measurement(Options):
    """What a run is measured on."""

    split: str = option("test", "train, valid or test")
    data_dir: str | None = option(None, "where the corpus is now (default: where it was)")
    seed: int = option(0, "of all noise: the same seed, the same results", "[0, inf)")
    data_changed: bool = option(False, CHANGED)


ON_TEST = Measurement()


def evaluate(run: Run, *, measurement: Measurement = ON_TEST, json: Json = False) -> None:
    """Measure a run: true ELBO, KL, active units."""
    from textvae import recipes, report

    found = recipes.evaluate_run(run, **asdict(measurement))
    print_result(json, found.evaluation.to_dict(), report.evaluation(found))


@dataclass(frozen=True, kw_only=True)
class Diagnosing:
    """How runs are diagnosed, and where what was found goes."""

    num_samples: Annotated[int, "importance samples K of the NLL"] = 500
    prior: Annotated[str | None, FITTED_PRIOR] = None
    measurement: Measurement = ON_TEST
    json: Json = False
    report: Annotated[str | None, "also write this HTML file"] = None

    def of(self, names: Sequence[str]) -> None:
        """Diagnose these runs, print what was found and write the report."""
        from textvae import recipes, report

        if self.report is not None:
            report.check_page(self.report)  # before minutes are spent on what can't be written
        options = {"num_samples": self.num_samples, "prior": self.prior, **asdict(self.measurement)}
        found = recipes.diagnose_runs(names, progress=bar, **options)
        contents = [
            {"run": str(one.run.path), "corpus": one.corpus.name, "split": one.split}
            | {"given": [*one.model.labels.values]}
            | one.diagnosis.to_dict()
            for one in found
        ]
        if len(names) == 1:
            print_result(self.json, contents[0], report.diagnosis_text(found[0]))
        else:
            print_result(self.json, {"runs": contents}, report.comparison_text(found))
        if self.report is not None:
            if len(names) == 1:
                examples = recipes.examples_of(found[0], num_samples=10)
                report.write_page(found[0], examples, self.report)
            else:
                report.write_comparison(found, self.report)
            say(f"the report is in {self.report}")
        say(*(f"not measured: {name}" for name in names[len(found) :]))
        last, diagnosis = found[-1], found[-1].diagnosis
        if diagnosis.interrupted:
            num_done = diagnosis.nll.num_sentences if diagnosis.nll else 0
            share = f"{num_done:,} of its {diagnosis.elbo.num_sentences:,} sentences"
            say(f"interrupted: the NLL of {last.name} is of {share}")
            raise KeyboardInterrupt


def demo() -> None:
    """What a model of the embedded corpus writes that ships with textvae, and its verdict.

    Every command takes it by its name: textvae sample demo -n 5
    """
    from textvae import diagnostics, recipes, report

    run = recipes.LoadedRun.open("demo", most=256)
    found = diagnostics.diagnose(run.model, run.loader, 256, num_samples=None)
    measured, results = replace(run, evaluation=found.elbo), read_json(run.run.results_file)
    examples = recipes.examples_of(run)
    print(report.closing(measured, results, examples, "demo", found.verdict))


def diagnose(run: Run, *, diagnosing: Diagnosing) -> None:
    """Whether, how far and why a run has collapsed, and what to try."""
    diagnosing.of([run])


def push(
    run: Run,
    repository: Annotated[str, "owner/name, made unless it is there"],
    *,
    num_samples: Annotated[int, "importance samples K of the NLL"] = 100,
    measurement: Measurement = ON_TEST,
    private: Annotated[bool, "make one that others can't see"] = False,
) -> None:
    """Diagnose a run, and put it on the Hugging Face hub with a card (first: hf auth login)."""
    from textvae import hub, recipes

    address = hub.create(repository, private=private)
    found = recipes.diagnose_run(run, num_samples=num_samples, **asdict(measurement))
    if found.diagnosis.interrupted:
        raise KeyboardInterrupt
    hub.push(found.run.path, repository, found.diagnosis.to_dict() | {"split": found.split})
    say(f"it is at {address}")


def compare(
    runs: Annotated[Sequence[str], "run directories, hub ids, or demo, at least 2"],
    *,
    diagnosing: Diagnosing,
) -> None:
    """Diagnoses of several runs side by side."""
    if len(runs) < 2:
        raise InputError(f"runs must be at least 2, got {', '.join(runs)}")
    diagnosing.of(runs)


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

    options = {"temperature": temperature, "language_model": language_model, **asdict(measurement)}
    found = recipes.quality_run(run, num_samples=num_samples, **options)
    print_result(json, asdict(found), report.quality_text(found))


def score(
    run: Run,
    file: Annotated[str, "sentences, in any file that can be trained on; - for standard input"],
    *,
    num_samples: Annotated[int, "importance samples K of the NLL"] = 100,
    tokens: Annotated[bool, "also −log p of each token, given those before it and a z"] = False,
    sort: Annotated[str | None, f"largest first: {', '.join(SORTS)}"] = None,
    output: Annotated[str | None, f"write to a file instead, {' or '.join(ENDINGS)}"] = None,
    text_field: Annotated[str, "column of the sentence where there are several"] = "text",
    label_field: Annotated[str | None, "columns to keep beside: NAME or NAME,NAME"] = None,
    seed: Annotated[int, "of all noise: the same seed, the same results"] = 0,
    json: Json = False,
) -> None:
    """How surprising each sentence of a file is: NLL, ELBO, KL, in nats.

    example: textvae score runs/my-1 new.csv --sort nll_per_token --output scores.csv
    """
    from datasets import Dataset

    from textvae import recipes
    from textvae.corpus.splits import progress

    if sort is not None:
        one_of("sort", sort, SORTS)
    if output is not None:
        output_file(output, *ENDINGS)
        is_csv = Path(output).suffix.lower() == ".csv"
        if tokens and is_csv:
            raise InputError("tokens need --json or a .parquet file, got .csv")
    records = recipes.score_run(
        run,
        list(filter(str.strip, read_lines(file))) if file == "-" else file,
        num_samples=num_samples,
        tokens=tokens,
        seed=seed,
        text_field=text_field,
        label_field=label_field,
        progress=bar,
    )
    if sort is not None:
        records.sort(key=lambda record: record[sort], reverse=True)
    if output is None:
        for record in records:
            print_result(json, record, _score_line(record))
        return
    table = Dataset.from_list(records)
    with replacing(Path(output)) as temporary, progress(False):  # of `datasets`
        (table.to_csv if is_csv else table.to_parquet)(temporary)
    say(f"{output} written: {len(records):,} sentences")


def _score_line(record: dict[str, Any]) -> str:
    text = " ".join(record["text"].splitlines())
    pairs = zip(record.get("tokens", ()), record.get("token_nll", ()), strict=True)
    shown = "  ".join(f"{token} {nll:.1f}" for token, nll in pairs)
    return "{nll:.2f}\t{nll_per_token:.2f}\t{kl:.2f}\t".format_map(record) + (shown or text)


def schedules(
    annealers: Annotated[Sequence[str], SCHEDULES] = (),
    *,
    figure: Annotated[str | None, "a set: shapes, cyclical, switching or example"] = None,
    plot: Annotated[str | None, "picture to write: .png, .svg or .pdf"] = None,
    steps: Annotated[int, "how many steps (or epochs) are taken"] = 100,
    warmup_steps: Annotated[int | None, "until full weight (default: 4/5 of the steps)"] = None,
    max_beta: Annotated[float, "full weight; that of vae-annealing is 1"] = 1.0,
    num_cycles: Annotated[int, "how many cycles fill the warm-up"] = 4,
    cycle_ratio: Annotated[float, "part of a cycle spent rising"] = 0.5,
) -> None:
    """Show the KL weight of any annealers: a table, or a picture."""
    from textvae.report import schedules as drawn

    title, panels = drawn.drawing(
        annealers,
        figure,
        warmup_steps=steps * 4 // 5 if warmup_steps is None else warmup_steps,
        max_beta=max_beta,
        num_cycles=num_cycles,
        cycle_ratio=cycle_ratio,
    )
    if plot is None:
        print(drawn.listing(panels, steps, title=title))
    else:
        drawn.picture(plot, panels, steps, title=title)
        say(f"{plot} written")


def explore(
    run: Run,
    *,
    corpus: Annotated[
        str | None,
        "sentences of the map: file, directory, grammar, ptb, or a hub id (default: held-out "
        "ones of the run's own corpus)",
    ] = None,
    data_dir: Annotated[str | None, "where the corpus is now (default: where it was)"] = None,
    host: Annotated[str, "address to listen at; 0.0.0.0 for all"] = "127.0.0.1",
    port: Annotated[int, "port to listen at"] = 7860,
    num_sentences: Annotated[int, "most sentences of the map"] = 2000,
    data_changed: Annotated[bool, CHANGED] = False,
) -> None:
    """A page to explore the latent space: slide, move dimensions, map, samples."""
    from textvae import explore

    explore.check_address(host, port)
    options: dict[str, Any] = {"num_sentences": num_sentences, "data_changed": data_changed}
    session = explore.open_session(run, corpus, data_dir=data_dir, **options)
    explore.serve(
        session,
        host=host,
        port=port,
        on_ready=lambda address: say(f"the page is at {address} (Ctrl-C ends it)"),
    )
