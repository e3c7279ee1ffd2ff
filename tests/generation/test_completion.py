"""Completing sentences, held to the enumeration of all fillings."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import textvae.generation as gen
from textvae.batches import collate
from textvae.checks import InputError
from textvae.diagnostics import importance_nll
from textvae.model import SentenceVAE
from textvae.tokenizer import UNK_ID

TOKENS = range(4, 13)  # what may fill a gap: no special token


def fillings(model: SentenceVAE) -> list[list[int]]:
    """All ways to fill `the _ sees a dog`."""
    before, after = model.tokenizer.encode("the"), model.tokenizer.encode("sees a dog")
    return [[*before, token, *after] for token in TOKENS]


def found_shares(model: SentenceVAE, **options: Any) -> Tensor:
    """How often each filling comes of 1,000 chains."""
    found = gen.complete(model, "the _ sees a dog", 1000, **options)
    counts = {one.text: one.times for one in found}
    assert sum(counts.values()) == 1000
    assert [one.nll for one in found] == sorted(one.nll for one in found)
    texts = model.tokenizer.decode_batch(fillings(model))
    assert counts.keys() <= {*texts}
    return torch.tensor([counts.get(text, 0) for text in texts]) / 1000


def at_most_apart(shares: Tensor, expected: Tensor, deviations: float) -> None:
    assert ((shares - expected).abs() < deviations * (expected / 1000).sqrt() + 1e-3).all()


def posteriors_of(model: SentenceVAE, *, mean: float, logvar: float) -> SentenceVAE:
    """The model with posterior means of so much their size, and one variance for all."""
    with torch.no_grad():
        for parameter in model.head.mu.parameters():
            parameter.mul_(mean)
        model.head.logvar.weight.zero_()
        model.head.logvar.bias.fill_(logvar)
    return model


def test_a_gap_is_filled_as_the_same_z_has_it(lively_model):
    model = posteriors_of(lively_model, mean=1.0, logvar=-40.0)  # every draw is the mean
    z = gen.encode(model, ["the <unk> sees a dog"]).mean.expand(len(TOKENS), -1)
    expected = model.log_likelihood(collate(fillings(model)), z).softmax(0).detach()
    assert expected.max() < 0.9
    at_most_apart(found_shares(model, rounds=0), expected, 4)
    best = model.tokenizer.decode(fillings(model)[int(expected.argmax())])
    ((text, _, times),) = gen.complete(model, "the _ sees a dog", 4, rounds=0, strategy="greedy")
    assert (text, times) == (best, 4)


def test_a_model_is_told_its_labels_all_along(told):
    model, label = posteriors_of(told, mean=1.0, logvar=-40.0), "number=one,place=there"
    labels = torch.tensor([[1, 1]])
    z = gen.encode(model, ["the <unk> sees a dog"], labels=labels).mean.expand(len(TOKENS), -1)
    batch = collate(fillings(model), labels=labels.expand(len(TOKENS), -1).numpy())
    expected = model.log_likelihood(batch, z).softmax(0).detach()
    at_most_apart(found_shares(model, rounds=0, label=label), expected, 4)
    (best,) = gen.complete(model, "the _ sees a dog", 9, label=label, rounds=0, strategy="greedy")
    batch = collate([model.tokenizer.encode(best.text)], labels=labels.numpy())
    assert best.nll == pytest.approx(importance_nll(model, [batch], num_samples=100).nll, abs=1e-4)
    begun = gen.complete(model, "the old", 9, label=label, max_length=8)
    assert {one.text[:7] for one in begun} == {"the old"}
    other = gen.complete(model, "the old", 9, label="number=many,place=here", max_length=8)
    assert [one.text for one in begun] != [one.text for one in other]


@pytest.mark.parametrize("source", ["posterior", "prior"])
def test_many_rounds_end_in_what_the_model_says_of_a_gap(tiny_model, source):
    """Whatever z the chains begin with: p(gap | rest), z integrated out."""
    model = posteriors_of(tiny_model, mean=0.2, logvar=-0.3)
    nll = importance_nll(model, [collate(fillings(model))], num_samples=4000)
    expected = (-nll.per_sentence).softmax(0).float()
    shares = found_shares(model, rounds=7, source=source, seed=1)
    at_most_apart(shares, expected, 4)
    begun = found_shares(model, rounds=0, source=source, seed=1)
    assert (begun - expected).abs().sum() > 2 * (shares - expected).abs().sum()


def test_several_gaps_words_unknown_and_marks_of_ones_own(lively_model):
    for text, mark in (
        ("a _ sees _ dog", "_"),
        ("a <unk> sees # dog", "#"),
        ("a zebra sees _", "_"),
    ):
        for text_found, nll, _ in gen.complete(lively_model, text, 6, gap=mark, seed=3):
            words = text_found.split()
            assert [words[0], words[2]] == ["a", "sees"]
            assert UNK_ID not in lively_model.tokenizer.encode(text_found)
            assert math.isfinite(nll)


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_a_beginning_is_kept(lively_model, language_model, strategy):
    for model in (lively_model, language_model):
        found = gen.complete(model, "a dog zebra", 9, strategy=strategy, max_length=8)
        assert {one.text[:11] for one in found} == {"a dog <unk>"}
        assert sum(one.times for one in found) == 9
        assert found == gen.complete(model, "a dog zebra", 9, strategy=strategy, max_length=8)


def test_a_sentence_that_is_cut_is_not_said_to_end(language_model):
    for one in gen.complete(language_model, "a dog", 9, max_length=4):
        ids = language_model.tokenizer.encode(one.text)
        batch = collate([ids], truncated=[len(ids) == 4])
        expected = -language_model.log_likelihood(batch, torch.zeros(1, 0)).item()
        assert one.nll == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_decoding_goes_on_from_a_prefix(lively_model, strategy):
    z = gen.prior_codes(lively_model, 9, seed=1)
    options: dict[str, Any] = {"strategy": strategy, "max_length": 12}
    if strategy == "greedy":
        whole = gen.decode(lively_model, z[:1], **options)[0]
        (rest,) = gen.decode(lively_model, z[:1], prefix=whole.ids[:2], **options)
        assert rest.ids == whole.ids
    prefix = lively_model.tokenizer.encode("the old")
    found = gen.decode(lively_model, z, prefix=prefix, **options)
    assert len({one.text for one in found}) > 1
    cut = [len(one.ids) == 12 for one in found]
    batch = collate([one.ids for one in found], truncated=cut)
    with torch.no_grad():
        whole_log_prob = lively_model.log_likelihood(batch, z)
        begun = lively_model.log_likelihood(collate([prefix] * 9, truncated=[True] * 9), z)
    assert {tuple(one.ids[:2]) for one in found} == {tuple(prefix)}
    expected = (whole_log_prob - begun).tolist()
    assert [one.log_prob for one in found] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "text must have tokens, and the mark of a gap '_', got ''"),
        ("a dog", {"gap": ""}, "the mark of a gap '', got 'a dog'"),
        ("a _", {"source": "mean"}, "source must be one of posterior, prior, got 'mean'"),
        ("a _", {"rounds": -1}, "rounds must be at least 0, got -1"),
        ("a _", {"num_sentences": 0}, "num_sentences must be at least 1, got 0"),
        ("a <eos> _", {}, "contains the reserved token <eos>"),
        ("a _", {"forbidden": [*range(4, 13)]}, "forbidden must leave at least one token"),
    ],
)
def test_what_cannot_be_completed(tiny_model, text, options, message):
    with pytest.raises(InputError, match=message):
        gen.complete(tiny_model, text, **options)
