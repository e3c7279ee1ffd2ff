"""A VAE of molecules on the MOSES benchmark: trained, measured as it asks, beside published rows.

Each figure is written as it is measured.

    pip install --no-deps molsets==0.3.1                   # its data
    python scripts/molecules.py train                      # or --share 0.05
    python scripts/molecules.py train --latent-dim 0       # the language model
    python scripts/molecules.py train --resume             # after Ctrl-C, to the same result
    python scripts/molecules.py measure runs/molecules-1   # 30,000 samples; or a file of SMILES
    python scripts/molecules.py table
"""

from textvae.runtime import shorten_spin

shorten_spin()  # before torch is loaded

import gzip
import operator
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import numpy as np
from benchmarks.bench import matrix_rate
from benchmarks.models import flops_per_token, num_tokens
from remedies import minutes

from textvae import TextVAE, cli
from textvae.checks import InputError, at_least, imported, number
from textvae.corpus import load_corpus
from textvae.files import read_json, replacing, write_json
from textvae.recipes import diagnose_run
from textvae.report.text import markdown
from textvae.runtime import join, resolve_precision

Moses = Annotated[str | None, "directory of the package moses (default: where it is installed)"]
ResultsDir = Annotated[str, "where results are written"]
PUBLISHED = Path(__file__).parents[1] / "results" / "molecules" / "published.json"
NEEDED = 'measures of molecules need rdkit and fcd-torch: pip install "textvae[molecules]"'

# Thirty tokens, whose output layer costs nothing: the decoder may be wide. All of them together are
# seen but once or twice: no dropout, a high learning rate, and a mean of the weights against it.
SIZES: dict[str, Any] = {
    **{"tokenizer": "regex", "pattern": "smiles", "max_tokens": 8192, "max_epochs": 1},
    **{"latent_dim": 64, "decoder_hidden_size": 512, "encoder_hidden_size": 192},
    **{"embedding_dim": 64, "embedding_range": 1.7, "embedding_dropout": 0.0},
    **{"output_dropout": 0.0, "lr": 2e-3, "lr_patience": 0, "average_epochs": 0.2},
    **{"warmup_epochs": 0.5, "start_beta": 0.05},
}
# Where the default recipe is taken: to be found again, a molecule needs more than its 8 nats, and
# comes to them without an autoencoder's epochs.
REMEDY: dict[str, Any] = {"autoencoder_epochs": 0, "free_bits": 20.0, "max_beta": 1.0}
HELD_OUT, TESTED = 5_000, 10_000  # molecules for validation; of the test set, for ELBO and MI
SENT_BACK, IMPORTANCE = 1_000, 20  # of these, reconstructed; importance samples of the NLL
WALKED, STEPS = 100, 7  # ways from one to the next of them, in so many steps, both ends counted


def package(moses: str | None) -> Path:
    """Where the package `moses` of molsets lies, whose code can't be imported any more."""
    spec = None if moses else find_spec("moses")
    path = Path(moses or (spec and spec.origin and Path(spec.origin).parent) or "moses")
    if not (path / "dataset" / "data" / "train.csv.gz").is_file():
        ways = "pip install --no-deps molsets==0.3.1, or name its directory with --moses"
        raise InputError(f"the data of MOSES must be in {path}/dataset/data, nothing found: {ways}")
    return path


def smiles_of(moses: Path, name: str) -> list[str]:
    """The molecules of a file of the benchmark."""
    with gzip.open(moses / "dataset" / "data" / f"{name}.csv.gz", "rt", encoding="ascii") as lines:
        return lines.read().split()[1:]


def drawn(moses: Path, share: float) -> Path:
    """A directory of train.txt, valid.txt and test.txt: always the same draw."""
    path = Path("runs") / f"moses-{number('share', share, '(0, 1]'):g}"
    if not (path / "test.txt").exists():
        path.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(0).permutation
        valid, rest = np.split(draw(smiles_of(moses, "train")), [HELD_OUT])
        parts = {"train": rest[: max(1, round(share * len(rest)))], "valid": valid}
        for split, lines in {**parts, "test": draw(smiles_of(moses, "test"))[:TESTED]}.items():
            with replacing(path / f"{split}.txt") as temporary:
                temporary.write_text("\n".join([*lines, ""]), encoding="ascii")
    return path


def train(
    *,
    share: Annotated[float, "of the training molecules"] = 1.0,
    moses: Moses = None,
    output_dir: cli.OutputDir = None,
    resume: cli.Resume = False,
    recipe: cli.RecipeName = None,
    given: cli.Given = SIZES | REMEDY,
) -> None:
    """Train a VAE on the molecules of MOSES, see that it has not collapsed, sample, interpolate."""
    command = "python scripts/molecules.py train"
    if resume:
        path = Path(output_dir or cli.run_directory("molecules", is_new=False))
        cli.train_run(None, given, path, recipe=recipe, command=command)
        return
    processes = join(cpu=given.get("device") == "cpu")
    corpus = processes.in_turn(lambda: load_corpus(drawn(package(moses), share)))
    name = output_dir or processes.first(lambda: cli.run_directory("molecules", is_new=True))
    options = {**SIZES, **({} if recipe else REMEDY), **given}
    cli.train_run(corpus, options, Path(name), recipe=recipe, command=command)


def figures_of_model(
    path: Path, model: TextVAE, most: int, valid: Callable[[list[str]], list[Any]]
) -> Iterator[tuple[str, float]]:
    """What z says and the model costs, what of the test set comes back, and how fast it was."""
    measured = diagnose_run(path, "test", num_samples=IMPORTANCE, most=most)
    found, run = measured.diagnosis, measured.run
    nats = {"NLL": found.nll.nll, "KL": found.elbo.kl, "MI": found.mi.mi}
    yield from {**nats, "AU": found.elbo.au}.items()
    if model.latent_dim:
        texts = measured.corpus["test"]["text"][:SENT_BACK]
        yield "exact", fmean(map(operator.eq, model.reconstruct(texts), texts))
        walk = model.interpolate(*texts[: WALKED + 1], steps=STEPS)
        between = [text for step, text in enumerate(walk) if step % (STEPS - 1)]
        yield "valid between", len(valid(between)) / len(between)
    if speeds := [row["tokens_per_second"] for row in run.metrics() if "tokens_per_second" in row]:
        yield "training tokens/s", (speed := median(speeds))
        limit = matrix_rate(resolve_precision(run.config.training.precision, model.device))
        yield "of the limit", speed * flops_per_token(model, backward=True) / limit
    yield "minutes", minutes(path)


def measure(
    run: Annotated[str, "run directory, or a file of SMILES, one a line"],
    *,
    samples: Annotated[int, "how many"] = 30_000,
    tested: Annotated[int, "molecules of the test set, for NLL, KL and MI"] = TESTED,
    seed: Annotated[int, "of their draws"] = 0,
    moses: Moses = None,
    results_dir: ResultsDir = "results",
) -> None:
    """Measure samples as MOSES does, and the model they are from; figures are written at once."""
    at_least(2, samples=samples, tested=tested)
    measures, data, path = imported("moses_measures", NEEDED), package(moses), Path(run)
    if path.is_file():
        texts = path.read_text(encoding="utf-8").splitlines()[:samples]
        figures, found = {}, iter(())
    else:
        model, begin = TextVAE.from_pretrained(path), time.perf_counter()
        texts, seconds = model.sample(samples, seed=seed), time.perf_counter() - begin
        figures = {"sampling tokens/s": num_tokens(model.tokenizer.encode_batch(texts)) / seconds}
        found = figures_of_model(path, model, tested, measures.molecules)
    file = Path(results_dir) / "molecules" / f"{path.stem}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    for name, value in chain(measures.figures(texts, data, smiles_of(data, "train")), found):
        figures[name] = value
        write_json(file, {"samples": len(texts), "seed": seed, "figures": figures})
        print(f"{name} {value:.4g}", file=sys.stderr)
    table(results_dir=results_dir)


def table(*, results_dir: ResultsDir = "results") -> None:
    """All that was measured beside published rows; also written to table.md."""
    path = Path(results_dir) / "molecules"
    own = [file for file in sorted(path.glob("*.json")) if file.name != PUBLISHED.name]
    columns = {file.stem: read_json(file)["figures"] for file in own} | read_json(PUBLISHED)
    lines = [
        {"": name} | {title: f"{c[name]:.4g}" if name in c else "" for title, c in columns.items()}
        for name in dict.fromkeys(name for column in columns.values() for name in column)
    ]
    with replacing(path / "table.md") as temporary:
        temporary.write_text(f"{markdown(lines)}\n", encoding="utf-8")
    print(markdown(lines))


COMMANDS = {command.__name__: command for command in (train, measure, table)}


def main() -> int:
    """Parse, and do one of the three."""
    about = "A VAE of molecules on the MOSES benchmark."
    return cli.run_one_of(COMMANDS, partial(cli.parser_of_several, COMMANDS, description=about))


if __name__ == "__main__":
    sys.exit(main())
