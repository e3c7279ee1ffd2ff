"""Tests of `textvae.explore.session`: what the page shows, without a page."""

import json
import math
import os
import pickle
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import textvae.generation as gen
from textvae.batches import collate
from textvae.checks import InputError
from textvae.config import RunConfig
from textvae.corpus import DataError
from textvae.diagnostics import evaluate
from textvae.explore import Sentences, Session, open_session, read_sentences
from textvae.explore.session import MAX_CHARACTERS, MAX_SAMPLES
from textvae.files import read_json, write_json
from textvae.run import RunDirectory

LIMIT = {"max_length": 7}  # the longest of the six sentences has six tokens, and its end


def test_between_goes_straight_from_one_reconstruction_to_the_other(session, lively, texts):
    first, second = texts[:2]
    ends = gen.reconstruct(lively, [first, second], **LIMIT)
    assert ends[0] != ends[1]
    assert session.between(first, second, 0, 1) == ends
    start, end = gen.encode(lively, [first, second]).mean
    for share in (0.1, 0.5, 0.8):
        z = (start + share * (end - start))[None]
        assert session.between(first, second, share) == gen.generate_text(lively, z, **LIMIT)
    assert session.reconstructed(first) == ends[0]
    assert isinstance(session.reconstructed("a " * 500), str)  # the longest there may be
    assert session.unknown_words("the zebra", "a zebra yawns") == ["zebra", "yawns"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "sentence is empty: type one"),
        (" \t\n", "sentence is empty: type one"),
        ("a " * 501, "sentence must have at most 1000 characters, got 1002"),
        ("a <eos> b", "reserved token <eos>"),
    ],
)
def test_a_text_that_can_not_be_read_is_refused_everywhere(session, texts, text, message):
    for ask in (
        lambda: session.reconstructed(text),
        lambda: session.sliders(text),
        lambda: session.moved(text, [0.0] * 3),
        lambda: session.near(text),
    ):
        with pytest.raises(InputError, match=message):
            ask()
    which = "" if "reserved" in message else "the first "
    with pytest.raises(InputError, match=which + message):
        session.between(text, texts[0], 0.5)
    with pytest.raises(InputError, match=which.replace("first", "second") + message):
        session.between(texts[0], text, 0.5)


def test_a_model_that_is_told_labels(make_lively, texts):
    classes = {"mood": {"asked": 4, "told": 2}, "stars": {"1": 1, "5": 1}}
    model = make_lively(classes=classes)
    columns = {"mood": ["told", "asked"] * 3, "stars": ["5"] * 6, "id": list("abcdef")}
    session = Session(model, Sentences("", texts, columns))
    own = torch.tensor([[1, 1], [0, 1]] * 3)
    assert session.posterior.mean.equal(gen.encode(model, texts, labels=own).mean)
    batch = collate(model.tokenizer.encode_batch(texts), labels=own.numpy())
    evaluation = evaluate(model, [batch], len(texts))
    assert session.diagnosis.elbo.kl == pytest.approx(evaluation.kl)
    guessed = Session(model, Sentences("", texts)).posterior  # no column says it
    assert guessed.mean.equal(gen.encode(model, texts).mean)
    # A text that is typed is read, and written, with what is guessed of it, or asked for.
    (named,) = model.labels.named(gen.likeliest_labels(model, texts[:1]))
    assert session.told(texts[0]) == list(named.values())
    back = gen.reconstruct(model, texts[:2], **LIMIT)
    assert session.between(*texts[:2], 0)[0] == session.reconstructed(texts[0]) == back[0]
    written, z = set(), gen.encode(model, texts[:1]).mean
    for mood, stars in product(*classes.values()):
        found = session.moved(texts[0], session.sliders(texts[0]), [mood, stars])
        label = f"mood={mood},stars={stars}"
        labels = model.labels.changed(None, 1, label)
        assert [found] == gen.generate_text(model, z, labels=labels, **LIMIT)
        written.add(found)
    assert len(written) > 1
    with pytest.raises(InputError, match="label mood must be one of asked, told, got 'sad'"):
        session.moved(texts[0], session.sliders(texts[0]), ["sad", "5"])
    assert session.samples(3) == gen.sample(model, 3, **LIMIT)


def test_the_busiest_dimensions_come_first(make_model, word_tokenizer, texts):
    model = make_model(latent_dim=11, tokenizer=word_tokenizer)
    session = Session(model, Sentences("", texts))
    posterior = gen.encode(model, texts)
    mean, variance = posterior.mean.double().numpy(), posterior.variance.double().numpy()
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance))
    order = sorted(range(11), key=lambda d: -kl.mean(0)[d])
    busiest, kls, lows, highs = zip(*session.dimensions, strict=True)
    assert list(busiest) == order[:9]
    assert kls == pytest.approx(kl.mean(0)[order[:9]], rel=1e-4)
    assert session.kl == pytest.approx(kl.sum(1), rel=1e-4)
    assert list(lows) == np.minimum(-3, np.floor(mean[:, busiest].min(0))).tolist()
    assert list(highs) == np.maximum(3, np.ceil(mean[:, busiest].max(0))).tolist()


def test_a_dimension_is_moved_as_a_traversal_moves_it(session, lively, texts):
    own, mean = session.sliders(texts[0]), gen.encode(lively, texts[:1]).mean[0].tolist()
    for (d, _, low, high), value in zip(session.dimensions, own, strict=True):
        assert value == pytest.approx(min(max(mean[d], low), high), abs=0.026)
    assert session.moved(texts[0], own) == session.reconstructed(texts[0])
    seen = set()
    for at, (dimension, *_) in enumerate(session.dimensions):
        there = gen.traverse(lively, texts[0], dimension, steps=7, **LIMIT)
        found = [session.moved(texts[0], [*own[:at], v, *own[at + 1 :]]) for v in range(-3, 4)]
        assert found == there
        seen.update(found)
    assert len(seen) > 3


def test_the_map_holds_the_two_directions_of_most_variance(session, lively, texts):
    mean = gen.encode(lively, texts).mean.double().numpy()
    variances = np.linalg.eigvalsh(np.cov(mean.T))[::-1]
    points = session.points.double().numpy()
    assert points.mean(0) == pytest.approx([0, 0], abs=1e-4)
    assert np.cov(points.T) == pytest.approx(np.diag(variances[:2]), abs=1e-3 * variances[0])
    assert session.explained == pytest.approx(variances[:2].sum() / variances.sum(), rel=1e-3)
    assert session.lengths == [len(text.split()) for text in texts]


def test_a_map_of_next_to_nothing(make_model, word_tokenizer, texts):
    for latent_dim, number in ((1, 6), (1, 1), (3, 1), (3, 2)):
        model = make_model(latent_dim=latent_dim, tokenizer=word_tokenizer)
        session = Session(model, Sentences("", texts[:number]))
        assert session.points.shape == (number, 2)
        assert session.points[:, 1].abs().max() < 1e-5  # there is but one direction, or none
        assert session.explained == pytest.approx(1)


def test_neighbours_are_the_nearest_others(session, lively, texts):
    wanted = gen.neighbours(lively, texts[2], texts, k=6, metric="euclidean")
    assert wanted[0].text == texts[2]
    found = session.near(f" {texts[2]} ")
    assert [(n.text, n.position) for n in found] == [(n.text, n.position) for n in wanted[1:]]
    assert [n.distance for n in found] == pytest.approx([n.distance for n in wanted[1:]])
    assert len(session.near("the old dog")) == len(texts)


def test_samples_are_those_of_the_command(session, lively):
    for temperature in (0.5, 1.0, 2.0):
        wanted = gen.sample(lively, 5, seed=3, temperature=temperature, **LIMIT)
        assert session.samples(5, temperature=temperature, seed=3) == wanted
    for strategy in ("greedy", "beam"):
        wanted = gen.sample(lively, 5, seed=3, strategy=strategy, **LIMIT)
        # The slider stands somewhere, whatever the strategy.
        found = session.samples(5.0, strategy=strategy, temperature=0.3, seed=3.0)
        assert found == wanted
    assert len(session.samples(MAX_SAMPLES)) == MAX_SAMPLES


@pytest.mark.parametrize(
    ("ask", "allowed", "values"),
    [
        ("share", "from 0 to 1", (-0.01, 1.01, math.nan, None, "half", True)),
        ("slider", r"from -\d+ to \d+", (99.0, math.nan, None)),
        ("number", "from 1 to 50", (0, 51, None)),
        ("temperature", "from 0.1 to 2", (0.0, 2.1, math.nan)),
        ("seed", "from 0 to .*", (-1, None)),
        ("strategy", "one of greedy, sample, beam", ("best",)),
    ],
)
def test_what_is_asked_for_is_bounded(session, ask, allowed, values):
    calls: dict[str, Callable[[Any], Any]] = {
        "share": lambda value: session.between("a dog", "cats run", value),
        "slider": lambda value: session.moved("a dog", [value, 0, 0]),
    }
    for value in values:
        with pytest.raises(InputError, match=rf"must be {allowed}, got '?{value}'?$"):
            calls.get(ask, lambda value: session.samples(**{ask: value}))(value)


def test_the_diagnosis_is_of_the_sentences_of_the_map(session, lively, texts):
    found = session.diagnosis
    ids = session.tokenizer.encode_batch(texts)
    wanted = evaluate(lively, [collate(ids, range(len(ids)))], len(texts), seed=0)
    assert (found.elbo.rec, found.elbo.kl) == pytest.approx((wanted.rec, wanted.kl))
    assert found.elbo.kl == pytest.approx(np.mean(session.kl), rel=1e-4)
    assert (found.elbo.num_sentences, found.nll) == (len(texts), None)
    assert found.elbo.num_tokens == sum(len(text.split()) + 1 for text in texts)
    assert session.diagnosis is found


def test_what_no_session_can_be_made_of(make_model, word_tokenizer, lively):
    language_model = make_model(latent_dim=0, tokenizer=word_tokenizer)
    with pytest.raises(InputError, match="language model"):
        Session(language_model, Sentences("", ["a dog"]))
    with pytest.raises(InputError, match="at least one sentence, got 0"):
        Session(lively, Sentences("", []))
    with pytest.raises(InputError, match="num_sentences must be at least 2, got 1"):
        print(Session(lively, Sentences("", ["a dog"])).diagnosis)


# Which run, which sentences, and what is known of them

RUN = RunDirectory(Path("run"), RunConfig.from_flat("grammar", {}))


def test_all_of_a_file_or_some_the_same_every_time(tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("one\n\n  two  \nthree\n" + "x" * (MAX_CHARACTERS + 1) + "\n")
    found = read_sentences(str(path), RUN)
    assert (found.name, found.texts, found.labels) == ("my", ["one", "two", "three"], {})
    path.write_text("\n".join(f"sentence {i:03}" for i in range(200)))
    texts = read_sentences(str(path), RUN, num_sentences=50).texts
    assert texts == read_sentences(str(path), RUN, num_sentences=50).texts
    assert texts == sorted(set(texts))
    assert (len(texts), texts[-1] > "sentence 150") == (50, True)  # from all over


def test_labels_of_json_lines(tmp_path):
    path = tmp_path / "my.jsonl"
    rows = [
        {"text": "good", "stars": 5, "fun": True, "id": "a", "same": "x", "more": [1], "rare": "r"},
        {"text": " bad ", "stars": 1, "fun": False, "id": "b", "same": "x", "more": [2]},
        {"text": "", "stars": 9, "fun": False, "id": "c", "same": "x", "more": [3]},
    ]
    rows += [{"text": f"so {i}", "stars": 3, "fun": True, "id": f"{i}", "same": "x", "more": []}
             for i in range(11)]  # fmt: skip
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    found = read_sentences(str(path), RUN)
    assert found.texts[:3] == ["good", "bad", "so 0"]
    # Not `id`, of 13 values; nor `same`, of one; nor what is no plain value, or not everywhere.
    assert list(found.labels) == ["stars", "fun"]
    assert found.labels["stars"][:3] == ["5", "1", "3"]
    assert found.labels["fun"][:3] == ["True", "False", "True"]


def test_the_embedded_corpus_brings_its_factors():
    found = read_sentences(None, RUN, num_sentences=40)
    assert "EMBEDDED CORPUS" in found.name
    assert "topic" in found.labels
    assert all(len(values) == 40 for values in found.labels.values())


def test_a_run_is_opened_with_its_held_out_sentences_or_any(run, corpus_file):
    session = open_session(str(run))
    assert (session.name, session.sentences.notice) == ("tiny", "")
    assert session.sentences.name == "sixty, test split"
    assert len(session.sentences.texts) == 3
    assert not session.model.training
    assert session.diagnosis.verdict
    session = open_session(str(run), str(corpus_file), num_sentences=20)
    assert (session.sentences.name, len(session.sentences.texts)) == ("sixty", 20)


def test_a_corpus_that_is_gone_is_made_up_for(run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = moved / "config.json"
    config.write_text(config.read_text().replace("sixty.txt", "gone.txt"))
    session = open_session(str(moved))
    assert "gone.txt" in session.sentences.notice
    assert "sentences of the model's own" in session.sentences.notice
    assert len(session.sentences.texts) > 10
    with pytest.raises(DataError, match="no file or directory"):
        open_session(str(moved), data_dir=str(tmp_path / "nowhere.txt"))


def test_other_sentences_than_trained_on_are_refused_or_told(run, tmp_path):
    moved, path = tmp_path / "moved", tmp_path / "sixty.txt"
    shutil.copytree(run, moved)
    config = read_json(moved / "config.json")
    path.write_text(Path(config["run"]["data_source"]).read_text())
    config["run"]["data_source"] = str(path)
    write_json(moved / "config.json", config)
    assert open_session(str(moved)).sentences.name == "sixty, test split"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(DataError, match=r"the test split of .* is not the one .*--data-changed"):
        open_session(str(moved))
    session = open_session(str(moved), data_changed=True)
    assert session.sentences.name == "sixty, test split (data changed)"
    assert open_session(str(moved), str(path)).sentences.name == "sixty"


def test_what_can_not_be_opened(run, tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "a"}\n{"text": 1}\n')
    with pytest.raises(DataError, match=r"line 2 of .* with a string in 'text'"):
        read_sentences(str(broken), RUN)
    with pytest.raises(InputError, match="either corpus or data_dir can be given, got 'a' and 'b'"):
        read_sentences("a", RUN, data_dir="b")
    with pytest.raises(FileNotFoundError):
        open_session(str(tmp_path / "none"))
    with pytest.raises(DataError, match="no file or directory"):
        open_session(str(run), str(tmp_path / "none.txt"))
    for number in (1, 20_001):
        said = f"num_sentences must be at least 2 and at most 20000, got {number}"
        with pytest.raises(InputError, match=said):
            open_session(str(run), num_sentences=number)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def test_a_strangers_run_executes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        theirs = shutil.copytree(run, tmp_path / name)
        (theirs / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError):  # noqa: PT011 - each file has words of its own
            open_session(str(theirs))
    assert not (tmp_path / "executed").exists()
