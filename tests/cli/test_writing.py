"""Tests of `textvae.cli.writing` and of what its commands share, `textvae.cli.texts`."""

import dataclasses
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.cli.calling import Terminal, call, done
from textvae import generation, recipes
from textvae.batches import collate
from textvae.config import Decoding
from textvae.files import read_json, write_json
from textvae.model import SentenceVAE

ONE, OTHER, THIRD = "the cat sees a dog", "a dog runs", "cats run"
SHORT = "--max-length=12"
TEXTS = {"reconstruct": 2, "interpolate": 2, "traverse": 1, "analogy": 3, "jitter": 1}
EXTRA = {"traverse": ["--dim=1"]}


def scored(model: SentenceVAE, z: Tensor, **options: Any) -> list[dict[str, Any]]:
    """What `--json` says of the sentences of these codes."""
    found = generation.decode(model, z, max_length=12, **options)
    assert model.tokenizer is not None
    return [{"text": one.text, "log_prob": one.log_prob} for one in found]


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ([], {}),
        (["--seed=3"], {"seed": 3}),
        (["--strategy=greedy"], {"strategy": "greedy"}),
        (["--temperature=2", "--top-k=3"], {"temperature": 2.0, "top_k": 3}),
        (["--top-p=0.6"], {"top_p": 0.6}),
        (["--typical-p=0.6"], {"typical_p": 0.6}),
        (["--strategy=beam", "--num-beams=3"], {"strategy": "beam", "num_beams": 3}),
        (["--strategy=beam", "--length-penalty=1"], {"strategy": "beam", "length_penalty": 1.0}),
        (["--min-length=5"], {"min_length": 5}),
        (["--allow-unknown"], {"allow_unknown": True}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_sample(lively, lively_run, flags, options):
    expected = generation.sample(lively, 9, max_length=12, **options)
    plain = call("sample", lively_run, "-n9", SHORT, *flags)
    assert (plain.code, plain.err, plain.lines) == (0, "", expected)
    found = done("sample", lively_run, "-n9", SHORT, *flags, "--json").records
    assert [one["text"] for one in found] == expected
    assert all(one["log_prob"] < 0 for one in found)


def test_every_option_of_decoding_changes_the_samples(lively_run):
    """Else the test above would not notice one that is dropped."""
    command = ("sample", lively_run, "-n40", SHORT)
    flags = ("--seed=3", "--temperature=2", "--top-k=3", "--top-p=0.6", "--typical-p=0.6")
    for flag in (*flags, "--min-length=5", "--allow-unknown"):
        assert call(*command, flag).out != call(*command).out


def test_samples_like_a_corpus(lively, lively_run, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(f"{ONE}\n\n{OTHER}\n  \n", encoding="utf-8")
    said = call("sample", lively_run, "-n9", SHORT, "--like", str(corpus), "--seed=2")
    options: dict[str, Any] = {"source": "aggregate", "seed": 2, "max_length": 12}
    assert said.lines == generation.sample(lively, 9, texts=[ONE, OTHER], **options)
    assert said.out != call("sample", lively_run, "-n9", SHORT, "--seed=2").out
    json_too = call("sample", lively_run, "-n9", SHORT, "--like", str(corpus), "--seed=2", "--json")
    z = generation.aggregate_codes(lively, 9, [ONE, OTHER], seed=2)
    drawing: dict[str, Any] = {"strategy": "sample", "allow_unknown": False, "seed": 2}
    assert json_too.records == scored(lively, z, **drawing)


@pytest.mark.parametrize("source", ["prior", "aggregate", "gaussian", "gmm"])
def test_sample_from_what_is_fitted(trained, trained_floor, fifty, source):
    run, floor = (str(each[0]) for each in (trained, trained_floor))
    model = generation.TextVAE.from_pretrained(run)
    training = recipes.LoadedRun.open(run, "train").corpus["train"]["text"][:]
    texts = None if source == "prior" else training
    expected = model.sample(5, source=source, texts=texts, seed=2, max_length=12)
    command = ("sample", run, "-n5", "--seed=2", SHORT, f"--from={source}")
    said = call(*command, f"--language-model={floor}")
    assert (said.code, said.lines) == (0, expected)
    judge = SentenceVAE.from_pretrained(floor)
    sets = {"prior": model.sample(5, seed=2, max_length=12), source: expected}
    if texts is not None:
        sets["real"] = texts[:5]
        lines = fifty.read_text(encoding="utf-8")
        like = fifty.with_name("like.txt")
        like.write_text("\n".join(texts), encoding="utf-8")
        assert set(texts) < set(lines.splitlines())
        assert call(*command, f"--like={like}").lines == expected
    nll = ", ".join(f"{name} {mean_nll(judge, given):.2f}" for name, given in sets.items())
    assert said.err == f"textvae: NLL under {floor}, nats per sentence: {nll}\n"


def mean_nll(judge: SentenceVAE, texts: list[str]) -> float:
    batch = collate(judge.tokenizer.encode_batch(texts))
    with torch.no_grad():
        return -float(judge.log_likelihood(batch, torch.zeros(len(texts), 0)).mean())


@pytest.mark.parametrize("flags", [[], ["--scale=[1,-0.5]"]], ids=["default", "own"])
def test_direction(lively, lively_run, tmp_path, flags):
    sets = {"from": ["a cat runs"] * 5, "to": ["a dog runs"] * 5, "apply": [ONE, THIRD]}
    for name, texts in sets.items():
        (tmp_path / name).write_text("\n".join(texts), encoding="utf-8")
    files = [f"--{name}={tmp_path / name}" for name in sets]
    plot = tmp_path / "trade.svg"
    said = call("direction", lively_run, *files, *flags, SHORT, f"--plot={plot}")
    scales = (1.0, -0.5) if flags else (0.5, 1.0, 1.5, 2.0)
    found, accuracy = generation.direction(lively, *sets.values(), scales, max_length=12)
    assert said.lines == [f"{k.scale:+g}\t{k.texts[i]}" for i in range(2) for k in found]
    _, *rows, closing = said.err.splitlines()
    assert accuracy == 1
    assert closing.startswith("textvae: the classifier is right on 100.0% of FROM and TO")
    figures = [[f"{v:.2f}" for v in (k.scale, 100 * k.taken, k.bleu)] for k in found]
    assert [row.split()[1:] for row in rows] == figures
    assert plot.read_text(encoding="utf-8").count("<path") > 2
    one, *_ = done("direction", lively_run, *files, *flags, SHORT, "--json").records
    assert one == {"source": ONE, "scale": found[0].scale, "text": found[0].texts[0]}


@pytest.mark.parametrize(
    ("arguments", "codes", "known"),
    [
        (
            ["reconstruct", ONE, OTHER, THIRD],
            lambda model: generation.posterior_codes(model, [ONE, OTHER, THIRD]),
            [{"source": text} for text in (ONE, OTHER, THIRD)],
        ),
        (
            ["reconstruct", "--sampled", "--seed=5", ONE],
            lambda model: generation.posterior_codes(model, [ONE], sampled=True, seed=5),
            [{"source": ONE}],
        ),
        (
            ["traverse", ONE, "--dim=2", "--low=-1", "--high", "2", "--steps=4"],
            lambda model: generation.traversal_codes(model, ONE, 2, low=-1.0, high=2.0, steps=4),
            [{"source": ONE, "dim": 2, "value": value} for value in (-1.0, 0.0, 1.0, 2.0)],
        ),
        (
            ["analogy", ONE, OTHER, THIRD],
            lambda model: generation.analogy_codes(model, ONE, OTHER, THIRD),
            [{"a": ONE, "b": OTHER, "c": THIRD}],
        ),
        (
            ["jitter", ONE, "-n6", "--scale=3", "--seed=2"],
            lambda model: generation.jittered_codes(model, ONE, 6, scale=3.0, seed=2),
            [{"source": ONE}] * 6,
        ),
    ],
    ids=["reconstruct", "sampled", "traverse", "analogy", "jitter"],
)
def test_what_is_written(lively, lively_run, arguments, codes, known):
    command = [arguments[0], lively_run, *arguments[1:], SHORT]
    expected = scored(lively, codes(lively))
    found = done(*command, "--json").records
    assert found == [one | text for one, text in zip(known, expected, strict=True)]
    line = "{value:+.2f}\t{text}" if "traverse" in command else "{text}"
    assert call(*command).lines == [line.format_map(one) for one in found]


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolate(lively, lively_run, method):
    z = generation.path_codes(lively, ONE, OTHER, THIRD, steps=4, method=method)
    path = generation.decode(lively, z, max_length=12)
    texts, changes = [one.text for one in path], generation.changes(path)
    command = ["interpolate", lively_run, ONE, OTHER, THIRD, "--steps=4", SHORT]
    said = call(*command, f"--method={method}")
    assert said.lines == texts
    assert len(texts) == 7
    smoothness = 1 - sum(changes) / 6
    different = f"{len(set(texts))} different sentences of 7"
    assert said.err == f"textvae: smoothness {smoothness:.2f}, {different}\n"
    found = done(*command, f"--method={method}", "--json").records
    assert [one["step"] for one in found] == list(range(7))
    assert [one["text"] for one in found] == texts
    assert [one["distance"] for one in found] == [None, *changes]
    assert [one["log_prob"] for one in found] == [one.log_prob for one in path]


@pytest.mark.parametrize(
    ("text", "flags", "options"),
    [
        ("the cat", [SHORT], {"max_length": 12}),
        ("the _ sees", ["--source=prior", "--rounds=2"], {"source": "prior", "rounds": 2}),
        ("the # #", ["--gap=#", "--seed=3", "--temperature=2"], {"seed": 3, "temperature": 2.0}),
    ],
    ids=["beginning", "gap", "marks"],
)
def test_complete(lively, lively_run, text, flags, options):
    gap = "#" if "#" in text else "_"
    expected = generation.complete(lively, text, 6, gap=gap, **options)
    said = call("complete", lively_run, text, "-n6", *flags)
    assert (said.code, said.err) == (0, "")
    assert said.lines == [f"{one.nll:.2f}\t{one.times}\t{one.text}" for one in expected]
    found = done("complete", lively_run, text, "-n6", *flags, "--json").records
    assert found == [one._asdict() for one in expected]
    said = call("complete", lively_run, f"plugh {text}", "-n1", *flags)
    assert said.err == "textvae: not in the vocabulary, read as <unk>: plugh\n"


@pytest.mark.parametrize("command", TEXTS)
def test_texts_from_anywhere(lively_run, tmp_path, command):
    texts = [ONE, OTHER, THIRD][: TEXTS[command]]
    lines = "\n".join(texts)
    file = tmp_path / "texts"
    # With a byte order mark and Windows' line ends, as some editors write them.
    file.write_bytes(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode() + b"\r\n")
    flags = [*EXTRA.get(command, []), SHORT]
    expected = done(command, lively_run, *texts, *flags)
    assert call(command, lively_run, *flags, *texts) == expected
    assert call(command, lively_run, *flags, stdin=lines + "\n") == expected
    assert call(command, lively_run, "-", *flags, stdin=lines) == expected
    assert call(command, lively_run, *flags, "--input", str(file)) == expected
    assert call(command, lively_run, *flags, "--input=-", stdin=lines) == expected
    said = call(command, lively_run, f"plugh {ONE} xyzzy plugh", *texts[1:], *flags)
    assert "textvae: not in the vocabulary, read as <unk>: plugh xyzzy\n" in said.err


def test_a_corpus_of_unknown_words_is_said_in_short(lively_run, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"the word{i} runs" for i in range(1025)), encoding="utf-8")
    said = call("sample", lively_run, "-n1", SHORT, "--like", str(corpus))
    words = " ".join(f"word{i}" for i in range(20)) + " … and 1,005 more"
    assert said.err == f"textvae: not in the vocabulary, read as <unk>: {words}\n"


def test_who_types_is_told_what_is_waited_for(lively_run, monkeypatch):
    monkeypatch.setattr("io.StringIO", Terminal)
    said = call("reconstruct", lively_run, SHORT, stdin=f"{ONE}\n")
    assert (said.code, len(said.lines)) == (0, 1)
    assert "textvae: sentences, one a line, and Ctrl-D at the end:\n" in said.err


OLDER = {"longest_sentence": None, "run": {"data": {"max_length": 4}}}


@pytest.mark.parametrize("noted", [{}, OLDER])
def test_as_long_as_in_training(short_run, tmp_path, noted):
    run = shutil.copytree(short_run, tmp_path / "run")
    config = read_json(run / "config.json")
    write_json(run / "config.json", config | noted)
    done("reconstruct", str(run), "the cat sees a", SHORT)
    refused = call("reconstruct", str(run), ONE, SHORT)
    assert "text 1 must have at most 4 tokens, as in training, got 5" in refused.err


COMMANDS = ["sample", *TEXTS, "complete", "direction", "encode", "neighbours"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command):
    answer = call(command, "--help")
    text = " ".join(answer.out.split())
    assert answer.code == 0
    assert f"example: textvae {command} runs/" in text
    for field in dataclasses.fields(Decoding):
        if field.name != "forbidden" and command not in ("encode", "neighbours"):
            assert f"--{field.name.replace('_', '-')}" in text
            assert field.metadata["help"] in text
