"""Tests of `textvae.explore.session`: what the page shows, without a page."""

from __future__ import annotations

import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textvae.corpus import DataError
from textvae.diagnostics import evaluate
from textvae.explore import Sentences, Session, open_session
from textvae.explore.session import MAX_SAMPLES
from textvae.generation import decode, encode, neighbours, reconstruct, sample, traverse
from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer

LIMIT = {"max_length": 7}  # the longest of the six sentences has six tokens, and its end


# sentences


def test_between_goes_straight_from_one_reconstruction_to_the_other(
    session: Session, lively_model: SentenceVAE, texts: list[str]
) -> None:
    first, second = texts[:2]
    ends = reconstruct(lively_model, [first, second], **LIMIT)
    assert ends[0] != ends[1]
    assert [session.between(first, second, share) for share in (0, 1)] == ends
    start, end = encode(lively_model, [first, second]).mu
    for share in (0.1, 0.5, 0.8):
        (found,) = decode(lively_model, (start + share * (end - start))[None], **LIMIT)
        assert session.between(first, second, share) == found.text
    way = session.way(first, second)
    assert way == [session.between(first, second, share / 4) for share in range(5)]
    assert session.reconstructed(first) == ends[0]


def test_what_is_asked_again_is_the_same_and_can_not_be_spoiled(
    session: Session, texts: list[str]
) -> None:
    way = session.way(*texts[:2])
    before = list(way)
    way.clear()
    assert session.way(*texts[:2]) == before
    mean = session.values(texts[0])
    session.moved(texts[0], {d.index: d.low for d in session.dimensions})
    assert session.values(texts[0]) == mean


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan, math.inf, None, "0.5", True])
def test_a_share_is_from_0_to_1(session: Session, texts: list[str], share: Any) -> None:
    with pytest.raises(ValueError, match=r"^share must be from 0 to 1, got "):
        session.between(texts[0], texts[1], share)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: type one"),
        (" \t\n", "is empty: type one"),
        ("a " * 501, "must have at most 1000 characters, got 1002"),
        ("a <eos> b", "reserved token <eos>"),
    ],
)
def test_a_text_that_can_not_be_read_is_refused_everywhere(
    session: Session, texts: list[str], text: str, message: str
) -> None:
    for ask in (
        lambda: session.between(text, texts[0], 0.5),
        lambda: session.between(texts[0], text, 0.5),
        lambda: session.way(texts[0], text),
        lambda: session.reconstructed(text),
        lambda: session.values(text),
        lambda: session.moved(text, {}),
        lambda: session.near(text),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_which_of_two_sentences_is_empty_is_said(session: Session) -> None:
    with pytest.raises(ValueError, match=r"^the first sentence is empty"):
        session.between("", "a dog", 0)
    with pytest.raises(ValueError, match=r"^the second sentence is empty"):
        session.between("a dog", "", 0)


def test_a_thousand_characters_are_allowed(session: Session) -> None:
    assert isinstance(session.reconstructed("a " * 500), str)


def test_unknown_words_are_told_once(session: Session) -> None:
    assert session.unknown_words("the zebra", "a zebra yawns") == ["zebra", "yawns"]


# dimensions


def test_the_busiest_dimensions_come_first(
    make_model: Callable[..., SentenceVAE], word_tokenizer: Tokenizer, texts: list[str]
) -> None:
    model = make_model(word_tokenizer.vocab_size, latent_dim=9, tokenizer=word_tokenizer)
    session = Session(model, Sentences("", texts))
    mu, logvar = (part.double().numpy() for part in encode(model, texts))
    kl = (0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)).mean(0)
    order = sorted(range(9), key=lambda d: -kl[d])
    assert [d.index for d in session.dimensions] == order[:6]
    assert [d.kl for d in session.dimensions] == pytest.approx(kl[order[:6]], rel=1e-4)
    assert session.kl == pytest.approx(kl.sum(), rel=1e-4)
    for dimension in session.dimensions:
        assert dimension.low <= min(-3, mu[:, dimension.index].min())
        assert dimension.high >= max(3, mu[:, dimension.index].max())


def test_a_dimension_is_moved_as_a_traversal_moves_it(
    session: Session, lively_model: SentenceVAE, texts: list[str]
) -> None:
    assert session.moved(texts[0], {}) == session.reconstructed(texts[0])
    seen = set()
    for dimension in session.dimensions:
        there = traverse(lively_model, texts[0], dimension.index, steps=7, **LIMIT)
        found = [session.moved(texts[0], {dimension.index: value}) for value in range(-3, 4)]
        assert found == there
        seen.update(found)
    assert len(seen) > 3


def test_values_are_the_posterior_mean_within_the_range(
    session: Session, lively_model: SentenceVAE
) -> None:
    text = "old old old old"
    mu = encode(lively_model, [text]).mu[0]
    for dimension, value in zip(session.dimensions, session.values(text), strict=True):
        bounded = min(max(float(mu[dimension.index]), dimension.low), dimension.high)
        assert value == pytest.approx(bounded)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({0: 99.0}, r"dimension 0 must be from -\d+ to \d+, got 99"),
        ({0: math.nan}, "dimension 0 must be from .* got nan"),
        ({0: None}, "dimension 0 must be from .* got None"),
        ({7: 0.0}, r"dimension must be one of \d, \d, \d, got 7"),
        ({-1: 0.0}, r"dimension must be one of \d, \d, \d, got -1"),
    ],
)
def test_only_what_is_offered_can_be_moved(
    session: Session, texts: list[str], values: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        session.moved(texts[0], values)


# map and neighbours


def test_the_map_holds_the_two_directions_of_most_variance(
    session: Session, lively_model: SentenceVAE, texts: list[str]
) -> None:
    mu = encode(lively_model, texts).mu.double().numpy()
    variances = np.linalg.eigvalsh(np.cov(mu.T))[::-1]
    found = session.map_of(texts)
    points = np.array(found.points)
    assert points.mean(0) == pytest.approx([0, 0], abs=1e-4)
    assert np.cov(points.T) == pytest.approx(np.diag(variances[:2]), abs=1e-3 * variances[0])
    assert session.explained == pytest.approx(variances[:2].sum() / variances.sum(), rel=1e-3)
    assert found.lengths == [len(text.split()) for text in texts]
    kl = 0.5 * (session.posterior.mu.square() + session.posterior.logvar.exp() - 1)
    kl = (kl - 0.5 * session.posterior.logvar).sum(1)
    assert found.kl == pytest.approx(kl.tolist(), rel=1e-4)


def test_any_sentence_has_its_place_on_the_same_map(session: Session, texts: list[str]) -> None:
    here = session.map_of([texts[3], "the old dog"])
    assert here.points[0] == pytest.approx(session.map_of(texts).points[3], abs=1e-4)
    assert len(here.points) == len(here.kl) == len(here.lengths) == 2


@pytest.mark.parametrize(("latent_dim", "number"), [(1, 6), (1, 1), (3, 1), (3, 2)])
def test_a_map_of_next_to_nothing(
    make_model: Callable[..., SentenceVAE],
    word_tokenizer: Tokenizer,
    texts: list[str],
    latent_dim: int,
    number: int,
) -> None:
    size = word_tokenizer.vocab_size
    model = make_model(size, latent_dim=latent_dim, tokenizer=word_tokenizer)
    session = Session(model, Sentences("", texts[:number]))
    points = session.map_of(session.sentences.texts).points
    assert len(points) == number
    assert all(abs(y) < 1e-5 for _, y in points)  # there is but one direction, or none
    assert session.explained == pytest.approx(1)


def test_neighbours_are_the_nearest_others(
    session: Session, lively_model: SentenceVAE, texts: list[str]
) -> None:
    wanted = neighbours(lively_model, texts[2], texts, k=6, metric="euclidean")
    assert wanted[0].text == texts[2]
    found = session.near(f" {texts[2]} ", 4)
    assert [(n.text, n.position) for n in found] == [(n.text, n.position) for n in wanted[1:5]]
    assert [n.distance for n in found] == pytest.approx([n.distance for n in wanted[1:5]])
    assert len(session.near("the old dog", 50)) == len(texts)
    for k in (0, 51, math.nan):
        with pytest.raises(ValueError, match=r"^k must be from 1 to 50, got "):
            session.near(texts[0], k)


# samples and diagnosis


def test_samples_are_those_of_the_command(session: Session, lively_model: SentenceVAE) -> None:
    for temperature in (0.5, 1.0, 2.0):
        wanted = sample(lively_model, 5, seed=3, temperature=temperature, **LIMIT)
        assert session.samples(5, temperature=temperature, seed=3) == wanted
    for strategy in ("greedy", "beam"):
        wanted = sample(lively_model, 5, seed=3, strategy=strategy, **LIMIT)
        # The slider stands somewhere, whatever the strategy.
        found = session.samples(5.0, strategy=strategy, temperature=0.3, seed=3.0)
        assert found == wanted
    assert len(session.samples(MAX_SAMPLES)) == MAX_SAMPLES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_sentences": 0}, "num_sentences must be from 1 to 50, got 0"),
        ({"num_sentences": 51}, "num_sentences must be from 1 to 50, got 51"),
        ({"num_sentences": None}, "num_sentences must be from 1 to 50, got None"),
        ({"temperature": 0.0}, "temperature must be from 0.1 to 2, got 0.0"),
        ({"temperature": 2.1}, "temperature must be from 0.1 to 2, got 2.1"),
        ({"temperature": math.nan}, "temperature must be from 0.1 to 2, got nan"),
        ({"seed": -1}, "seed must be from 0 to .*, got -1"),
        ({"seed": None}, "seed must be from 0 to .*, got None"),
        ({"strategy": "best"}, "strategy must be one of greedy, sample, beam, got 'best'"),
    ],
)
def test_samples_are_bounded(session: Session, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        session.samples(**options)


def test_the_diagnosis_is_of_the_sentences_of_the_map(
    session: Session, lively_model: SentenceVAE, texts: list[str]
) -> None:
    found = session.diagnosis()
    wanted = evaluate(lively_model, session._batches(), len(texts), seed=0)
    assert (found.elbo.rec, found.elbo.kl) == pytest.approx((wanted.rec, wanted.kl))
    assert found.elbo.kl == pytest.approx(session.kl, rel=1e-4)
    assert (found.elbo.num_sentences, found.nll) == (len(texts), None)
    assert found.elbo.num_tokens == sum(len(text.split()) + 1 for text in texts)
    assert session.diagnosis() is found


def test_one_sentence_is_no_diagnosis(lively_model: SentenceVAE) -> None:
    with pytest.raises(ValueError, match="num_sentences must be at least 2, got 1"):
        Session(lively_model, Sentences("", ["a dog"])).diagnosis()


def test_what_no_session_can_be_made_of(
    make_model: Callable[..., SentenceVAE], word_tokenizer: Tokenizer, lively_model: SentenceVAE
) -> None:
    language_model = make_model(word_tokenizer.vocab_size, latent_dim=0, tokenizer=word_tokenizer)
    with pytest.raises(ValueError, match="language model"):
        Session(language_model, Sentences("", ["a dog"]))
    with pytest.raises(ValueError, match="at least one sentence, got 0"):
        Session(lively_model, Sentences("", []))


# opening


def test_a_run_is_opened_with_its_held_out_sentences(run: Path) -> None:
    session = open_session(str(run))
    assert (session.name, session.notice) == ("tiny", "")
    assert session.sentences.name == "sixty, test split"
    assert len(session.sentences.texts) == 3
    assert not session.model.training
    assert session.diagnosis().verdict


def test_any_corpus_can_be_explored(run: Path, corpus_file: Path) -> None:
    session = open_session(str(run), str(corpus_file), num_sentences=20)
    assert session.sentences.name == "sixty"
    assert len(session.sentences.texts) == 20


def test_a_corpus_that_is_gone_is_made_up_for(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = moved / "config.json"
    config.write_text(config.read_text().replace("sixty.txt", "gone.txt"))
    session = open_session(str(moved))
    assert "gone.txt" in session.notice
    assert "sentences of the model's own" in session.notice
    assert len(session.sentences.texts) > 10
    with pytest.raises(DataError, match="no file or directory"):
        open_session(str(moved), data_dir=str(tmp_path / "nowhere.txt"))


def test_what_can_not_be_opened(run: Path, floor: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_session(str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"floor is a language model \(latent_dim 0\)"):
        open_session(str(floor))
    with pytest.raises(DataError, match="no file or directory"):
        open_session(str(run), str(tmp_path / "none.txt"))
    for number in (1, 20_001):
        with pytest.raises(
            ValueError, match=f"num_sentences must be from 2 to 20000, got {number}"
        ):
            open_session(str(run), num_sentences=number)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_strangers_run_executes_nothing(run: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        theirs = tmp_path / name
        shutil.copytree(run, theirs)
        torch.save(Bomb(mark), theirs / name)
        with pytest.raises(ValueError):  # noqa: PT011 - each file has words of its own
            open_session(str(theirs))
        (theirs / name).write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises(ValueError):  # noqa: PT011
            open_session(str(theirs))
    assert not mark.exists()
