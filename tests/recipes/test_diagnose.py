"""Tests of `textvae.recipes`' diagnoses: what is handed to the diagnosis, and what is refused."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from tests.recipes.making import FRACTIONS, OPTIONS
from textvae import TextVAE, generation, grammar, recipes
from textvae.checks import InputError
from textvae.corpus import Corpus, DataError, load_corpus
from textvae.diagnostics import importance_nll
from textvae.recipes import LoadedRun
from textvae.recipes.examples import readable


@pytest.fixture(scope="module")
def make_run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def make(name: str, **options: Any) -> Path:
        path, seed = tmp_path_factory.mktemp("runs") / name, options.get("split_seed", 0)
        own = load_corpus(corpus.source, **FRACTIONS, seed=seed)
        recipes.start(own, {**OPTIONS, "max_epochs": 1, **options}, path).fit()
        return path

    return make


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Path]) -> Path:
    return make_run("run", free_bits=0.25, annealer="constant", max_beta=0.5)


@pytest.fixture(scope="module")
def diagnosed(run: Path) -> LoadedRun:
    return recipes.diagnose_run(run, num_samples=3)


def test_a_run_is_diagnosed(diagnosed, run):
    found = diagnosed.diagnosis
    assert found.elbo.rec == pytest.approx(recipes.evaluate_run(run).evaluation.rec)
    assert diagnosed.evaluation == found.elbo
    assert (found.elbo.num_sentences, found.nll.num_samples, found.factors) == (8, 3, [])
    assert (diagnosed.name, diagnosed.run.path, diagnosed.split) == ("run", run, "test")
    assert (found.beta, found.free_bits) == (0.5, 0.25)  # for the verdict
    other = recipes.diagnose_run(run, "valid", num_samples=2, seed=1)
    assert (other.split, other.diagnosis.nll.num_samples) == ("valid", 2)
    noise = [recipes.diagnose_run(run, num_samples=3, seed=seed).diagnosis for seed in (0, 1)]
    assert noise[0].to_dict() == found.to_dict()
    assert noise[1].nll.nll != found.nll.nll


@pytest.mark.parametrize("prior", ["gaussian", "gmm"])
def test_the_nll_with_a_fitted_prior(run, diagnosed, prior):
    found = recipes.diagnose_run(run, num_samples=3, prior=prior).diagnosis
    assert (found.nll.nll, found.elbo) == (diagnosed.diagnosis.nll.nll, diagnosed.diagnosis.elbo)
    model, texts = diagnosed.model, diagnosed.corpus["train"]["text"][:]
    fit = generation.fitted_mixture(model, texts)  # so few sentences are for one Gaussian only

    def log_prior(z: torch.Tensor) -> torch.Tensor:
        mean, covariance = map(torch.from_numpy, (fit.means_[0], fit.covariances_[0]))
        return torch.distributions.MultivariateNormal(mean, covariance).log_prob(z)

    nll = importance_nll(model, diagnosed.loader, num_samples=3, log_prior=log_prior).fitted
    assert found.nll.fitted.nll == pytest.approx(nll.nll, abs=1e-6)
    told = found.to_dict()["fitted_prior"]
    assert told == {"nll": found.nll.fitted.nll, "se": found.nll.fitted.se}
    assert diagnosed.diagnosis.to_dict()["fitted_prior"] is None
    with pytest.raises(InputError, match="prior must be one of gaussian, gmm, got 'flow'"):
        recipes.diagnose_run(run, prior="flow")


FITTED_ON = {"test": "valid", "valid": "test", "train": "valid"}


@pytest.mark.parametrize(("split", "fitted_on"), FITTED_ON.items())
def test_factors_go_with_their_sentences(split, fitted_on, tmp_path, monkeypatch):
    def rows(count: int, shift: int) -> Dataset:
        names = [("cat", "dog")[(i + shift) % 2] for i in range(count)]
        # Every third is too long and is dropped.
        texts = [f"the {n} runs" + " on and on" * (i % 3 == 2) for i, n in enumerate(names)]
        others = {"weight": [i / 7 for i in range(count)], "note": texts}  # not asked for
        return Dataset.from_dict({"text": texts, "animal": names, **others})

    splits = {"train": rows(24, 0), "valid": rows(15, 0), "test": rows(12, 1)}
    animals = Corpus("animals", splits, "animals", {}, ("animal", "weight"))
    monkeypatch.setattr("textvae.recipes.loaded.open_corpus", lambda *_: animals)
    options = {**OPTIONS, "max_length": 5, "too_long": "drop"}
    recipes.start(animals, options, tmp_path / "run").fit()
    real, given = recipes.measured.diagnose, []

    def spy(model: Any, batches: Any, num_sentences: int, **options: Any) -> Any:
        factors = options["factors"]._replace(fit_batches=list(options["factors"].fit_batches))
        batches, options["factors"] = list(batches), factors
        given.append((batches, num_sentences, factors))
        return real(model, batches, num_sentences, **options)

    monkeypatch.setattr("textvae.recipes.measured.diagnose", spy)
    found = recipes.diagnose_run(tmp_path / "run", split, num_samples=1)
    batches, num_sentences, factors = given[0]
    assert num_sentences == len(animals[split]) * 2 // 3
    assert factors.fit_num_sentences == len(animals[fitted_on]) * 2 // 3
    passes = (batches, factors.labels), (factors.fit_batches, factors.fit_labels)
    for passed, labels in passes:
        assert list(labels) == ["animal"]
        for batch in passed:
            for ids, index in zip(batch.target_ids, batch.indices.tolist(), strict=True):
                assert labels["animal"][index] in found.model.tokenizer.decode(ids)
    assert [probe.name for probe in found.diagnosis.factors] == ["animal"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x y z\nx y\n", "100% of the tokens of its test split are unknown"),
        ("{known} x x x\n", "75% of the tokens"),
        ("{known} {known} x x\nx\n", "60% of the tokens"),
        ("{known} {known} x x\n{known}\n", None),  # more known than unknown
        ("{known} <unk> <unk> <unk>\n<unk>\n", None),  # a word of the text, as in Penn Treebank
        ("x x x x x <unk>\nx\n", "other is of another vocabulary than the model: 86% of"),
        ("\n\n", "holds no sentences"),
    ],
)
def test_a_corpus_of_another_vocabulary(text, message, run, tmp_path, diagnosed):
    known = diagnosed.corpus["train"]["text"][0].split()[0]
    (tmp_path / "other").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "other" / f"{split}.txt").write_text(text.format(known=known) * 2)
    other: dict[str, Any] = {"data_dir": str(tmp_path / "other"), "data_changed": True}
    if message is None:
        assert recipes.diagnose_run(run, num_samples=1, **other).evaluation.rec > 0
        return
    with pytest.raises(DataError, match=message):
        recipes.diagnose_run(run, num_samples=1, **other)


def test_a_language_model_of_the_same_tokens_is_diagnosed_beside(run, language_model):
    found = recipes.diagnose_runs([run, language_model], num_samples=3)
    assert [each.name for each in found] == ["run", "floor"]
    assert found[1].diagnosis.elbo.kl_per_dim == []


def test_runs_that_can_not_be_compared(run, make_run):
    message = r"runs must predict the same tokens .*: \S*run has [\d,]+ of mine \(test split, "
    for options in ({"min_count": 2}, {"tokenizer": "char"}, {"split_seed": 1}, {"max_length": 4}):
        others = [run, make_run("other", **options)]
        with pytest.raises(InputError, match=message):
            recipes.diagnose_runs(others, num_samples=1, data_changed=True)
    for same in ([run, run], [run, run.parent / "x" / ".." / "run"]):
        with pytest.raises(InputError, match="runs must be each another, got"):
            recipes.diagnose_runs(same)


def test_the_way_with_most_to_say_is_between_the_first_and_the_last(run):
    model = TextVAE.from_pretrained(run)
    with torch.no_grad():  # so that what it says differs from place to place
        for weights in model.parameters():
            weights.mul_(8)
    texts = [sentence.text for sentence in grammar.sample(4, seed=2)]
    found, path = recipes.lively_path(model, texts)
    assert sorted(found) == sorted(texts)
    assert path == model.interpolate(found[0], found[-1], steps=5)
    ways = [model.interpolate(*ends, steps=5) for ends in combinations(texts, 2)]
    numbers = [len({*way}) for way in ways]
    assert len({*path}) == max(numbers) > min(numbers)
    assert recipes.lively_path(model, texts[:1])[0] == texts[:1]


def test_shown_sentences_are_different_ones():
    fits, short = "a sentence that fits a line well", "short"
    assert readable([short, fits, short, "long " * 20]) == [fits, short, "long " * 20]


def test_so_many_sentences_are_evenly_spread(run, corpus):
    texts = corpus["train"]["text"][:]
    some = LoadedRun.open(run, "train", most=7)
    assert some.corpus["train"]["text"][:] == texts[::4]
    assert some.loader.num_sentences == 7
    assert LoadedRun.open(run, "train", most=99).corpus["train"]["text"][:] == texts
