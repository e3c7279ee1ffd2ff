"""Tests of `scripts/benchmark.py` on tiny models: figures, table and file; never a time."""

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import bench, busy, data, inference, models, scale, train

from tests.able import needs_bf16
from tests.scripts.conftest import TINY_MODEL
from textvae import SentenceVAE, grammar

pytestmark = pytest.mark.usefixtures("tiny_sizes")

Measure = Callable[..., dict[str, Any]]

ELSEWHERE = torch.device("meta")
DECODING = ("--num-sentences=6", "--num-reference=2")


@pytest.fixture
def measure(run: Callable[..., Any], tmp_path: Path) -> Measure:
    """Runs a benchmark; gives what it wrote and, under `told`, what it printed."""

    def measure(*arguments: str) -> dict[str, Any]:
        answer = run("benchmark", *arguments, "--threads=1", "--json=found.json")
        assert (answer.code, answer.err) == (0, "")
        found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
        assert found["benchmark"] == arguments[0]
        return {**found, "told": answer.out}

    return measure


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    splits = grammar.splits(0, train=60, valid=1, test=1)
    lines = [f"{sentence.text}\n" for sentence in splits.train]
    (tmp_path / "some.txt").write_text("".join(lines), encoding="utf-8")
    return "--data-dir=./some.txt"


def test_decode_from_options_to_results(measure):
    found = measure("decode", *DECODING, "--rounds=2")
    assert (found["threads"], found["rounds"], found["precision"]) == (1, 2, "fp32")
    assert f"torch {torch.__version__}" in found["versions"]
    assert "all are cut at 25 tokens (vocab_size 20, " in found["model"]
    names = ["sampling, 6 sentences", "greedy, 6 sentences"]
    assert [pair["name"] for pair in found["pairs"]] == names
    assert [pair["unit"] for pair in found["pairs"]] == ["tokens/s"] * 2
    assert [pair["agreement"] for pair in found["pairs"]] == ["random", "2 of 2 identical"]
    for pair in found["pairs"]:
        for side in (pair["ours"], pair["reference"]):
            assert side["share_of_limit"] > 0
            assert 0 < side["min"] <= side["median"] <= side["max"]

    columns, _, *rows = found["told"].split("\nmedian (least–most):\n\n")[1].splitlines()
    assert columns == "|  | unit | textvae | usual loop | ratio | of the limit | results |"
    for row, pair in zip(rows, found["pairs"], strict=True):
        assert row.startswith(f"| {pair['name']} | {pair['unit']} | ")
        assert row.endswith(f" | {pair['agreement']} |")


def test_decode_with_a_run(measure, tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "some-run")
    found = measure("decode", "--run=some-run", "--max-length=9", *DECODING, "--rounds=1")
    assert found["model"].startswith("some-run (vocab_size 13, ")


@needs_bf16
def test_train(measure, text_file):
    found = measure("train", text_file, "--steps=4", "--batch-size=5", "--rounds=1")
    assert [pair["name"] for pair in found["pairs"]] == ["training, fp32", "training, bf16"]
    assert "35 sentences of some (train)" in found["data"]
    assert found["options"]["batch_size"] == 5
    for pair in found["pairs"]:
        assert pair["agreement"].startswith("loss ")
        assert pair["ours"]["flops_per_unit"] == pair["reference"]["flops_per_unit"]


@needs_bf16
def test_steps(measure, text_file):
    found = measure("steps", text_file, "--steps=2", "--batch-size=5", "--rounds=2")
    assert [pair["name"] for pair in found["pairs"]] == list(train.RUNGS)
    ratios = [pair["ratio"] for pair in found["pairs"]]
    gains = found["also"]["over the rung before"]
    assert list(gains) == list(train.RUNGS)[1:]
    assert list(gains.values()) == [after / before for before, after in pairwise(ratios)]


def test_evaluate(measure, text_file):
    found = measure("evaluate", text_file, "--num-samples=7", *DECODING, "--rounds=1")
    (pair,) = found["pairs"]
    assert pair["name"] == "IW-NLL, fp32"
    assert pair["agreement"].startswith("NLL at most ")
    (error,) = found["also"].values()
    assert 0 < error["mean |Δ|, nats"] <= error["largest |Δ|, nats"] < 0.05


@needs_bf16
def test_scale(measure, monkeypatch):
    first = scale.Size(20, 4, 2)
    monkeypatch.setattr(scale, "FIRST", first)
    monkeypatch.setattr(scale, "SIZES", [first, first._replace(vocab_size=1020)])
    monkeypatch.setattr(scale, "LARGE", scale.Size(20_000, 32, 32))
    found = measure("scale", "--steps=1", "--rounds=1")
    same, larger = found["pairs"]
    assert [same["name"], larger["name"]] == ["V 20, T 4, B 2", "V 1,020, T 4, B 2"]
    assert same["growth_over_arithmetic"] == pytest.approx(1 / same["ratio"])
    more = larger["ours"]["flops_per_unit"] - same["ours"]["flops_per_unit"]
    assert more == pytest.approx(3 * 2 * 8 * 1000)
    (memory,) = found["also"].values()
    assert memory["MiB of all scores"] == 32 * 32 * 20_000 * 4 / 2**20
    assert memory["share"] == memory["MiB"] / memory["MiB of all scores"]


def in_this_process(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def test_memory(measure, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "in_fresh_process", in_this_process)
    monkeypatch.setattr(data, "DRAWN_AT_ONCE", 60)
    sizes = ("--small=100", "--large=150", "--steps=2", "--rounds=1", "--work-dir=work")
    also = measure("memory", *sizes)["also"]
    small, large = also["cached, 100 sentences"], also["cached, 150 sentences"]
    for name, value in also["cached, difference"].items():
        assert value == pytest.approx(large[name] - small[name])
    assert small["read, peak MB"] <= small["first batch, peak MB"] <= small["trained, peak MB"]
    assert small["read, seconds"] < small["first batch, seconds"] < small["trained, seconds"]
    texts = (tmp_path / "work" / "grammar-150.txt").read_text().splitlines()
    assert len(set(texts)) == 150


@needs_bf16
def test_device(measure, text_file, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    sizes = ("--batch-size=4", "--steps=3", "--num-samples=5", "--num-sentences=16", "--rounds=2")
    found = measure("device", text_file, *sizes)
    assert found["device"] == "cpu"
    for name in ("training, fp32", "training, bf16", "IW-NLL, fp32", "sampling, fp32"):
        rates = found["also"].pop(name)
        assert 0 < rates["least"] <= rates["tokens/s"] <= rates["most"]
    assert list(found["also"]) == [f"operators of training steps, {p}" for p in ("fp32", "bf16")]
    for shares in found["also"].values():
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert 0 < sum(shares.values()) <= 1


@pytest.mark.usefixtures("small_grammar")
def test_data(measure, monkeypatch):
    monkeypatch.setattr(data, "in_fresh_process", in_this_process)
    found = measure("data", "--batch-size=8", "--rounds=2")
    assert {pair["name"]: pair["unit"] for pair in found["pairs"]} == {
        "text to first batch, new cache": "tokens/s",
        "text to first batch, cached": "tokens/s",
        "an epoch's batches": "batches/s",
    }
    new, cached, epoch = found["pairs"]
    assert new["agreement"].startswith("the same 40 sentences, ")
    assert epoch["agreement"].startswith("padding ")
    seconds = found["also"]["seconds to the first batch"]
    assert list(seconds) == ["new cache", "cached", "usual loop"]
    ratio = new["ours"]["median"] / cached["ours"]["median"]
    assert seconds["cached"] / seconds["new cache"] == pytest.approx(ratio)
    monkeypatch.setattr(data.usual, "read", lambda texts: ({"train": [[0]]}, {"a": 0}))
    with pytest.raises(RuntimeError, match="don't do the same: other words"):
        data.data(bench.Bench("data", 1, {}))


def test_busy(measure, monkeypatch):
    seen = list[dict[str, str]]()

    def count(*arguments: Any) -> bench.Timed:
        seen.append({k: v for k, v in os.environ.items() if k.startswith(("OMP_", "GOMP_"))})
        return bench.Timed(len(arguments), 1.0)

    monkeypatch.setattr(busy, "in_fresh_process", count)
    before = dict(os.environ)
    found = measure("busy", "--rounds=2", "--vocab-size=30")
    assert os.environ == before
    ways = [busy.OURS, *busy.OTHERS.values()]
    assert seen == [way for other in ways[1:] for way in (ways[0], other) * 2] * 2
    names = [f"{where}, {way}" for where in ("alone", "beside 1") for way in busy.OTHERS]
    assert [pair["name"] for pair in found["pairs"]] == names
    assert busy.train_for(30, 0.01, 1).amount >= 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["decode", "--rounds=0"], "rounds"),
        (["decode", "--threads=0"], "threads"),
        (["decode", "--num-sentences=0"], "num_sentences"),
        (["decode", "--run=./gone"], "gone"),
        (["decode", "--json=gone/found.json"], "no directory gone to write found.json to"),
        (["decode", "--rouns=3"], "rouns"),
        (["train", "--precision=fp8"], "fp8"),
        (["train", "--data-dir=./gone"], "gone"),
        (["train", "--batch-size=100000"], "take a smaller batch-size"),
        (["memory", "--small=none"], "small"),
        (["decoding"], "decode"),  # what there is
        ([], "decode"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_measured(run, arguments, named):
    answer = run("benchmark", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert named in answer.err


def test_the_sides_take_turns_and_shares_are_taken_round_by_round(monkeypatch, capsys):
    now, order = 0.0, list[str]()

    def side(name: str, seconds: float, amount: float, flops: float | None) -> bench.Side:
        def work() -> float:
            nonlocal now
            now += seconds * (1 + len(order) // 2)  # the machine is slower every round
            order.append(name)
            return amount

        return bench.Side(work, flops)

    monkeypatch.setattr(bench.time, "perf_counter", lambda: now)
    monkeypatch.setattr(bench, "matrix_rate", lambda *_: 800 / ((1 + len(order)) // 2))
    found = bench.Bench("b", 3, {})
    found.reference = "first"
    found.compare("p", "x/s", "the same", side("a", 2, 80, 6), side("b", 4, 20, 2))
    assert order == ["a", "b"] * 3
    (figures,) = found.pairs
    assert figures["ours"]["rounds"] == [40, 20, 40 / 3]
    assert figures["reference"]["rounds"] == [5, 2.5, 5 / 3]
    assert figures["ours"]["matrix_flops_per_second"] == pytest.approx(400)
    assert figures["ours"]["share_of_limit"] == pytest.approx(6 * 40 / 800)
    assert figures["reference"]["share_of_limit"] == pytest.approx(2 * 5 / 800)
    # Whatever the machine's speed.
    assert [figures[name] for name in ("ratio", "ratio_min", "ratio_max")] == pytest.approx([8] * 3)
    # Eight units in the time of one, each of three times the arithmetic.
    assert figures["growth_over_arithmetic"] == pytest.approx(1 / (8 * 3))
    row = "| p | x/s | 20 (13.3–40) | 2.5 (1.67–5) | 8 (8–8) | 30% | 0.0417 | the same |"
    assert row in capsys.readouterr().out


def test_the_clock_waits_for_an_accelerator_and_steps_do_not(monkeypatch):
    waits = list[torch.device]()
    monkeypatch.setattr(torch.accelerator, "synchronize", waits.append)
    bench.measured(bench.Side(lambda: 10.0, device=ELSEWHERE))
    assert waits == [ELSEWHERE]
    bench.matrix_rate(torch.float32, ELSEWHERE)
    assert waits == [ELSEWHERE] * 7  # six products
    sentences = [[5] * n for n in range(12)]
    assert train.our_steps(models.new_model(), sentences, 2, "fp32", ELSEWHERE).seconds > 0
    assert waits == [ELSEWHERE] * 9  # when the clock starts and stops, and at no step between


ENCODER = 2 * 3 * 4 * (6 + 4)  # three gates of 4 units, from 6 inputs and 4 units
DECODER = 2 * 4 * 8 * (6 + 8)  # four gates of 8 units; z's part is the same at every token
OUTPUT = 2 * 8 * 20


@pytest.mark.parametrize(
    ("options", "encoder"),
    [
        ({}, ENCODER),
        ({"latent_dim": 0}, 0),
        ({"latent_to": "state"}, ENCODER),
        # The second layer of each direction reads both.
        ({"bidirectional": True, "encoder_num_layers": 2}, 2 * (ENCODER + 2 * 3 * 4 * (8 + 4))),
    ],
)
def test_operations_are_those_counted_by_hand(options, encoder):
    model = SentenceVAE(**{**TINY_MODEL, **options})
    forward = encoder + DECODER + OUTPUT
    assert models.flops_per_token(model) == forward
    assert models.flops_per_token(model, backward=True) == 3 * forward
    assert models.flops_per_token(model, encodings=0.1) == pytest.approx(forward - 0.9 * encoder)


def test_results_that_differ_are_refused():
    assert bench.close("loss", [10.0, 5.0], [10.0, 5.001], 1e-3) == "loss 0.0002 apart"
    for apart in (5.01, float("nan")):
        with pytest.raises(RuntimeError, match=r"do the same: loss .* apart, 0\.001 is allowed"):
            bench.close("loss", [10.0, 5.0], [10.0, apart], 1e-3)
    usual = [[5]] * 100
    assert inference.identical([*usual[1:], [6]], usual) == "99 of 100 identical"
    with pytest.raises(RuntimeError, match="don't do the same: 98 of 100 identical"):
        inference.identical([*usual[2:], [6], [6]], usual)
