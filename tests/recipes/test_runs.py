"""Tests of `textvae.recipes`: runs begun, resumed, trained in phases, and measured."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.recipes.making import FRACTIONS, OPTIONS, fit_all, left_behind, press_in
from textvae import recipes
from textvae.annealers import ConstantAnnealer
from textvae.checks import InputError
from textvae.config import RunConfig
from textvae.corpus import Corpus, DataError, load_corpus
from textvae.recipes import RECIPES, SIZES, combined
from textvae.run import RunDirectory
from textvae.tokenizer import Tokenizer
from textvae.training import SafeInterrupt

PRETRAINED = {**OPTIONS, "autoencoder_epochs": 1, "language_model_epochs": 1}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_recipes_and_sizes_are_options(name, sizes):
    options = {**sizes, **combined(name)}
    flat = RunConfig.from_flat("any", options).flat()
    assert {option: flat[option] for option in options} == options


def test_a_run_is_put_together_from_its_options(corpus, tmp_path):
    options = {**OPTIONS, "seed": 5, "max_tokens": 60}
    trainer = recipes.start(corpus, options, tmp_path / "run")
    model, run = trainer.model, trainer.run
    assert run.config == RunConfig.from_flat(corpus.source, options)
    assert model.config == run.config.model
    # The vocabulary is of the training split alone.
    known = Tokenizer.train(corpus["train"]["text"][:])
    assert model.tokenizer.fingerprint == known.fingerprint
    assert (trainer.train.num_sentences, trainer.valid.num_sentences) == (28, 4)
    assert trainer.train.seed == 5
    assert all(batch.input_ids.numel() <= 60 for batch in trainer.train)
    assert (trainer.train.shuffle, trainer.valid.shuffle) == (True, False)
    names = {".lock", "config.json", "model.safetensors", "tokenizer.json"}
    assert {path.name for path in run.path.iterdir()} == names


def test_a_seed_decides_the_first_weights(corpus, tmp_path):
    weights = []
    for i, seed in enumerate((1, 1, 2)):
        torch.rand(i)
        model = recipes.start(corpus, {**OPTIONS, "seed": seed}, tmp_path / str(i)).model
        weights.append(model.decoder.output.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_dims": 3}, "unknown options: latent_dims"),
        ({"lr": 0.0}, r"lr must be in \(0, inf\), got 0.0"),
        ({"embedding_dim": 0}, "embedding_dim must be at least 1, got 0"),
        ({"tokenizer": "words"}, "tokenizer must be one of word, text, .* got 'words'"),
        ({"max_tokens": 3}, "max_tokens, for the longest sentence, must be at least 21, got 3"),
        ({"max_length": 1, "too_long": "drop"}, "no sentence is left"),
        ({"autoencoder_epochs": 1}, "autoencoder_epochs makes a run of several phases"),
        ({"language_model_epochs": 1}, "language_model_epochs makes a run of several phases"),
    ],
)
def test_what_is_wrong_leaves_no_directory(corpus, tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        recipes.start(corpus, {**OPTIONS, **wrong}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_corpus_or_annealer_is_told(corpus, tmp_path):
    with pytest.raises(TypeError, match="corpus must be what load_corpus gives, got list"):
        recipes.start(["a sentence"], OPTIONS, tmp_path / "run")
    with pytest.raises(TypeError, match=r"annealer must be callable and have a step\(\)"):
        recipes.start(corpus, OPTIONS, tmp_path / "run", annealer=lambda kl: kl)
    assert not (tmp_path / "run").exists()


def test_someone_elses_annealer_takes_the_place_of_the_configured_one(corpus, tmp_path):
    annealer, again = ConstantAnnealer(0.25), ConstantAnnealer(0.25)
    options = {**OPTIONS, "max_steps": 2}
    recipes.start(corpus, options, tmp_path / "run", annealer=annealer).fit()
    recipes.resume(tmp_path / "run", annealer=again)
    assert (annealer.current_step, again.current_step) == (2, 2)
    assert RunDirectory.open(tmp_path / "run").last_beta() == 0.25


def test_a_finished_run_is_measured(run):
    results, directory = json.loads((run / "results.json").read_text()), RunDirectory.open(run)
    measured = recipes.evaluate_run(run)
    assert (measured.name, measured.split) == ("run", "test")
    assert measured.evaluation.num_sentences == 8
    assert {k: results[k] for k in vars(measured.evaluation)} == vars(measured.evaluation)
    assert (results["corpus"], results["split"]) == ("mine", "test")
    assert (results["epochs"], results["seed"]) == (2, 0)
    assert results["best_epoch"] in (1, 2)
    assert results["beta"] == directory.evaluations()[results["best_epoch"] - 1]["beta"]
    assert results["beta"] == directory.last_beta()


def test_any_split_can_be_measured_wherever_it_is(run, text_file, tmp_path):
    found = {split: recipes.evaluate_run(run, split) for split in ("train", "valid", "test")}
    assert [x.evaluation.num_sentences for x in found.values()] == [28, 4, 8]
    expected = found["test"].evaluation
    other_noise = recipes.evaluate_run(run, seed=1).evaluation
    assert other_noise.rec != expected.rec
    assert other_noise.kl == expected.kl
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(text_file.read_bytes())
    assert recipes.evaluate_run(run, data_dir=str(moved)).evaluation == expected


def test_without_a_test_split_the_validation_split_is_measured(text_file, tmp_path):
    directory = tmp_path / "corpus"
    directory.mkdir()
    for split in ("train", "valid"):
        shutil.copy(text_file, directory / f"{split}.txt")
    options = {**OPTIONS, "max_steps": 1}
    recipes.start(load_corpus(directory), options, tmp_path / "run").fit()
    assert recipes.finish(tmp_path / "run")[0].split == "valid"


def test_a_resumed_run_keeps_its_options_but_may_be_longer(corpus, tmp_path):
    path = tmp_path / "run"
    recipes.start(corpus, {**OPTIONS, "max_steps": 1}, path).fit()
    before = left_behind(path)
    with pytest.raises(InputError, match=r"options \(only max_epochs, max_steps may") as error:
        recipes.resume(path, {"lr": 0.5, "seed": 0, "latent_dim": 9, "max_steps": 4})
    assert f"lr is 0.001 in {path}, got 0.5; latent_dim is 3" in str(error.value)
    with pytest.raises(InputError, match="max_steps must be at least 1, got 0"):
        recipes.resume(path, {"max_steps": 0})
    assert left_behind(path) == before
    longer = recipes.resume(path, {"max_steps": 3, "max_epochs": 9})
    assert longer.fit() == "3 steps done"
    stored = RunDirectory.open(path).config
    assert (stored.training.max_steps, stored.training.max_epochs) == (3, 9)


@pytest.fixture(scope="module")
def phased(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phased") / "run"
    fit_all(recipes.phases(corpus, PRETRAINED, path))
    return path


def test_pretraining_is_an_autoencoder_and_a_language_model(corpus, phased, tmp_path):
    autoencoder = RunDirectory.open(phased / "autoencoder")
    language_model = RunDirectory.open(phased / "language_model")
    assert autoencoder.last_beta() == 0
    assert (autoencoder.config.model.latent_dim, language_model.config.model.latent_dim) == (3, 0)
    runs = (autoencoder, language_model, RunDirectory.open(phased))
    assert [len(run.evaluations()) for run in runs] == [1, 1, 2]  # epochs
    # A language model needs none.
    floor = {**PRETRAINED, "latent_dim": 0, "max_steps": 1}
    assert len(fit_all(recipes.phases(corpus, floor, tmp_path / "run"))) == 1


def test_an_autoencoder_of_words_leaves_its_encoder(corpus, tmp_path):
    options = {**OPTIONS, "words_epochs": 1, "max_steps": 1}
    first, last = recipes.phases(corpus, options, tmp_path / "run"), None
    trainer = next(first)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.fit()
    assert trainer.run.path == tmp_path / "run" / "words"
    after = trainer.model.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items() if k.startswith("decoder."))
    last = next(first).model.state_dict()
    assert not any(name.startswith("auxiliaries.") for name in last)
    for name in (name for name in last if name.startswith(("encoder.", "head."))):
        assert torch.equal(last[name], after[name])
        assert not torch.equal(last[name], before[name])


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_run_of_phases_resumes_in_the_phase_it_was_in(corpus, phased, tmp_path, phase):
    def fit_until_pressed() -> None:
        for i, trainer in enumerate(recipes.phases(corpus, PRETRAINED, tmp_path / "r")):
            if i == phase:
                press_in(trainer, 2)
            trainer.fit()

    with pytest.raises(SafeInterrupt):
        fit_until_pressed()
    torch.manual_seed(99)
    resumed = fit_all(recipes.phases(None, {}, tmp_path / "r"))
    assert len(resumed) == 3 - phase
    assert left_behind(tmp_path / "r") == left_behind(phased)


def test_a_run_that_lost_its_state_is_refused_and_left_alone(run, tmp_path):
    lost = Path(shutil.copytree(run, tmp_path / "run"))
    for state in lost.glob("training_state*"):
        state.unlink()
    for metrics in (lost / "metrics.jsonl", None):
        before = left_behind(lost)
        with pytest.raises(FileNotFoundError, match=r"has lost its training state, .*: put that"):
            recipes.resume(lost)
        assert left_behind(lost) == before
        if metrics is not None:
            metrics.unlink()  # the weights alone tell that they were trained
    assert recipes.evaluate_run(lost).evaluation == recipes.evaluate_run(run).evaluation


@pytest.mark.parametrize("latent_dim", [3, 0])
@pytest.mark.parametrize("killed_before", ["tokenizer.json", "model.safetensors", "fit"])
def test_a_run_killed_while_it_was_made_is_made_again(corpus, tmp_path, killed_before, latent_dim):
    options = {**OPTIONS, "latent_dim": latent_dim, "max_steps": 2}
    recipes.start(corpus, options, tmp_path / "whole").fit()
    recipes.start(corpus, options, tmp_path / "killed")
    for file in ("model.safetensors", "tokenizer.json"):
        if killed_before != "fit":
            (tmp_path / "killed" / file).unlink()
        if killed_before == file:
            break
    torch.manual_seed(99)
    recipes.resume(tmp_path / "killed").fit()
    assert left_behind(tmp_path / "killed") == left_behind(tmp_path / "whole")


@pytest.mark.parametrize("phase", ["autoencoder", "language_model"])
@pytest.mark.parametrize("left", [(), (".config.json.9.tmp",), ("config.json", "tokenizer.json")])
def test_so_is_a_phase(corpus, phased, tmp_path, phase, left):
    killed = Path(shutil.copytree(phased, tmp_path / "r"))
    undone = ["autoencoder", "language_model"][phase == "language_model" :]
    for path in [*killed.glob("training_state*"), killed / "metrics.jsonl"]:
        path.unlink()
    shutil.rmtree(killed / "language_model")
    shutil.rmtree(killed / undone[0], ignore_errors=True)
    (killed / undone[0]).mkdir()
    for name in left:
        (killed / undone[0] / name).touch()
        if not name.startswith("."):
            shutil.copy(phased / phase / name, killed / phase)
    shutil.copytree(initial(corpus, tmp_path), killed, dirs_exist_ok=True)
    fit_all(recipes.phases(None, {}, killed))
    assert left_behind(killed) == left_behind(phased)


def initial(corpus: Corpus, tmp_path: Path) -> Path:
    """What such a run has before its first phase."""
    next(recipes.phases(corpus, PRETRAINED, tmp_path / "new"))
    shutil.rmtree(tmp_path / "new" / "autoencoder")
    return tmp_path / "new"


@pytest.mark.parametrize("change", [reversed, lambda lines: [*lines, "one more"], lambda x: x[:-1]])
def test_other_sentences_are_refused_or_told(text_file, tmp_path, change):
    path, lines = tmp_path / "mine.txt", text_file.read_text().strip().split("\n")
    path.write_text("\n".join(lines))
    trained = tmp_path / "run"
    recipes.start(load_corpus(path, **FRACTIONS), {**OPTIONS, "max_steps": 1}, trained).fit()
    recipes.finish(trained)
    path.write_text("\n".join(change(lines)))
    before = left_behind(trained)
    for use in (recipes.resume, recipes.evaluate_run, recipes.diagnose_run):
        with pytest.raises(DataError, match=r"is not the one .*sha256 was \w{12}…, and is \w{12}…"):
            use(trained)
    assert left_behind(trained) == before
    marked = "mine (data changed)"
    assert recipes.evaluate_run(trained, data_changed=True).corpus.name == marked
    recipes.resume(trained, {"max_steps": 2}, data_changed=True).fit()
    recipes.finish(trained)
    assert json.loads((trained / "results.json").read_text())["corpus"] == marked
    assert recipes.evaluate_run(trained).corpus.name == marked
    recipes.resume(trained)  # it is known now


def test_a_run_knows_how_its_corpus_was_read(tmp_path):
    rows = ["stars,said,odd", *(f"{i % 2},they said it {i % 3} times,x" for i in range(40))]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    how = {"text_field": "said", "label_field": "stars", "valid_fraction": 0.1, "seed": 3}
    corpus = load_corpus(tmp_path / "mine.csv", **how, test_fraction=0.1)
    options = {name: value for name, value in OPTIONS.items() if "fraction" not in name}
    fit_all(recipes.phases(corpus, options, tmp_path / "run"))
    found = recipes.diagnose_run(tmp_path / "run", num_samples=2, split="valid")
    assert found.diagnosis.elbo.num_sentences == len(corpus["valid"]) == 4
    with pytest.raises(InputError, match=r"valid_fraction is 0.1 in Corpus\(mine.*got 0.2"):
        recipes.start(corpus, {**options, "valid_fraction": 0.2}, tmp_path / "other")
