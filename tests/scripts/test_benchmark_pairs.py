"""Tests of `benchmark.py train`, `evaluate` and `scale` on tiny sizes; never a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.scripts.benchmarking import part
from textvae import grammar
from textvae.batches import BatchLoader, EncodedSplit
from textvae.losses import tokens

Run = Callable[..., Any]
QUICK = ["--rounds=1", "--threads=1", "--json=found.json"]


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    splits = grammar.splits(0, train=60, valid=1, test=1)
    file = tmp_path / "some.txt"
    file.write_text("".join(f"{sentence.text}\n" for sentence in splits.train), encoding="utf-8")
    return file


def results(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    return found


def test_train(benchmark: Run, text_file: Path, tmp_path: Path) -> None:
    answer = benchmark("train", f"--data-dir={text_file}", "--steps=4", "--batch-size=5", *QUICK)
    assert (answer.code, answer.err) == (0, "")
    found = results(tmp_path)
    assert [pair["name"] for pair in found["pairs"]] == ["training, fp32", "training, bf16"]
    assert "35 sentences of some (train)" in found["data"]
    for pair in found["pairs"]:
        assert pair["agreement"].startswith("loss ")
        assert pair["ours"]["flops_per_unit"] == pair["reference"]["flops_per_unit"]
        assert pair["ours"]["share_of_limit"] > 0
        assert "growth_over_arithmetic" not in pair
    assert "| of the limit |" in answer.out


def test_only_steps_after_the_warm_up_are_timed(
    benchmark: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, subject = part("train"), part("subject")
    now = 0.0

    class Slow(torch.optim.Adam):
        def step(self, *_: Any) -> None:
            nonlocal now
            now = 10 * now + 1  # 1, 11, 111, …

    monkeypatch.setattr(train.time, "perf_counter", lambda: now)
    monkeypatch.setattr(torch.optim, "Adam", Slow)
    sentences = subject.Sentences([[5] * n for n in range(10)], "somewhere")
    model = subject.new_model()
    loader = BatchLoader(EncodedSplit.from_ids(sentences.ids), batch_size=2)
    tokens = [batch.num_tokens for batch in loader.epoch(0)]
    assert (len(tokens), train.WARM_UP) == (5, 3)
    done = train.our_steps(model, sentences, 2, "fp32")
    assert done == (tokens[3] + tokens[4], 11111 - 111)

    now = 0.0
    usual = train.UsualVAE.like(model)
    torch.manual_seed(3)
    done = train.usual_steps(usual, sentences, 2)
    torch.manual_seed(3)
    order = torch.randperm(10).tolist()
    assert done == (sum(len(sentences.ids[i]) + 1 for i in order[6:]), 11111 - 111)


def test_the_trainer_trains(benchmark: Run) -> None:
    train, subject = part("train"), part("subject")
    sentences = subject.Sentences([[5, 6], [7], [8, 9, 10], [11]], "somewhere")
    model = subject.new_model()
    before = model.decoder.output.weight.clone()
    assert train.our_steps(model, sentences, 1, "fp32").seconds > 0
    assert not before.equal(model.decoder.output.weight)


def test_evaluate(
    benchmark: Run, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "NUM_EXACT", 4)  # else no word of so few would be rounded
    sizes = ["--num-samples=7", "--num-sentences=3", "--num-reference=2"]
    answer = benchmark("evaluate", f"--data-dir={text_file}", *sizes, *QUICK)
    assert (answer.code, answer.err) == (0, "")
    found = results(tmp_path)
    assert [pair["name"] for pair in found["pairs"]] == ["IW-NLL, fp32", "IW-NLL, bf16"]
    assert found["samples"] == "7 of each sentence"
    for pair in found["pairs"]:
        assert pair["agreement"].startswith("NLL at most ")
        assert pair["ours"]["share_of_limit"] > 0
    assert list(found["also"]) == ["fp32 beside fp64", "bf16 beside fp64"]
    fp32, bf16 = (one["largest |Δ|, nats"] for one in found["also"].values())
    assert fp32 < bf16 < 0.01
    assert "\nbf16 beside fp64: mean |Δ|, nats " in answer.out


def test_scale(benchmark: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = part("scale")
    first = scale.Size(20, 4, 2)
    monkeypatch.setattr(scale, "FIRST", first)
    monkeypatch.setattr(scale, "SIZES", [first, first._replace(vocab_size=1020)])
    monkeypatch.setattr(scale, "memory", lambda *_: {"MiB": 1.5})
    answer = benchmark("scale", "--steps=1", *QUICK)
    assert (answer.code, answer.err) == (0, "")
    found = results(tmp_path)
    names = [pair["name"] for pair in found["pairs"]]
    assert names == ["V 20, T 4, B 2", "V 1,020, T 4, B 2"]
    same, larger = found["pairs"]
    assert same["growth_over_arithmetic"] == pytest.approx(1 / same["ratio"])
    more = larger["ours"]["flops_per_unit"] - same["ours"]["flops_per_unit"]
    assert more == pytest.approx(3 * 2 * 8 * 1000)
    growth = larger["reference"]["flops_per_unit"] / larger["ours"]["flops_per_unit"]
    assert larger["growth_over_arithmetic"] == pytest.approx(growth / larger["ratio"])
    assert list(found["also"].values()) == [{"MiB": 1.5}]
    assert "| textvae | V 20, T 4, B 2 | ratio | of the limit | time / arithmetic |" in answer.out


def test_a_step_learns_and_its_memory_is_measured_apart(benchmark: Run) -> None:
    scale = part("scale")
    size = scale.Size(2000, 32, 32)
    batch = scale.synthetic(size)
    assert batch.lengths.tolist() == [32] * 32
    assert int(batch.target_ids[:, :-1].min()) >= 4
    assert int(batch.target_ids.max()) < 2000
    step = scale.training_step(2000, scale.PRECISIONS["fp32"])
    first = step(batch)
    assert min(step(batch) for _ in range(5)) < first  # of one step, z's noise could hide it

    found = scale.memory(size, "fp32")
    assert found["MiB of all scores"] == 32 * 32 * 2000 * 4 / 2**20
    assert 1 < found["MiB"] < 200
    assert found["share"] == found["MiB"] / found["MiB of all scores"]
