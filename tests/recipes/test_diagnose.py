"""Tests of `textvae.recipes.diagnose`: what is handed to the diagnosis, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.sizes import TINY
from textvae import grammar, recipes
from textvae.batches import Batch
from textvae.corpus import Corpus, DataError, load_corpus
from textvae.recipes import LoadedRun

SPLITS = {"valid_fraction": 0.1, "test_fraction": 0.1}
OPTIONS = {**TINY, **SPLITS}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("diagnose")


@pytest.fixture(scope="module")
def mine(directory: Path) -> Path:
    path = directory / "mine.txt"
    texts = [sentence.text for sentence in grammar.sample(40, seed=2)]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def make_run(directory: Path, mine: Path) -> Callable[..., Path]:
    def make(name: str, **options: Any) -> Path:
        corpus = load_corpus(mine, **SPLITS)
        recipes.start(corpus, {**OPTIONS, **options}, directory / name).fit()
        return directory / name

    return make


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Path]) -> Path:
    return make_run("run", free_bits=0.25, annealer="constant", max_beta=0.5)


@pytest.fixture(scope="module")
def diagnosed(run: Path) -> LoadedRun:
    return recipes.diagnose_run(run, num_samples=3)


def write_corpus(directory: Path, text: str) -> str:
    directory.mkdir()
    for split in ("train", "valid", "test"):
        (directory / f"{split}.txt").write_text(text, encoding="utf-8")
    return str(directory)


def test_a_run_is_diagnosed(diagnosed: LoadedRun, run: Path) -> None:
    found = diagnosed.diagnosis
    evaluation = recipes.evaluate_run(run).evaluation
    assert (found.elbo.rec, found.elbo.kl, found.elbo.au) == (
        evaluation.rec,
        evaluation.kl,
        evaluation.au,
    )
    assert (found.elbo.num_sentences, found.nll.num_samples) == (4, 3)
    assert found.factors == []
    assert diagnosed.name == "run"
    assert diagnosed.run.path == run
    assert diagnosed.split == "test"


def test_seed_split_and_samples_are_passed_on(run: Path, diagnosed: LoadedRun) -> None:
    found = recipes.diagnose_run(run, "valid", num_samples=2, seed=1)
    assert found.split == "valid"
    assert found.diagnosis.nll.num_samples == 2
    again = recipes.diagnose_run(run, num_samples=3)
    assert again.diagnosis.to_dict() == diagnosed.diagnosis.to_dict()
    other = recipes.diagnose_run(run, num_samples=3, seed=1)
    assert other.diagnosis.nll.nll != diagnosed.diagnosis.nll.nll


def test_the_verdict_is_told_how_the_run_was_trained(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(
        "textvae.recipes.diagnose.diagnose", lambda *arguments, **options: told.update(options)
    )
    recipes.diagnose_run(run, num_samples=7)
    assert (told["beta"], told["free_bits"], told["num_samples"]) == (0.5, 0.25, 7)


def test_progress_wraps_the_batches_of_every_pass(run: Path) -> None:
    told: list[list[Any]] = []

    def progress(batches: Sequence[Batch], title: str) -> Iterator[Batch]:
        told.append([title, len(batches), 0])
        for batch in batches:
            told[-1][2] += 1
            yield batch

    recipes.diagnose_run(run, "train", num_samples=1, progress=progress)
    assert [title for title, _, _ in told] == ["posteriors", "ELBO and ablation", "NLL"]
    assert all(passed == count for _, count, passed in told)


def interrupt(at: str, calls: int) -> Any:
    """Progress that raises at one of the batches of a pass."""

    def progress(batches: Sequence[Batch], title: str) -> Iterator[Batch]:
        for number, batch in enumerate(batches, 1):
            if (title, number) == (at, calls):
                raise KeyboardInterrupt
            yield batch

    return progress


def test_cut_short_in_the_nll_all_else_stands(run: Path, diagnosed: LoadedRun) -> None:
    found = recipes.diagnose_run(run, num_samples=3, progress=interrupt("NLL", 1)).diagnosis
    assert found.interrupted
    assert found.nll is None
    assert (found.elbo, found.mi) == (diagnosed.diagnosis.elbo, diagnosed.diagnosis.mi)
    with pytest.raises(KeyboardInterrupt):
        recipes.diagnose_run(run, num_samples=3, progress=interrupt("ELBO and ablation", 1))


# Known factors


@pytest.fixture
def animals(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    def split(count: int, shift: int) -> Dataset:
        names = [("cat", "dog")[(i + shift) % 2] for i in range(count)]
        # Every third is too long and is dropped.
        texts = [f"the {n} runs" + " on and on" * (i % 3 == 2) for i, n in enumerate(names)]
        return Dataset.from_dict({"text": texts, "animal": names})

    splits = {"train": split(24, 0), "valid": split(12, 0), "test": split(12, 1)}
    corpus = Corpus("animals", splits, "animals", dict.fromkeys(splits, 0))
    monkeypatch.setattr("textvae.recipes.loaded.open_corpus", lambda source, config: corpus)
    return corpus


@pytest.mark.parametrize(
    ("split", "fitted_on"), [("test", "valid"), ("valid", "test"), ("train", "valid")]
)
def test_factors_go_with_their_sentences(
    split: str, fitted_on: str, animals: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes.start(animals, {**OPTIONS, "max_length": 5, "too_long": "drop"}, tmp_path / "run").fit()
    real, given = recipes.diagnose.diagnose, []

    def spy(model: Any, batches: Any, num_sentences: int, **options: Any) -> Any:
        factors = options["factors"]._replace(fit_batches=list(options["factors"].fit_batches))
        batches, options["factors"] = list(batches), factors
        given.append((batches, num_sentences, factors))
        return real(model, batches, num_sentences, **options)

    monkeypatch.setattr("textvae.recipes.diagnose.diagnose", spy)
    found = recipes.diagnose_run(tmp_path / "run", split, num_samples=1)
    batches, num_sentences, factors = given[0]
    assert num_sentences == len(animals[split]) * 2 // 3
    tokenizer = found.model.tokenizer
    assert tokenizer is not None
    for passed, labels in (
        (batches, factors.labels),
        (factors.fit_batches, factors.fit_labels),
    ):
        assert list(labels) == ["animal"]
        for batch in passed:
            for ids, index in zip(batch.target_ids, batch.indices.tolist(), strict=True):
                assert labels["animal"][index] in tokenizer.decode(ids)
    assert factors.fit_num_sentences == len(animals[fitted_on]) * 2 // 3
    assert [probe.name for probe in found.diagnosis.factors] == ["animal"]


# What is refused


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a run directory"):
        recipes.diagnose_run(tmp_path)


def test_out_of_range(run: Path) -> None:
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        recipes.diagnose_run(run, num_samples=0)
    with pytest.raises(DataError, match="has no split 'dev'"):
        recipes.diagnose_run(run, "dev")


def test_an_empty_split(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no sentences"):
        recipes.diagnose_run(run, data_dir=write_corpus(tmp_path / "empty", "\n\n"))


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("x y z\nx y\n", "100%"),
        ("{known} x x x\n", "75%"),
        ("{known} {known} x x\nx\n", "60%"),
        ("{known} {known} x x\n{known}\n", None),  # more known than unknown
        ("{known} <unk> <unk> <unk>\n<unk>\n", None),  # a word of the text, as in Penn Treebank
        ("x x x x x <unk>\nx\n", "86%"),
    ],
)
def test_a_corpus_of_another_vocabulary(
    text: str, share: str | None, run: Path, tmp_path: Path, diagnosed: LoadedRun
) -> None:
    known = diagnosed.corpus["train"]["text"][0].split()[0]
    data_dir = write_corpus(tmp_path / "other", text.format(known=known) * 2)
    if share is None:
        assert recipes.diagnose_run(run, num_samples=1, data_dir=data_dir).diagnosis.elbo.rec > 0
        return
    message = f"other is of another vocabulary than the model: {share} of the tokens of its test"
    with pytest.raises(DataError, match=message):
        recipes.diagnose_run(run, num_samples=1, data_dir=data_dir)


# Several


def test_runs_on_the_same_tokens_are_diagnosed(
    run: Path, make_run: Callable[..., Path], diagnosed: LoadedRun
) -> None:
    floor = make_run("floor", latent_dim=0)
    found = recipes.diagnose_runs([run, floor], num_samples=3)
    assert [each.name for each in found] == ["run", "floor"]
    assert found[0].diagnosis.to_dict() == diagnosed.diagnosis.to_dict()
    assert found[1].diagnosis.elbo.kl_per_dim == []


def test_runs_that_can_not_be_compared(
    run: Path, make_run: Callable[..., Path], tmp_path: Path
) -> None:
    message = r"runs must predict the same tokens .*: \S*run has [\d,]+ of mine \(test split, "
    for options in ({"min_count": 3}, {"tokenizer": "char"}, {"split_seed": 1}, {"max_length": 4}):
        other = make_run("-".join(options), **options)
        with pytest.raises(ValueError, match=message):
            recipes.diagnose_runs([run, other], num_samples=1)
    for few in ([], [run], [run, run], [run, run.parent / "x" / ".." / "run"]):
        with pytest.raises(ValueError, match="runs must be at least 2, each another, got"):
            recipes.diagnose_runs(few)


def test_what_comes_after_an_interruption_is_not_measured(
    run: Path, make_run: Callable[..., Path]
) -> None:
    other = make_run("after")
    found = recipes.diagnose_runs([run, other], num_samples=1, progress=interrupt("NLL", 1))
    assert [each.name for each in found] == ["run"]


def test_the_precision_of_the_nll_is_said_and_matters_little(run: Path) -> None:
    exact, fast = (
        recipes.diagnose_run(run, num_samples=20, precision=precision).diagnosis
        for precision in ("fp32", "bf16")
    )
    assert (exact.nll.precision, fast.nll.precision) == ("fp32", "bf16")
    assert 0 < abs(exact.nll.nll - fast.nll.nll) < 0.01
    assert exact.elbo == fast.elbo


def test_an_unknown_precision_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="precision must be one of auto, fp32, bf16, got 'fp8'"):
        recipes.diagnose_run(run, precision="fp8")
