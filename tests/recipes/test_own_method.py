"""A method of one's own, in the file that `docs/your-own-method.md` shows, is treated as ours."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import docs
from tests.recipes.making import FRACTIONS, weights_of
from tests.sizes import TINY
from textvae import recipes
from textvae.checks import InputError
from textvae.config import ModelConfig
from textvae.model import AUXILIARIES, HEADS, GaussianHead
from textvae.recipes import Phase

BLOCKS = docs.blocks(docs.text("docs/your-own-method.md"))
OPTIONS: dict[str, Any] = {**TINY, **FRACTIONS, "log_every": 1}
OWN: dict[str, Any] = {**OPTIONS, "posterior": "fixed", "loudness": 2.0, "length": 0.5}


@pytest.fixture(scope="module", autouse=True)
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's file, imported."""
    path = tmp_path_factory.mktemp("mine") / "my_method.py"
    path.write_text(BLOCKS[0], encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        yield importlib.import_module("my_method")
    del sys.modules["my_method"], HEADS["fixed"], AUXILIARIES["length"]


def test_it_is_trained_saved_resumed_and_diagnosed(mine, corpus, tmp_path):
    def own() -> dict[str, Any]:
        return {"model": mine.MyVAE, "remedies": {"less": mine.LessWordDropout()}}

    trainer = recipes.start(corpus, OWN, tmp_path / "whole", **own())
    trainer.fit()
    first = trainer.run.metrics()[0]
    assert first["length"] > 0
    assert first["kl"] > 2 * 0.318  # what the fixed variance alone costs in two dimensions
    cut = tmp_path / "cut"
    recipes.start(corpus, {**OWN, "max_steps": 2}, cut, **own()).fit()
    again = recipes.resume(cut, {"max_steps": 4}, **own())
    assert again.progress.step == 2
    again.fit()
    assert again.model.decoder.word_dropout == pytest.approx(0.5 * 0.999**3)
    assert again.remedies["less"].state_dict() == {"num_steps": 4}
    expected, found = (mine.MyVAE.from_pretrained(path) for path in (tmp_path / "whole", cut))
    for name, weights in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], weights), name
    run = recipes.diagnose_run(cut, num_samples=2, model=mine.MyVAE)
    assert type(run.model) is mine.MyVAE
    assert run.config.model == run.model.config
    assert run.model.config.loudness == 2.0
    assert run.diagnosis.elbo.kl > 2 * 0.318


def test_the_pages_other_blocks_run(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textvae.load_corpus", lambda source: corpus, raising=False)
    small = f"options |= { ({**TINY, **FRACTIONS, 'max_steps': 2}) }\n"
    space: dict[str, Any] = {}
    for block in BLOCKS[1:]:
        code = block.replace("corpus, remedies =", small + "corpus, remedies =")
        exec(code.replace("model=MyVAE).d", "model=MyVAE, num_samples=2).d"), space)
    assert (tmp_path / "runs" / "next" / "quiet" / "model.safetensors").exists()


def test_its_options_are_known_to_it_alone(corpus, mine, tmp_path):
    with pytest.raises(InputError, match=r"loudness must be in \(0, inf\), got 0.0"):
        recipes.start(corpus, {**OWN, "loudness": 0.0}, tmp_path / "run", model=mine.MyVAE)
    with pytest.raises(InputError, match="unknown options: length, loudness"):
        recipes.start(corpus, OWN, tmp_path / "run")
    recipes.start(corpus, {**OWN, "max_steps": 1}, tmp_path / "run", model=mine.MyVAE).fit()
    for read in (recipes.diagnose_run, recipes.resume):
        with pytest.raises(InputError, match="loudness"):
            read(tmp_path / "run")
    with pytest.raises(InputError, match=r"loudness is 2.0 in .*, got 3.0"):
        recipes.resume(tmp_path / "run", {"loudness": 3.0}, model=mine.MyVAE)


class NormalisedHead(GaussianHead):
    """Means of variance 1 over the batch (Zhu et al. 2020): buffers of 0 and 1 dimensions."""

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__(input_size, config)
        self.mu = nn.Sequential(self.mu, nn.BatchNorm1d(config.latent_dim))


def test_every_parameter_and_buffer_is_pretrained(corpus, mine, tmp_path, monkeypatch):
    def state(path: Path) -> dict[str, Tensor]:
        return mine.MyVAE.from_pretrained(path).state_dict()

    monkeypatch.setitem(HEADS, "normalised", NormalisedHead)
    options = {**OWN, "posterior": "normalised"}
    options |= {"autoencoder_epochs": 1, "language_model_epochs": 1}
    path = tmp_path / "run"
    phases = recipes.phases(corpus, options, path, model=mine.MyVAE)
    for _ in range(2):
        next(phases).fit()
    begun, fresh = next(phases).model.state_dict(), state(path)
    encoder, decoder = state(path / "autoencoder"), state(path / "language_model")
    assert encoder["head.mu.1.num_batches_tracked"] > 0
    for name, weights in begun.items():
        if not name.startswith("decoder."):
            assert torch.equal(weights, encoder[name]), name
            continue
        # The columns of words come first; those of z, and what else it passes through, are new.
        known = decoder.get(name, torch.empty(0))
        width = known.shape[-1]
        assert torch.equal(weights[..., :width], known) or width == 0, name
        assert torch.equal(weights[..., width:], fresh[name][..., width:]), name
    assert not torch.equal(begun["decoder.output.weight"], fresh["decoder.output.weight"])
    assert begun["auxiliaries.length.of_z.weight"].shape == (1, 2)


def test_a_decoder_with_skips_takes_a_language_model_over(corpus, tmp_path):
    deep = {"latent_to": "skip", "decoder_num_layers": 2, "language_model_epochs": 1}
    phases = recipes.phases(corpus, {**OPTIONS, **deep}, tmp_path / "run")
    next(phases).fit()
    begun = next(phases).model.state_dict()
    learned = weights_of(tmp_path / "run" / "language_model")
    assert "decoder.upper.0.weight_ih_l0" in learned
    for name, weights in learned.items():
        assert torch.equal(begun[name][..., : weights.shape[-1]], weights), name


def test_a_warm_start_from_another_run(corpus, mine, tmp_path):
    paths = tmp_path / "first", tmp_path / "run"
    recipes.start(corpus, {**OWN, "seed": 1}, paths[0], model=mine.MyVAE).fit()
    other = Phase("first", keeps=lambda name: "decoder" not in name, run=paths[0])
    (trainer,) = recipes.phases(corpus, OWN, paths[1], model=mine.MyVAE, before=[other])
    begun = trainer.model.state_dict()
    first, fresh = (mine.MyVAE.from_pretrained(path).state_dict() for path in paths)
    for name, weights in begun.items():
        assert torch.equal(weights, (fresh if "decoder" in name else first)[name]), name


def test_a_phase_of_ones_own_is_continued_where_it_was(corpus, tmp_path):
    quiet = Phase("quiet", options={"max_beta": 0.0, "annealer": "constant", "max_epochs": 2})
    phases = recipes.phases(corpus, OPTIONS, tmp_path / "run", before=[quiet])
    assert next(phases).run.path == tmp_path / "run" / "quiet"
    trainers = recipes.phases(None, {}, tmp_path / "run", before=[quiet])
    first = next(trainers)
    assert (first.run.path.name, first.config.max_epochs, first.config.max_beta) == ("quiet", 2, 0)
    first.fit()
    begun = next(trainers).model.state_dict()
    trained = weights_of(tmp_path / "run" / "quiet")
    assert all(torch.equal(begun[name], trained[name]) for name in trained)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"latent_dim": 3}, r"decoder.rnn.weight_ih_l0 \(24, 7\) has no place in the model"),
        ({"embedding_dim": 3}, r"decoder.embedding.weight \(\d+, 3\) has no place"),
        ({"latent_to": "state", "decoder_num_layers": 2}, r"_l1 \(.*\) has no place"),
        ({"tokenizer": "char"}, "taken from a model of the same vocabulary and labels only"),
    ],
)
def test_weights_that_do_not_fit_are_refused(corpus, tmp_path, changed, message):
    recipes.start(corpus, {**OPTIONS, **changed, "max_steps": 1}, tmp_path / "other").fit()
    keeps = lambda name: name.startswith("decoder") and "latent" not in name  # noqa: E731
    phase = Phase("other", keeps=keeps, run=tmp_path / "other")
    with pytest.raises(InputError, match=message):
        next(recipes.phases(corpus, OPTIONS, tmp_path / "run", before=[phase]))
