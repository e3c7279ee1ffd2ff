import json
import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.recipes.making import FRACTIONS, OPTIONS, left_behind
from textvae import grammar, recipes
from textvae.batches import collate
from textvae.checks import InputError
from textvae.corpus import Corpus, DataError, load_corpus
from textvae.generation import reconstruct, sample
from textvae.model import SentenceVAE
from textvae.quality import reconstruction_figures, text_figures
from textvae.recipes import Quality, quality_run


def train(corpus: Corpus, path: Path, **options: Any) -> Path:
    recipes.start(corpus, {**OPTIONS, "max_epochs": 1, **options}, path).fit()
    return path


def perplexity_by_hand(model: SentenceVAE, sentences: list[list[int]], longest: int) -> float:
    """A sentence at a time: exp of the mean over tokens, EOS counted where there is one."""
    nats, num_tokens = 0.0, 0
    for ids in sentences:
        is_cut = len(ids) > longest
        batch = collate([ids[:longest]], truncated=[is_cut])
        with torch.no_grad():
            nats -= float(model.log_likelihood(batch, torch.empty(1, 0)))
        num_tokens += len(ids[:longest]) + (not is_cut)
    return math.exp(nats / num_tokens)


def test_samples_are_measured_beside_as_many_real_sentences(run, corpus):
    before = left_behind(run)
    found = quality_run(run, num_samples=6, seed=3, temperature=0.5)
    training = corpus["train"]["text"][:]
    limit = 2 * (max(len(text.split()) for text in training) + 1)
    options: Any = {"temperature": 0.5, "allow_unknown": True, "max_length": limit + 1}
    samples = sample(SentenceVAE.from_pretrained(run), 6, seed=3, **options)
    cut = [" ".join(text.split()[:limit]) for text in samples]
    assert found.samples == text_figures(cut, training)
    assert found.real.num_sentences == 6
    assert (found.corpus, found.split, found.seed, found.temperature) == ("mine", "test", 3, 0.5)
    assert (found.run, found.perplexities, found.grammatical) == (str(run), None, None)
    assert left_behind(run) == before


def test_all_of_a_split_that_has_no_more(run, corpus):
    found = quality_run(run, num_samples=50)
    model = SentenceVAE.from_pretrained(run)
    unknown = set(model.tokenizer.unknown_words(" ".join(corpus["test"]["text"][:])))
    assert unknown  # so that it shows whether they are taken as the model reads them
    texts = [
        " ".join("<unk>" if word in unknown else word for word in text.split())
        for text in corpus["test"]["text"]
    ]
    assert (found.samples.num_sentences, found.real.num_sentences) == (50, 8)
    expected = text_figures(texts, corpus["train"]["text"][:])
    self_bleu = pytest.approx(expected.self_bleu)  # the order of the sentences is another
    assert replace(found.real, self_bleu=0.0) == replace(expected, self_bleu=0.0)
    assert found.real.self_bleu == self_bleu
    back = reconstruction_figures(reconstruct(model, texts), texts)
    assert vars(found.reconstruction) == pytest.approx(vars(back))


def test_any_split_and_seed(run, corpus, monkeypatch):
    measure = partial(quality_run, run, num_samples=4, split="train")
    train, again, other = (measure(seed=seed) for seed in (0, 0, 1))
    assert train.real.novelty == 0.0  # each of them was trained on
    valid = quality_run(run, num_samples=4, split="valid")
    assert (valid.real.novelty, valid.samples) == (1.0, train.samples)
    assert again == train
    assert (other.samples, other.real) != (again.samples, again.real)
    splits = {"train": corpus["train"], "test": corpus["test"].select([0])}
    small = Corpus("mine", splits, corpus.source, {})
    monkeypatch.setattr("textvae.recipes.loaded.open_corpus", lambda *_: small)
    with pytest.raises(DataError, match="the test split must have at least 2 sentences, got 1"):
        quality_run(run, data_changed=True)


def test_sentences_are_as_long_as_the_run_reads_them(corpus, tmp_path):
    cut = train(corpus, tmp_path / "cut", max_length=4)
    judge = train(corpus, tmp_path / "judge", max_length=4, latent_dim=0)
    found = quality_run(cut, num_samples=20, language_model=judge)
    assert found.real.length_mean == 4
    assert found.samples.length_mean <= 4
    assert found.real.length_distance == 0
    # No training sentence ends, so an end that was made up would be all but impossible.
    model = SentenceVAE.from_pretrained(judge)
    texts = sample(SentenceVAE.from_pretrained(cut), 20, max_length=5, allow_unknown=True, seed=0)
    ids = model.tokenizer.encode_batch(texts)
    assert 5 in map(len, ids)
    by_hand = perplexity_by_hand(model, ids, 4)
    assert found.perplexities.forward == pytest.approx(by_hand, rel=1e-5)


def test_the_embedded_corpus_has_a_grammar(run, language_model, corpus, monkeypatch):
    embedded = Corpus("grammar", corpus.splits, "grammar", {})
    monkeypatch.setattr("textvae.recipes.loaded.open_corpus", lambda *_: embedded)
    drawn = [x.text for x in grammar.sample(3, seed=2)] + ["not a sentence"]
    monkeypatch.setattr("textvae.generation.sample", lambda *_, **__: drawn)
    # Words the model does not know are none of the grammar's.
    assert quality_run(run, num_samples=4).grammatical < 1
    assert quality_run(language_model, num_samples=4).reconstruction is None


def test_perplexities_are_under_the_language_model_given(run, language_model):
    found = quality_run(run, num_samples=10, seed=5, language_model=language_model)
    perplexities = found.perplexities
    assert perplexities.language_model == str(language_model)
    real = recipes.evaluate_run(language_model).evaluation.elbo_ppl
    assert perplexities.real == pytest.approx(real)
    model = SentenceVAE.from_pretrained(language_model)
    texts = sample(SentenceVAE.from_pretrained(run), 10, seed=5, allow_unknown=True)
    by_hand = perplexity_by_hand(model, model.tokenizer.encode_batch(texts), 2 * (20 + 1))
    assert perplexities.forward == pytest.approx(by_hand, rel=1e-4)
    plain = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert list(plain) == list(Quality.__dataclass_fields__)
    assert plain["samples"]["distinct"] == list(found.samples.distinct)
    assert plain["perplexities"] == vars(perplexities)


def test_a_language_model_of_other_sentences(run, corpus, tmp_path):
    path = tmp_path / "other.txt"
    path.write_text("a b c\n" * 30, encoding="utf-8")
    other = train(load_corpus(path, **FRACTIONS), tmp_path / "a", latent_dim=0)
    shorter = train(corpus, tmp_path / "b", latent_dim=0, max_length=5)
    for each in (other, shorter):
        with pytest.raises(InputError, match="language_model must be of the same corpus, read in"):
            quality_run(run, language_model=each)
