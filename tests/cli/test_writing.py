"""Tests of `textvae.cli.writing` and of what its commands share, `textvae.cli.sentences`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.cli.calling import Terminal, call
from textvae import generation
from textvae.batches import Batch
from textvae.config import Decoding
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


def objects(said: Any) -> list[dict[str, Any]]:
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.lines]


# What comes out is what the functions give.


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ([], {}),
        (["--seed=3"], {"seed": 3}),
        (["--strategy=greedy"], {"strategy": "greedy"}),
        (["--temperature=2", "--top-k=3"], {"temperature": 2.0, "top_k": 3}),
        (["--top-p=0.6"], {"top_p": 0.6}),
        (["--typical-p=0.6"], {"typical_p": 0.6}),
        (
            ["--strategy=beam", "--num-beams=3", "--length-penalty=1"],
            {"strategy": "beam", "num_beams": 3, "length_penalty": 1.0},
        ),
        (["--min-length=5"], {"min_length": 5}),
        (["--allow-unknown"], {"allow_unknown": True}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_sample(
    lively: SentenceVAE, lively_run: str, flags: list[str], options: dict[str, Any]
) -> None:
    expected = generation.sample(lively, 9, max_length=12, **options)
    plain = call("sample", lively_run, "-n9", SHORT, *flags)
    assert (plain.code, plain.err, plain.lines) == (0, "", expected)
    found = objects(call("sample", lively_run, "-n9", SHORT, *flags, "--json"))
    assert [one["text"] for one in found] == expected
    assert all(one["log_prob"] < 0 for one in found)


def test_every_option_of_decoding_changes_the_samples(lively_run: str) -> None:
    """Else the test above would not notice one that is dropped."""
    usual = call("sample", lively_run, "-n40", SHORT).out
    for flag in ("--seed=3", "--temperature=2", "--top-k=3", "--top-p=0.6", "--typical-p=0.6"):
        assert call("sample", lively_run, "-n40", SHORT, flag).out != usual
    for flag in ("--min-length=5", "--allow-unknown"):
        assert call("sample", lively_run, "-n40", SHORT, flag).out != usual


def test_samples_like_a_corpus(lively: SentenceVAE, lively_run: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(f"{ONE}\n\n{OTHER}\n  \n", encoding="utf-8")
    said = call("sample", lively_run, "-n9", SHORT, "--like", str(corpus), "--seed=2")
    options: dict[str, Any] = {"source": "aggregate", "seed": 2, "max_length": 12}
    assert said.lines == generation.sample(lively, 9, texts=[ONE, OTHER], **options)
    assert said.out != call("sample", lively_run, "-n9", SHORT, "--seed=2").out
    json_too = call("sample", lively_run, "-n9", SHORT, "--like", str(corpus), "--seed=2", "--json")
    z = generation.aggregate_codes(lively, 9, [ONE, OTHER], seed=2)
    drawing: dict[str, Any] = {"strategy": "sample", "allow_unknown": False, "seed": 2}
    assert objects(json_too) == scored(lively, z, **drawing)


def test_reconstruct(lively: SentenceVAE, lively_run: str) -> None:
    texts = [ONE, OTHER, THIRD]
    plain = call("reconstruct", lively_run, *texts, SHORT)
    assert plain.lines == generation.reconstruct(lively, texts, max_length=12)
    drawn = call("reconstruct", lively_run, "--sampled", "--seed=5", SHORT, *texts)
    assert drawn.lines == generation.reconstruct(lively, texts, sampled=True, seed=5, max_length=12)
    assert drawn.lines != plain.lines
    found = objects(call("reconstruct", lively_run, *texts, SHORT, "--json"))
    assert [one["source"] for one in found] == texts
    assert [one["text"] for one in found] == plain.lines


def test_log_prob_is_the_models_own(
    lively: SentenceVAE, lively_run: str, make_batch: Callable[..., Batch]
) -> None:
    assert lively.tokenizer is not None
    found = objects(call("reconstruct", lively_run, ONE, OTHER, THIRD, "--max-length=50", "--json"))
    ended = [one for one in found if len(one["text"].split()) < 50]
    assert ended
    for one in ended:
        ids = lively.tokenizer.encode_batch([one["source"], one["text"]])
        with torch.no_grad():
            mu = lively.encode(make_batch(ids[:1])).mu
            expected = lively.log_likelihood(make_batch(ids[1:]), mu)
        assert one["log_prob"] == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolate(lively: SentenceVAE, lively_run: str, method: str) -> None:
    z = generation.path_codes(lively, ONE, OTHER, THIRD, steps=4, method=method)
    path = generation.decode(lively, z, max_length=12)
    texts, changes = [one.text for one in path], generation.changes(path)
    command = ["interpolate", lively_run, ONE, OTHER, THIRD, "--steps=4", SHORT]
    said = call(*command, f"--method={method}")
    assert said.lines == texts
    assert len(texts) == 7
    smoothness = 1 - sum(changes) / 6
    assert said.err == (
        f"textvae: smoothness {smoothness:.2f}, {len(set(texts))} different sentences of 7\n"
    )
    found = objects(call(*command, f"--method={method}", "--json"))
    assert [one["step"] for one in found] == list(range(7))
    assert [one["text"] for one in found] == texts
    assert [one["distance"] for one in found] == [None, *changes]
    assert [one["log_prob"] for one in found] == [one.log_prob for one in path]


def test_sentences_are_decoded_once(lively_run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, inner = [], SentenceVAE.initial_state

    def initial_state(model: SentenceVAE, z: Tensor) -> Any:
        decoded.append(len(z))
        return inner(model, z)

    monkeypatch.setattr(SentenceVAE, "initial_state", initial_state)
    objects(call("interpolate", lively_run, ONE, OTHER, "--steps=4", SHORT, "--json"))
    assert decoded == [4]


def test_traverse(lively: SentenceVAE, lively_run: str) -> None:
    expected = generation.traverse(lively, ONE, 2, low=-1.0, high=2.0, steps=4, max_length=12)
    command = ["traverse", lively_run, ONE, "--dim=2", "--low=-1", "--high", "2", "--steps=4"]
    values = ["-1.00", "+0.00", "+1.00", "+2.00"]
    said = call(*command, SHORT)
    assert said.lines == [f"{v}\t{text}" for v, text in zip(values, expected, strict=True)]
    z = generation.traversal_codes(lively, ONE, 2, low=-1.0, high=2.0, steps=4)
    assert objects(call(*command, SHORT, "--json")) == [
        {"source": ONE, "dim": 2, "value": value, **one}
        for value, one in zip((-1.0, 0.0, 1.0, 2.0), scored(lively, z), strict=True)
    ]


def test_analogy(lively: SentenceVAE, lively_run: str) -> None:
    expected = generation.analogy(lively, ONE, OTHER, THIRD, max_length=12)
    assert call("analogy", lively_run, ONE, OTHER, THIRD, SHORT).lines == [expected]
    assert objects(call("analogy", lively_run, ONE, OTHER, THIRD, SHORT, "--json")) == [
        {"a": ONE, "b": OTHER, "c": THIRD, **one}
        for one in scored(lively, generation.analogy_codes(lively, ONE, OTHER, THIRD))
    ]


def test_jitter(lively: SentenceVAE, lively_run: str) -> None:
    expected = generation.jitter(lively, ONE, 6, scale=3.0, seed=2, max_length=12)
    command = ["jitter", lively_run, ONE, "-n6", "--scale=3", "--seed=2", SHORT]
    assert call(*command).lines == expected
    z = generation.jittered_codes(lively, ONE, 6, scale=3.0, seed=2)
    assert objects(call(*command, "--json")) == [{"source": ONE, **x} for x in scored(lively, z)]
    assert len(set(expected)) > 1


# Where texts come from


@pytest.mark.parametrize("command", TEXTS)
def test_texts_from_anywhere(lively_run: str, tmp_path: Path, command: str) -> None:
    texts = [ONE, OTHER, THIRD][: TEXTS[command]]
    lines = "\n".join(texts)
    file = tmp_path / "texts"
    # With a byte order mark and Windows' line ends, as some editors write them.
    file.write_bytes(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode() + b"\r\n")
    flags = [*EXTRA.get(command, []), SHORT]
    expected = call(command, lively_run, *texts, *flags)
    assert expected.code == 0
    assert call(command, lively_run, *flags, *texts) == expected
    assert call(command, lively_run, *flags, stdin=lines + "\n") == expected
    assert call(command, lively_run, "-", *flags, stdin=lines) == expected
    assert call(command, lively_run, *flags, "--input", str(file)) == expected
    assert call(command, lively_run, *flags, "--input=-", stdin=lines) == expected


def test_unknown_words_are_said(lively_run: str) -> None:
    for command, count in TEXTS.items():
        texts = [f"plugh {ONE} xyzzy plugh", *[ONE] * (count - 1)]
        said = call(command, lively_run, *texts, *EXTRA.get(command, []), SHORT)
        assert said.code == 0
        assert "textvae: not in the vocabulary, read as <unk>: plugh xyzzy\n" in said.err


def test_a_corpus_of_unknown_words_is_said_in_short(lively_run: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"the word{i} runs" for i in range(1025)), encoding="utf-8")
    said = call("sample", lively_run, "-n1", SHORT, "--like", str(corpus))
    words = " ".join(f"word{i}" for i in range(20))
    assert said.err == (
        f"textvae: not in the vocabulary, read as <unk>: {words}\ntextvae: … and 1,005 more\n"
    )


def test_who_types_is_told_what_is_waited_for(
    lively_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("io.StringIO", Terminal)
    said = call("reconstruct", lively_run, SHORT, stdin=f"{ONE}\n")
    assert (said.code, len(said.lines)) == (0, 1)
    assert "textvae: sentences, one a line, and Ctrl-D at the end:\n" in said.err


# Wrong input


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("sample RUN -n 0", "num_sentences must be at least 1, got 0"),
        ("sample RUN --temperature 0", "temperature must be in (0, inf), got 0.0"),
        ("sample RUN --strategy beams", "strategy"),
        ("sample RUN --top-k many", "top_k"),
        ("sample RUN --num-beams 3", "num_beams is an option of strategy 'beam' only, got"),
        ("sample RUN --min-length 9 --max-length 5", "min_length must be at most max_length (5)"),
        ("sample RUN --like gone.txt", "No such file or directory: 'gone.txt'"),
        ("sample RUN --like BLANK", "must hold at least one sentence, got empty lines only"),
        ("sample RUN --like RESERVED", "contains the reserved token <eos>"),
        ("sample NOWHERE", "no run directory at 'NOWHERE'"),
        ("reconstruct RUN", "standard input is empty: it must hold at least one sentence, a line"),
        ("reconstruct RUN -", "standard input is empty"),
        ("reconstruct RUN EMPTY", "text 1 must have at least one token, got ''"),
        ("reconstruct RUN --input BLANK", "text 1 must have at least one token, got ''"),
        ("reconstruct RUN --input NOTHING", "is empty: it must hold at least one sentence"),
        ("reconstruct RUN --input LATIN", "is not UTF-8: invalid"),
        ("reconstruct RUN --input gone.txt", "No such file or directory: 'gone.txt'"),
        ("reconstruct RUN --input .", "Is a directory"),
        ("reconstruct RUN a --input GOOD", "texts must be arguments or --input, got both"),
        ("reconstruct RUN <eos>", "text 1 contains the reserved token <eos>"),
        ("reconstruct RUN a --top-k 3", "top_k is an option of strategy 'sample' only"),
        ("reconstruct SHORT a LONG", "text 2 must have at most 4 tokens, as in training, got 5"),
        ("interpolate RUN a", "texts must be at least 2 sentences (both ends), got 1"),
        ("interpolate RUN a b --method cubic", "method must be one of linear, spherical, got"),
        ("traverse RUN a", "traverse.dim"),
        ("traverse RUN a b --dim 1", "texts must be 1 in number, got 2"),
        ("traverse RUN a --dim 3", "dim must be at least 0 and at most 2, got 3"),
        ("traverse RUN a --dim 1 --low 3", "low must be finite and below high, got 3.0 and 3.0"),
        ("analogy RUN a b", "texts must be 3 in number, got 2"),
        ("jitter RUN a -n 0", "num_sentences must be at least 1, got 0"),
        ("jitter RUN a --paint", "paint"),
    ],
)
def test_wrong_input(
    lively_run: str,
    short_run: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "GOOD": f"{ONE}\n".encode(),
        "BLANK": b"\n  \n",
        "NOTHING": b"",
        "RESERVED": b"the cat\n\na dog <eos>\n",
        "LATIN": b"the caf\xe9\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = {"RUN": lively_run, "SHORT": short_run, "EMPTY": "", "LONG": ONE}
    answer = call(*(names.get(argument, argument) for argument in arguments.split()))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


@pytest.mark.parametrize("command", TEXTS)
def test_a_language_model_has_no_latent_code(language_run: str, command: str) -> None:
    texts = [ONE, OTHER, THIRD][: TEXTS[command]]
    answer = call(command, language_run, *texts, *EXTRA.get(command, []))
    assert (answer.code, answer.out) == (2, "")
    assert "this is a language model (latent_dim 0): it has no latent code" in answer.err


def test_a_language_model_writes(language_run: str) -> None:
    assert len(objects(call("sample", language_run, "-n3", SHORT, "--json"))) == 3


def test_what_the_model_saw_is_no_longer_than_it_says(short_run: str) -> None:
    assert call("reconstruct", short_run, "the cat sees a", SHORT).code == 0


# Help


@pytest.mark.parametrize("command", ["sample", *TEXTS])
def test_help_teaches_with_an_example(command: str) -> None:
    answer = call(command, "--help")
    text = " ".join(answer.out.split())
    assert answer.code == 0
    assert f"example: textvae {command} runs/" in text
    for field in dataclasses.fields(Decoding):
        if field.name != "forbidden":
            assert f"--{field.name.replace('_', '-')}" in text
            assert field.metadata["help"] in text
