"""A run that begins with another's model: what it takes over, what is new, what stays as it is."""

import shutil

import pytest
import torch

from tests.recipes.making import FRACTIONS, left_behind, press_in, weights_of
from tests.training.building import plain
from textvae import recipes
from textvae.checks import InputError
from textvae.corpus import Corpus, load_corpus
from textvae.report import run_heading
from textvae.run import RunDirectory
from textvae.tokenizer import Tokenizer
from textvae.training import SafeInterrupt

QUICK = {**FRACTIONS, "device": "cpu", "max_epochs": 2, "batch_size": 8, "lr": 0.01}


@pytest.fixture(scope="module")
def other(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The first sentences of the corpus and some with words that it lacks."""
    path = tmp_path_factory.mktemp("other") / "other.txt"
    known = corpus["train"]["text"][:20]
    path.write_text("\n".join([*known, *["zebras yodel"] * 10, "quaggas"]), encoding="utf-8")
    return load_corpus(path, **FRACTIONS)


def test_the_same_vocabulary_takes_everything_over(corpus, run, tmp_path):
    trainer = recipes.start(corpus, {**QUICK, "init_from": str(run)}, tmp_path / "run")
    assert trainer.model.config == RunDirectory.open(run).config.model
    assert trainer.model.tokenizer.fingerprint == Tokenizer.load(run / "tokenizer.json").fingerprint
    begun, known = trainer.model.state_dict(), weights_of(run)
    assert all(torch.equal(begun[name], weights) for name, weights in known.items())
    assert f"begun from {run}, 0 words new to it: z of 3" in run_heading(trainer, corpus)


def test_new_words_follow_the_known_ones_and_begin_as_their_mean(run, other, tmp_path):
    options = {**QUICK, "init_from": str(run), "min_count": 4}
    trainer = recipes.start(other, options, tmp_path / "run")
    tokenizer, before = trainer.model.tokenizer, Tokenizer.load(run / "tokenizer.json")
    size = len(before)
    new = tokenizer.decode(range(size, len(tokenizer)))
    assert set(new.split()) == {"zebras", "yodel"}  # the quaggas are seen once
    assert tokenizer.encode(other["train"]["text"][0]) == before.encode(other["train"]["text"][0])
    begun, grown = trainer.model.state_dict(), 0
    for name, weights in weights_of(run).items():
        assert torch.equal(begun[name][: len(weights)], weights), name
        rows = begun[name][len(weights) :]
        grown += len(rows) > 0
        assert torch.equal(rows, weights[4:].mean(0).expand_as(rows)), name
    assert grown == 4  # two embeddings, the output layer's weights and biases
    assert "2 words new to it" in run_heading(trainer, other)
    first = begun["decoder.embedding.weight"][size].clone()
    trainer.fit()
    assert not torch.equal(trainer.model.decoder.embedding.weight[size], first)


def test_no_new_words_where_the_vocabulary_is_full(run, other, tmp_path):
    size = len(Tokenizer.load(run / "tokenizer.json"))
    options = {**QUICK, "init_from": str(run)}
    trainer = recipes.start(other, {**options, "vocab_size": size}, tmp_path / "run")
    assert trainer.model.vocab_size == size
    with pytest.raises(InputError, match=f"vocab_size must be at least {size}, got {size - 1}"):
        recipes.start(other, {**options, "vocab_size": size - 1}, tmp_path / "less")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"latent_dim": 5}, r"latent_dim is 3 in .*run, where this run begins, got 5"),
        ({"tokenizer": "char"}, "tokenizer is 'word' in .*, got 'char'"),
        ({"autoencoder_epochs": 2}, "autoencoder_epochs is 0 in .*, got 2"),
        ({"freeze": "head"}, "freeze must be some of encoder, decoder, embeddings, got 'head'"),
        ({"freeze": "encoder,decoder"}, "freeze must leave something to train"),
        ({"freeze": "encoder", "init_from": None}, "freeze needs init_from"),
        ({"init_from": (1,)}, "init_from must be a string, got"),
    ],
)
def test_what_contradicts_is_refused(corpus, run, tmp_path, wrong, message):
    options = {**QUICK, "init_from": str(run), **wrong}
    with pytest.raises(InputError, match=message):
        next(recipes.phases(corpus, options, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_auxiliary_loss_may_come_or_go(corpus, run, tmp_path):
    with_one = {**QUICK, "init_from": str(run), "bag_of_words": 0.5}
    trainer = recipes.start(corpus, with_one, tmp_path / "with")
    trainer.fit()
    back = recipes.start(
        corpus,
        {**QUICK, "init_from": str(tmp_path / "with"), "bag_of_words": 0.0, "freeze": "decoder"},
        tmp_path / "without",
    )
    begun, known = back.model.state_dict(), weights_of(tmp_path / "with")
    assert {name.split(".")[0] for name in known.keys() - begun.keys()} == {"auxiliaries"}
    assert all(torch.equal(known[name], weights) for name, weights in begun.items())
    back.fit()


def test_the_recipe_gives_way_unless_it_is_named(corpus, run, tmp_path):
    given = {**QUICK, "init_from": str(run), "word_dropout": 0.3}
    options = recipes.chosen(corpus, given)
    assert options["free_bits"] == 8.0
    assert not {"pooling", "bag_of_words", "autoencoder_epochs", "tokenizer"} & {*options}
    trainer = recipes.start(corpus, options, tmp_path / "run")
    assert trainer.model.decoder.word_dropout == 0.3  # dropout may be another
    with pytest.raises(InputError, match=r"pooling is 'last' in .*, got 'max'"):
        recipes.start(corpus, recipes.chosen(corpus, given, "pool"), tmp_path / "other")


@pytest.mark.parametrize(
    ("freeze", "kept"),
    [
        ("encoder", ("encoder.", "head.")),
        ("decoder", ("decoder.",)),
        ("encoder,embeddings", ("encoder.", "head.", "decoder.embedding.")),
    ],
)
def test_what_is_frozen_stays_and_resumes_bit_for_bit(corpus, run, tmp_path, freeze, kept):
    options = {**QUICK, "optimizer": "adam", "init_from": str(run), "freeze": freeze}
    whole = recipes.start(corpus, options, tmp_path / "whole")
    whole.fit()
    begun, ended = weights_of(run), whole.model.state_dict()
    for name, weights in begun.items():
        assert torch.equal(ended[name], weights) == name.startswith(kept), name
    free = [name for name, _ in whole.model.named_parameters() if not name.startswith(kept)]
    assert len(whole.stepper.optimizer.state_dict()["state"]) == len(free)
    assert all(weights.grad is None for weights in whole.model.parameters())

    first = recipes.start(corpus, options, tmp_path / "cut")
    press_in(first, 3)
    with pytest.raises(SafeInterrupt):
        first.fit()
    again = recipes.resume(tmp_path / "cut")
    again.fit()
    assert left_behind(tmp_path / "cut") == left_behind(tmp_path / "whole")
    moments = [plain(each.stepper.optimizer.state_dict()["state"]) for each in (whole, again)]
    assert moments[0] == moments[1]


def test_a_frozen_encoder_gives_the_same_codes(corpus, tmp_path):
    own = {**QUICK, "posterior": "batch-norm", "shared_embedding": True, "encoder_hidden_size": 4}
    first = recipes.start(corpus, {**own, "autoencoder_epochs": 0}, tmp_path / "first")
    first.fit()
    options = {**QUICK, "init_from": str(tmp_path / "first"), "freeze": "encoder"}
    again = recipes.start(corpus, options, tmp_path / "again")
    batch = next(again.valid.epoch(0))
    before = again.model.eval().encode(batch).mean
    again.fit()
    assert torch.equal(again.model.eval().encode(batch).mean, before)


def test_it_needs_the_other_run_until_it_has_a_state_of_its_own(corpus, run, tmp_path):
    shutil.copytree(run, tmp_path / "old")
    options = {**QUICK, "init_from": str(tmp_path / "old"), "max_steps": 2}
    recipes.start(corpus, options, tmp_path / "run")  # and killed before its first step
    trainer = recipes.resume(tmp_path / "run")
    begun = trainer.model.state_dict()
    assert all(torch.equal(begun[name], weights) for name, weights in weights_of(run).items())
    trainer.fit()
    shutil.rmtree(tmp_path / "old")
    again = recipes.resume(tmp_path / "run", {"max_steps": 4})
    assert again.progress.step == 2
    again.fit()
