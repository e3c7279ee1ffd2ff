"""Text in, text out, and the model with all of it as methods."""

import inspect
import math
from itertools import permutations
from typing import Any

import pytest
import torch

import textvae
import textvae.generation as gen
from tests.generation.conftest import push
from textvae.checks import InputError
from textvae.generation import texts as module
from textvae.model import SentenceVAE
from textvae.quality import reconstruction_figures
from textvae.tokenizer import EOS_ID, UNK_ID

ONE, OTHER, _ = TEXTS = ["the cat sees a dog", "a dog runs", "cats run"]
DRAWN: dict[str, Any] = {"strategy": "sample", "seed": 2}


def test_jitter_gives_five_unless_told(lively_model):
    assert len(gen.jittered_codes(lively_model, ONE)) == len(gen.jitter(lively_model, ONE)) == 5


def test_an_analogy_is_a_sum_of_codes(lively_model, texts):
    for a, b, c in permutations(texts[:4], 3):
        one, other, third = gen.encode(lively_model, [a, b, c]).mean
        z = (one - other + third)[None]
        torch.testing.assert_close(gen.analogy_codes(lively_model, a, b, c), z)
        found = gen.analogy(lively_model, a, b, c, max_length=8)
        assert [found] == gen.generate_text(lively_model, z, max_length=8)


@pytest.mark.parametrize(
    ("function", "given", "options", "message"),
    [
        (gen.aggregate_codes, [2, []], {}, "texts must hold at least one sentence, got 0"),
        (gen.jittered_codes, [ONE], {"scale": -1.0}, r"scale must be in \[0, inf\), got -1\.0"),
        (gen.jittered_codes, [ONE], {"scale": math.nan}, r"scale must be in \[0, inf\), got nan"),
        (gen.path_codes, [ONE, OTHER], {"steps": 1}, "steps must be at least 2, got 1"),
        (gen.traversal_codes, [ONE, -1], {}, "dim must be at least 0 and at most 2, got -1"),
        (gen.traversal_codes, [ONE, 1], {"steps": 1}, "steps must be at least 2, got 1"),
        (gen.traversal_codes, [ONE, 1], {"high": math.inf}, "low must be finite and below high"),
        (gen.analogy_codes, [ONE, "", OTHER], {}, "text 2 must have at least one token, got ''"),
        (gen.attribute_vector, [[ONE], []], {}, "texts must hold at least one sentence, got 0"),
        (gen.shift, [ONE, torch.zeros(1, 3)], {}, r"vector must .* \(3,\), got \(1, 3\)"),
        (gen.shift, [ONE, torch.zeros(3)], {"strength": math.nan}, "strength must be in .* nan"),
        (gen.sample, [2], {"source": "mean"}, "source must be one of prior, aggregate, gaussian, "),
        (gen.sample, [2], {"source": "gmm"}, "texts must be given with .* got 'gmm'"),
        (gen.fitted_codes, [0, TEXTS], {}, "num_sentences must be at least 1, got 0"),
        (gen.fitted_codes, [2, TEXTS], {"components": 3}, "texts must be more than 3 to fit to, g"),
        (gen.direction, [TEXTS] * 3, {"scales": [math.nan]}, "scale must be in .* got nan"),
        (gen.sample, [2], {"source": "aggregate"}, "texts must be given with source"),
        (gen.sample, [2], {"texts": [ONE]}, "texts must be given .* only, got 'prior'"),
        (gen.neighbours, [ONE, [OTHER]], {"metric": "l1"}, "metric must be one of cosine, euclid"),
        (gen.neighbours, [ONE, []], {}, "corpus_texts must hold at least one sentence, got 0"),
        (gen.neighbours, [ONE, [OTHER, ""]], {}, "text 2 must have at least one token, got ''"),
    ],
)
def test_arguments_outside_their_range_are_refused(tiny_model, function, given, options, message):
    with pytest.raises(InputError, match=message):
        function(tiny_model, *given, **options)


@pytest.mark.parametrize(
    ("function", "codes", "given", "shared", "decoding"),
    [
        ("reconstruct", "posterior_codes", [TEXTS], {}, {}),
        ("reconstruct", "posterior_codes", [TEXTS], {"sampled": True, "seed": 2}, DRAWN),
        ("jitter", "jittered_codes", [ONE, 9], {"scale": 3.0, "seed": 2}, DRAWN),
        ("interpolate", "path_codes", TEXTS, {"steps": 4, "method": "spherical"}, {}),
        ("traverse", "traversal_codes", [ONE, 2], {"low": -4.0, "high": 2.0, "steps": 5}, {}),
        ("sample", "prior_codes", [9], {"seed": 2}, {"allow_unknown": False, **DRAWN}),
    ],
)
def test_decoded_are_the_codes_beside(lively_model, function, codes, given, shared, decoding):
    options = shared if function == "sample" else shared | decoding  # its own defaults
    found = getattr(gen, function)(lively_model, *given, max_length=9, **options)
    z = getattr(gen, codes)(lively_model, *given, **shared)
    assert found == gen.generate_text(lively_model, z, max_length=9, **decoding)
    assert len(set(found)) > 1


def test_a_shift_by_the_difference_arrives(lively_model, texts):
    means = gen.encode(lively_model, texts).mean
    back = gen.reconstruct(lively_model, texts, max_length=8)
    assert back[0] != back[2]
    vector = gen.attribute_vector(lively_model, [texts[2]], [texts[0]])
    torch.testing.assert_close(vector, means[2] - means[0])
    both = gen.attribute_vector(lively_model, texts[:2], texts[2:])
    torch.testing.assert_close(both, (means[0] + means[1]) / 2 - means[2:].sum(0) / 4)
    assert gen.shift(lively_model, texts[0], vector, max_length=8) == back[2]
    assert gen.shift(lively_model, texts[0], vector, strength=0.0, max_length=8) == back[0]
    assert gen.shift(lively_model, texts[0], -0.5 * vector, strength=-2, max_length=8) == back[2]


def test_a_direction_is_judged_over_scales(lively_model, monkeypatch):
    """The classifier knows dogs from cats; texts that become one are taken for it."""
    cats, dogs = ["a cat runs"] * 6, ["a dog runs"] * 6
    back = gen.reconstruct(lively_model, [ONE, OTHER], max_length=8)
    found, accuracy = gen.direction(lively_model, cats, dogs, [ONE, OTHER], [1, -2], max_length=8)
    assert accuracy == 1
    assert [each.scale for each in found] == [-2, 0, 1]
    vector = gen.attribute_vector(lively_model, dogs[:1], cats[:1])
    for each in found:
        options = {"strength": each.scale, "max_length": 8}
        moved = [gen.shift(lively_model, text, vector, **options) for text in (ONE, OTHER)]
        assert each.texts == moved
        assert each.bleu == reconstruction_figures(moved, [ONE, OTHER]).bleu
    assert found[1].texts == back
    said = {"cat": "a cat runs", "dog": "a dog runs"}
    for names, taken in ((["cat", "dog"], 0.5), (["dog", "dog"], 1.0), (["cat", "cat"], 0.0)):
        texts = [said[name] for name in names]
        monkeypatch.setattr(module, "generate_text", lambda *_, texts=texts, **__: texts)
        found, _ = gen.direction(lively_model, cats, dogs, [ONE, OTHER], [])
        assert [each.taken for each in found] == [taken]


def test_text_is_bounded_by_default(tiny_model):
    push(tiny_model, EOS_ID, -1e9)
    assert [len(text.split()) for text in gen.sample(tiny_model, 2)] == [200, 200]


def test_samples_have_no_unknown_words_unless_asked(tiny_model):
    push(push(tiny_model, UNK_ID, 1e4), EOS_ID, -1e9)
    for strategy in ("greedy", "sample", "beam"):
        found = gen.sample(tiny_model, 3, max_length=3, strategy=strategy)
        assert "<unk>" not in " ".join(found)
        assert [len(text.split()) for text in found] == [3, 3, 3]
    assert gen.sample(tiny_model, 1, max_length=3, allow_unknown=True) == ["<unk> <unk> <unk>"]
    assert gen.reconstruct(tiny_model, ["a dog"], max_length=2) == ["<unk> <unk>"]


def test_a_language_model_samples_but_does_not_encode(language_model):
    assert gen.prior_codes(language_model, 3).shape == (3, 0)
    assert len(set(gen.sample(language_model, 8, seed=1, max_length=10))) > 1
    assert len(set(gen.sample(language_model, 3, strategy="greedy", max_length=10))) == 1
    with pytest.raises(InputError, match=r"this is a language model \(latent_dim 0\): it has"):
        gen.encode(language_model, [ONE])


def test_a_change_of_label_keeps_z(told):
    own = told.labels.numbered({"number": ["one", "many", "one"], "place": ["here"] * 3})
    z, new = gen.encode(told, TEXTS, labels=own).mean, own.clone()
    new[:, 1] = 1
    back = gen.reconstruct(told, TEXTS, labels=own, label="place=there")
    assert back == [one.text for one in gen.decode(told, z, labels=new)]
    assert back != gen.reconstruct(told, TEXTS, labels=own)
    guess = gen.likeliest_labels(told, TEXTS)
    assert gen.reconstruct(told, TEXTS) == gen.reconstruct(told, TEXTS, labels=guess)
    with pytest.raises(InputError, match=r"^label must be NAME=VALUE for each of number, place"):
        gen.interpolate(told, ONE, OTHER)
    assert len(gen.interpolate(told, ONE, OTHER, label="number=one,place=here")) == 5
    with pytest.raises(InputError, match=r"^label must be NAME=VALUE for each of number, place"):
        gen.complete(told, ONE)


def test_every_function_on_a_model_is_a_method():
    for name, function in vars(gen).items():
        if inspect.isfunction(function) and next(iter(function.__annotations__)) == "model":
            method = {"encode": "encode_texts"}.get(name, name)
            if name != "check_texts":
                assert getattr(gen.TextVAE, method) is function, name
            if name in textvae.__all__:
                assert getattr(textvae, name) is function
    assert textvae.TextVAE is gen.TextVAE


def test_a_saved_model_reads_and_writes(lively_model, tmp_path):
    lively_model.save_pretrained(tmp_path / "run")
    model = gen.TextVAE.from_pretrained(tmp_path / "run")
    assert isinstance(model, SentenceVAE)
    assert not model.training
    path = model.interpolate(ONE, OTHER, steps=7, max_length=9)
    assert path == gen.interpolate(lively_model, ONE, OTHER, steps=7, max_length=9)
    way = model.decode(model.path_codes(ONE, OTHER), max_length=9)
    assert [one.text for one in way] == model.interpolate(ONE, OTHER, max_length=9)
    expected = gen.encode(lively_model, [ONE, OTHER]).mean
    torch.testing.assert_close(model.encode_texts([ONE, OTHER]).mean, expected)
    with pytest.raises(InputError, match="steps must be at least 2, got 1"):
        model.interpolate(ONE, OTHER, steps=1)
