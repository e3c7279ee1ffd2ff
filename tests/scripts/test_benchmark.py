"""Tests of `scripts/benchmark.py` on tiny models: the loops, the table, the file; never a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.scripts.benchmarking import TINY, part
from tests.scripts.running import SCRIPTS
from textvae.generation import decode, decode_scored
from textvae.model import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID

QUICK = ["--num-sentences=6", "--num-reference=2", "--rounds=1", "--threads=1"]

Run = Callable[..., Any]


@pytest.fixture
def run(benchmark: Run) -> Run:
    return benchmark


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture
def model(tiny_model: SentenceVAE) -> SentenceVAE:
    """Sentences of it end, some early, some late; padding and BOS never come."""
    part("decode").silence(tiny_model, PAD_ID, BOS_ID)
    with torch.no_grad():
        tiny_model.decoder.output.bias[EOS_ID] += 2
    return tiny_model


@pytest.fixture
def z(model: SentenceVAE) -> Tensor:
    return torch.randn(40, model.latent_dim, generator=torch.Generator().manual_seed(1))


def test_decode_from_options_to_results(run: Run, tmp_path: Path) -> None:
    answer = run("decode", *QUICK, "--rounds=2", "--json=found.json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {
        "benchmark", "machine", "versions", "threads", "precision", "rounds", "model", "codes",
        "usual loop", "tokens", "pairs", "also",
    }  # fmt: skip
    assert (found["benchmark"], found["precision"]) == (
        "decode",
        "fp32 and bf16; the usual loop's is fp32",
    )
    assert (found["threads"], found["rounds"]) == (1, 2)
    assert f"torch {torch.__version__}" in found["versions"]
    assert "random weights" in found["model"]
    assert "all are cut at 25 tokens" in found["model"]
    assert "vocab_size 20" in found["model"]

    names = ["sampling, 6 sentences", "greedy, 6 sentences", "beam of 5, 3 sentences"]
    assert [pair["name"] for pair in found["pairs"]] == [
        f"{name}, {precision}" for precision in ("fp32", "bf16") for name in names
    ]
    assert [p["unit"] for p in found["pairs"]] == ["tokens/s", "tokens/s", "sentences/s"] * 2
    for pair in found["pairs"]:
        assert {"agreement", "ratio", "ratio_min", "ratio_max"} < set(pair)
        ratios = [
            a / b for a, b in zip(pair["ours"]["rounds"], pair["reference"]["rounds"], strict=True)
        ]
        assert len(ratios) == 2
        assert pair["ratio"] == pytest.approx(sum(ratios) / 2)  # the median of two
        assert [pair["ratio_min"], pair["ratio_max"]] == [min(ratios), max(ratios)]
        searches = "hypotheses" in pair.get("no_limit", "")
        assert searches == (pair["unit"] == "sentences/s")
        for side in (pair["ours"], pair["reference"]):
            assert (side["share_of_limit"] is None) == searches
            if not searches:
                assert side["share_of_limit"] == pytest.approx(
                    side["median"] * side["flops_per_unit"] / side["matrix_flops_per_second"],
                    rel=0.9,  # medians of two rounds: not of the same one
                )
            assert 0 < side["min"] <= side["median"] <= side["max"]
    agreed = [pair["agreement"] for pair in found["pairs"]]
    assert agreed[0] == "25.0 and 25.0 tokens a sentence"
    assert agreed[1] == "2 of 2 identical"
    assert " of 2 as likely" in agreed[2]

    header, table = answer.out.split("\nmedian (least–most):\n\n")
    told = {key: found[key] for key in found if key not in ("benchmark", "pairs", "also")}
    assert header == "".join(f"{key}: {value}\n" for key, value in told.items())
    columns, _, *rows = table.splitlines()
    assert columns == ("|  | unit | textvae | usual loop | ratio | of the limit | results |")
    for row, pair in zip(rows, found["pairs"], strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert (cells[0], cells[1], cells[-1]) == (pair["name"], pair["unit"], pair["agreement"])
        number = part("measuring").number
        share = pair["ours"]["share_of_limit"]
        assert cells[5] == ("–" if share is None else f"{share:.0%}")
        assert cells[4].startswith(f"{number(pair['ratio'])} ({number(pair['ratio_min'])}–")


def test_decode_with_a_run(run: Run, tiny_model: SentenceVAE, tmp_path: Path) -> None:
    tiny_model.save_pretrained(tmp_path / "some-run")
    answer = run(
        "decode",
        "--run=some-run",
        "--precision=fp32",
        *QUICK,
        "--max-length=9",
        "--json=found.json",
    )
    assert (answer.code, answer.err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["model"].startswith("some-run (vocab_size 13, ")
    assert "random" not in answer.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["decode", "--rounds=0"], "rounds must be at least 1, got 0"),
        (["decode", "--threads=0"], "threads must be at least 1, got 0"),
        (["decode", "--num-sentences=1"], "num-sentences must be at least 2, got 1"),
        (["decode", "--num-reference=0"], "num-reference must be at least 1, got 0"),
        (["decode", "--max-length=0"], "max-length must be at least 1, got 0"),
        (["decode", "--run=./gone"], "gone"),
        (["decode", "--json=gone/found.json"], "no directory for --json gone/found.json"),
        (["decode", "--rouns=3"], "rouns"),
        (["train", "--steps=0"], "steps must be at least 1, got 0"),
        (["train", "--batch-size=0"], "batch-size must be at least 1, got 0"),
        (["train", "--precision=fp8"], "fp8"),
        (["train", "--data-dir=./gone"], "gone"),
        (["evaluate", "--num-samples=0"], "num-samples must be at least 1, got 0"),
        (["evaluate", "--num-sentences=0"], "num-sentences must be at least 1, got 0"),
        (["evaluate", "--num-reference=0"], "num-reference must be at least 1, got 0"),
        (["evaluate", "--run=./gone"], "gone"),
        (["scale", "--steps=0"], "steps must be at least 1, got 0"),
        (["decoding"], "decode"),  # what there is
        ([], "decode"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_measured(
    run: Run, arguments: list[str], named: str
) -> None:
    answer = run(*arguments)
    assert answer.code == 2
    assert named in answer.err
    assert "|" not in answer.out


def test_the_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring = part("measuring")
    now, order = 0.0, list[str]()

    def work(name: str, seconds: float, amount: float) -> Callable[[], float]:
        def do() -> float:
            nonlocal now
            now += seconds * (1 + len(order) // 2)  # the machine is slower every round
            order.append(name)
            return amount

        return do

    def check() -> str:
        assert order == []
        return "the same"

    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now)
    pair = measuring.Pair("p", "x/s", check, work("a", 2.0, 80.0), work("b", 4.0, 20.0))
    assert measuring.measure(pair, 3) == {
        "name": "p",
        "unit": "x/s",
        "agreement": "the same",
        "ours": {
            "median": 20.0,
            "min": 40 / 3,
            "max": 40.0,
            "rounds": [40.0, 20.0, 40 / 3],
            "share_of_limit": None,
        },
        "reference": {
            "median": 2.5,
            "min": 5 / 3,
            "max": 5.0,
            "rounds": [5.0, 2.5, 5 / 3],
            "share_of_limit": None,
        },
        "ratio": pytest.approx(8.0),  # whatever the machine's speed
        "ratio_min": pytest.approx(8.0),
        "ratio_max": pytest.approx(8.0),
        "no_limit": "not bound by matrix products",
    }
    assert order == ["a", "b"] * 3


def test_a_rates_share_of_its_limit_is_taken_round_by_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measuring = part("measuring")
    products = {
        torch.float32: iter([100.0, 50.0, 20.0]),
        torch.bfloat16: iter([400.0, 200.0, 80.0]),
    }
    monkeypatch.setattr(measuring, "matrix_rate", lambda precision: next(products[precision]))
    ours = iter([20.0, 10.0, 4.0])  # the machine is slower every round, for all alike
    reference = iter([5.0, 2.5, 1.0])
    pair = measuring.Pair(
        "p",
        "x/s",
        lambda: "the same",
        lambda: measuring.Timed(next(ours), 1.0),
        lambda: measuring.Timed(2 * next(reference), 2.0),  # its own clock, not the wall's
        measuring.Limit(6.0, torch.bfloat16),
        measuring.Limit(2.0),
        is_growth=True,
    )
    found = measuring.measure(pair, 3)
    assert found["ratio"] == pytest.approx(4.0)
    assert found["ours"]["share_of_limit"] == pytest.approx(6 * 20 / 400)
    assert found["ours"]["matrix_flops_per_second"] == 200.0
    assert found["reference"]["share_of_limit"] == pytest.approx(2 * 5 / 100)
    # Four units in the time of one, each of three times the arithmetic.
    assert found["growth_over_arithmetic"] == pytest.approx(1 / (4 * 3))
    assert "no_limit" not in found
    row = measuring.line(found, "first")
    assert (row["of the limit"], row["time / arithmetic"]) == ("30%", "0.0833")
    assert row["first"] == "2.5 (1–5)"


def test_results_apart_are_refused() -> None:
    close = part("measuring").close
    assert close("loss", [10.0, 5.0], [10.0, 5.001], 1e-3) == "loss 0.0002 apart"
    with pytest.raises(RuntimeError, match=r"the same: loss 0.0002 apart, 0.0001 is allowed"):
        close("loss", [10.0, 5.0], [10.0, 5.001], 1e-4)
    with pytest.raises(RuntimeError, match="loss nan apart"):
        close("loss", [math.nan], [1.0], 1.0)


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (100.4, "100"), (12.34, "12.3"), (0.5, "0.5")]
)
def test_numbers_are_shown_to_three_digits(value: float, text: str) -> None:
    assert part("measuring").number(value) == text


def test_the_untrained_model_never_ends_and_knows_its_vocabulary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoding = part("decode")
    for name, value in TINY.items():
        monkeypatch.setitem(part("subject").PTB_SIZE, name, value)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = decoding.untrained_model()
    assert torch.equal(torch.get_rng_state(), before)
    assert model.tokenizer is not None
    assert (model.tokenizer.vocab_size, model.training) == (20, False)
    z = torch.randn(8, 3)
    for strategy in ("greedy", "sample", "beam"):
        sentences = decode(model, z, max_length=11, strategy=strategy)
        assert [len(ids) for ids in sentences] == [11] * 8
    again = decoding.untrained_model()
    assert decode(again, z, max_length=11) == decode(model, z, max_length=11)


def test_greedy_loop_is_greedy_decoding(model: SentenceVAE, z: Tensor) -> None:
    usual = part("usual")
    found = usual.one_at_a_time(model, z, 12, usual.likeliest)
    assert found == decode(model, z, max_length=12)
    lengths = {len(ids) for ids in found}
    assert min(lengths) < 12  # some end by themselves
    assert max(lengths) == 12  # and some are cut
    assert part("decode").num_tokens([[5] * 12, [5] * 11, []], 12) == 12 + 12 + 1


def test_sampling_loop_draws_from_the_models_distribution(model: SentenceVAE, z: Tensor) -> None:
    usual = part("usual")
    torch.manual_seed(0)
    num = 1000
    found = usual.one_at_a_time(model, z[:1].expand(num, -1), 1, usual.drawn)
    with torch.no_grad():
        scores, _ = model.step(torch.tensor([BOS_ID]), model.initial_state(z[:1]), z[:1])
    drawn = torch.bincount(torch.tensor([ids[0] if ids else EOS_ID for ids in found]))
    for share, count in zip(scores[0].softmax(-1).tolist(), drawn.tolist(), strict=False):
        assert abs(count - num * share) <= 5 * math.sqrt(num * share * (1 - share)) + 1e-6
    assert int(drawn.sum()) == num


def test_beam_loop_of_width_one_is_greedy(model: SentenceVAE, z: Tensor) -> None:
    found = part("usual").beam_one_at_a_time(model, z, 1, 12)
    expected = decode_scored(model, z, max_length=12)
    assert [ids for _, ids in found] == [one.ids for one in expected]
    assert [score for score, _ in found] == pytest.approx([one.log_prob for one in expected])


def every_sentence(
    model: SentenceVAE, code: Tensor, max_length: int
) -> dict[tuple[int, ...], float]:
    """Log p of all sentences up to a length."""
    open_: list[tuple[tuple[int, ...], float, Any]] = []
    open_.append(((BOS_ID,), 0.0, model.initial_state(code)))
    found = {}
    for _ in range(max_length):
        longer = []
        for ids, log_prob, state in open_:
            scores, after = model.step(torch.tensor(ids[-1:]), state, code)
            for token, value in enumerate(scores[0].log_softmax(-1).tolist()):
                if token == EOS_ID:
                    found[ids[1:]] = log_prob + value
                else:
                    longer.append(((*ids, token), log_prob + value, after))
        open_ = longer
    return found | {ids[1:]: log_prob for ids, log_prob, _ in open_}


@torch.no_grad()
def test_a_wide_beam_loop_finds_the_best_sentence_as_textvae_does(
    model: SentenceVAE, z: Tensor
) -> None:
    width = 13**2  # all sentences of two tokens
    some = z[:6]
    found = part("usual").beam_one_at_a_time(model, some, width, 2)
    ours = decode_scored(model, some, strategy="beam", num_beams=width, max_length=2)
    for code, (score, ids), best in zip(some, found, ours, strict=True):
        sentences = every_sentence(model, code[None], 2)
        assert tuple(ids) == max(sentences, key=lambda one: sentences[one])
        assert score == pytest.approx(max(sentences.values()), abs=1e-5)
        assert best.ids == ids
        assert best.log_prob == pytest.approx(score, abs=1e-5)


def test_the_beam_loop_is_not_ahead_on_the_whole(model: SentenceVAE, z: Tensor) -> None:
    found = part("usual").beam_one_at_a_time(model, z, 5, 12)
    ours = decode_scored(model, z, strategy="beam", num_beams=5, max_length=12)
    said = part("decode").comparison([one.log_prob for one in ours], [score for score, _ in found])
    same = int(said.split()[0])
    assert same >= 30
    for (score, ids), best in zip(found, ours, strict=True):
        if ids == best.ids:
            assert score == pytest.approx(best.log_prob, abs=1e-4)


def test_results_that_differ_are_refused() -> None:
    decoding = part("decode")
    assert decoding.agreement("identical", [True] * 99 + [False]) == "99 of 100 identical"
    with pytest.raises(RuntimeError, match="don't do the same: 98 of 100 identical"):
        decoding.agreement("identical", [True] * 98 + [False] * 2)
    said = decoding.comparison([-10.0, -20.0, -31.0], [-12.0, -20.0, -29.5])
    assert said == "1 of 3 as likely, 1 likelier, 1 less; mean log p -20.33 and -20.50"
    with pytest.raises(RuntimeError, match="worse sentences: 1 of 2 as likely, 0 likelier, 1 less"):
        decoding.comparison([-10.0, -21.0], [-10.0, -20.0])
