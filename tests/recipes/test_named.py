from dataclasses import replace

import pytest
from datasets import Dataset

from textvae.checks import InputError
from textvae.corpus import Corpus
from textvae.recipes import SIZES, chosen, combined, source_and_sizes


@pytest.mark.parametrize(
    ("said", "name", "source"),
    [
        (None, "grammar", "grammar"),
        ("grammar", "grammar", "grammar"),
        ("ptb", "ptb", "ptb"),
        ("ptb:somewhere", "ptb", "ptb:somewhere"),
        ("~/my data", "ptb", "ptb:{home}/my data"),  # a directory of its files
        # Any other has the defaults.
        ("texts/mine.jsonl", "mine", None),
        ("texts/grammar.txt", "grammar", None),  # not the embedded corpus
        ("owner/name", "name", None),  # on the hub
        ("my data/", "my data", None),
        (".", "home", None),
        ("../home/..", "above", None),
    ],
)
def test_a_corpus_and_its_recipe(said, name, source, tmp_path, monkeypatch):
    home = tmp_path / "above" / "home"
    (home / "my data").mkdir(parents=True)
    if source:
        (home / "my data" / "ptb.train.txt").write_text("no it was n't\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    expected = (said, {}) if source is None else (source.format(home=home), SIZES[name])
    assert source_and_sizes(said) == (name, *expected)


def test_recipes_are_put_together_and_later_ones_win():
    together = combined("batch-norm+linear+bow")
    assert together == {**combined("batch-norm"), **combined("linear"), **combined("bow")}
    assert together["annealer"] == "linear"
    with pytest.raises(InputError, match=r"recipe must be one of .*vanilla.*, got 'nonsense'"):
        combined("pool+nonsense")


LENGTHS = [(40, 40, 10.0), (30_000, 13, 6.5), (500_000, 4, 2.0)]


@pytest.mark.parametrize(("num_sentences", "epochs", "warmup"), LENGTHS)
def test_the_size_of_a_corpus_decides(num_sentences, epochs, warmup):
    words = [f"word{i} and word{i}" for i in range(12_000)]
    texts = (words * (num_sentences // len(words) + 1))[:num_sentences]
    corpus = Corpus("mine", {"train": Dataset.from_dict({"text": texts})}, "mine.txt", {})
    options = chosen(corpus, {"latent_dim": 3}, "pool")
    assert (options["max_epochs"], options["warmup_epochs"]) == (epochs, warmup)
    assert options["min_count"] == (2 if num_sentences >= 12_000 else 1)
    assert (options["latent_dim"], options["pooling"]) == (3, "max")
    assert chosen(corpus, {"max_epochs": 2})["max_epochs"] == 2  # what is given wins
    assert chosen(corpus, {}) == chosen(corpus, {}, "default")
    named = chosen(replace(corpus, name="grammar"), {}, "linear")
    assert (named["latent_dim"], named.get("tokenizer")) == (16, None)


@pytest.mark.parametrize(
    ("texts", "tokenizer"),
    [
        (["Is it raw?", "Yes, it is.", "He said “no.”", "no mark at all"], "text"),
        (["it is n't raw , mr. smith said", "the u.s. corp.", "no", "no no"], "word"),
        (["prices rose N % at acme corp.", *["no marks at all"] * 9], "word"),
        (['["a", "b"]', "[60, 62]"], "pre-split"),
        (["C[C@H](N)C", "CCl"], "char"),
    ],
)
def test_the_look_of_sentences_decides_on_the_tokenizer(texts, tokenizer):
    corpus = Corpus("mine", {"train": Dataset.from_dict({"text": texts * 300})}, "mine.txt", {})
    assert chosen(corpus, {})["tokenizer"] == tokenizer
    assert chosen(corpus, {"tokenizer": "bpe"})["tokenizer"] == "bpe"


WRONG = [("batch_size", "3"), ("batch_size", 0), ("pattern", 5), ("lowercase", 1)]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_decides_is_checked_before_it_is_used(name, value):
    corpus = Corpus("mine", {"train": Dataset.from_dict({"text": ["a b"]})}, "mine.txt", {})
    with pytest.raises(InputError, match=f"^{name} must be "):
        chosen(corpus, {"tokenizer": "regex", name: value})


def test_rare_tokens_are_counted_as_the_tokenizer_splits_them():
    # 10,500 words with their punctuation, 5,252 without.
    texts = [f"Word{i // 2}{'.?'[i % 2]}" for i in range(10_500)]
    texts = [f"See {text}" for text in texts]
    corpus = Corpus("mine", {"train": Dataset.from_dict({"text": texts})}, "mine.txt", {})
    options = chosen(corpus, {})
    assert (options["tokenizer"], options["min_count"]) == ("text", 1)
    assert chosen(corpus, {"tokenizer": "word"})["min_count"] == 2
    for given in ({"tokenizer": "bpe"}, {"tokenizer": "regex", "pattern": "log"}):
        assert chosen(corpus, given)["min_count"] == 1
    assert "min_count" not in chosen(corpus, {"tokenizer_file": "mine.json"})
