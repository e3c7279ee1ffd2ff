"""Tests of `benchmark.py steps` on tiny sizes: every rung does what the usual loop does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.scripts.benchmarking import part
from tests.scripts.running import SCRIPTS
from textvae import grammar
from textvae.batches import collate
from textvae.model import SentenceVAE

SENTENCES = [[5, 6, 7], [8], [9, 10, 11, 12, 5], [], [6, 6]]

NAMES = [
    "usual loop",
    "+ batches of like length",
    "+ encoder unpacked",
    "+ scores at real tokens only",
    "+ output layer's own gradient",
    "+ fused Adam, nothing read back",
    "+ products and memory of runtime.full_speed",
    "+ bf16 products",
]

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


def test_each_rung_has_one_switch_more_than_the_one_before() -> None:
    rungs = part("rungs").rungs()
    assert list(rungs) == NAMES
    switches = [list(vars(on).values()) for on in rungs.values()]
    assert switches == [[True] * count + [False] * (7 - count) for count in range(8)]


@pytest.mark.parametrize("name", NAMES)
def test_a_rungs_loss_is_the_usual_loops_and_another_is_refused(
    name: str, tiny_model: SentenceVAE
) -> None:
    usual = part("usual").UsualVAE.like(tiny_model)
    on = part("rungs").rungs()[name]
    same_loss = part("steps").same_loss
    assert " apart" in same_loss(tiny_model, usual, SENTENCES, on)
    with torch.no_grad():
        tiny_model.head.logvar.bias += 0.5
    with pytest.raises(RuntimeError, match="don't do the same: loss"):
        same_loss(tiny_model, usual, SENTENCES, on)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_rungs_step_is_the_usual_loops(
    name: str, tiny_model: SentenceVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clipped gradients, and with them the step."""
    rungs, usual = part("rungs"), part("usual")
    monkeypatch.setattr(rungs, "CLIP_NORM", 0.1)
    reference = usual.UsualVAE.like(tiny_model)
    torch.manual_seed(3)
    still = torch.optim.SGD(reference.parameters(), lr=0.5)
    usual.train_on(reference, still, usual.PaddedBatch.of(SENTENCES), 0.1)

    torch.manual_seed(3)
    batch = collate(SENTENCES)
    optimizer = torch.optim.SGD(tiny_model.parameters(), lr=0.5)
    rungs.train_step(tiny_model, optimizer, batch, rungs.rungs()[name])
    ours, expected = dict(tiny_model.named_parameters()), dict(reference.named_parameters())
    assert set(ours) == set(expected)
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_last_rung_multiplies_in_bf16(name: str, tiny_model: SentenceVAE) -> None:
    rungs, dtypes = part("rungs"), list[torch.dtype]()
    tiny_model.head.mu.register_forward_hook(lambda *_: dtypes.append(_[2].dtype))
    batch = collate(SENTENCES)
    optimizer = torch.optim.SGD(tiny_model.parameters(), lr=0.5)
    rungs.train_step(tiny_model, optimizer, batch, rungs.rungs()[name])
    assert dtypes == [torch.bfloat16 if name == NAMES[-1] else torch.float32]


@pytest.mark.parametrize("is_alike", [False, True])
def test_an_epoch_holds_every_sentence_once(is_alike: bool) -> None:
    rungs = part("rungs")
    on = rungs.Switches(like_length=is_alike)
    batches = list(rungs.batches_of(SENTENCES, 2, on))
    assert sorted(batch.num_sentences for batch in batches) == [1, 2, 2]
    found = [
        inputs[1:length].tolist()
        for batch in batches
        for inputs, length in zip(batch.input_ids, batch.lengths, strict=True)
    ]
    assert sorted(found) == sorted(SENTENCES)
    if is_alike:
        assert sum(batch.input_ids.numel() for batch in batches) == 2 * 2 + 2 * 4 + 6


def test_from_options_to_results_and_picture(benchmark: Run, tmp_path: Path) -> None:
    texts = [
        f"{sentence.text}\n" for sentence in grammar.splits(0, train=60, valid=1, test=1).train
    ]
    (tmp_path / "some.txt").write_text("".join(texts), encoding="utf-8")
    options = ["--data-dir=./some.txt", "--steps=2", "--batch-size=5", "--rounds=2", "--threads=1"]
    answer = benchmark("steps", *options, "--json=found.json", "--picture=steps.png")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [pair["name"] for pair in found["pairs"]] == NAMES
    assert "25 sentences of some (train)" in found["data"]
    ratios = [pair["ratio"] for pair in found["pairs"]]
    gains = found["also"]["over the rung before"]
    assert list(gains) == NAMES[1:]
    assert gains["+ encoder unpacked"] == pytest.approx(ratios[2] / ratios[1])
    assert found["also"]["picture"] == {"file": "steps.png"}
    with Image.open(tmp_path / "steps.png") as picture:
        assert picture.size > (300, 200)


def figures(name: str, rate: float, ratio: float) -> dict[str, Any]:
    ours = {"median": rate, "min": 0.9 * rate, "max": 1.2 * rate, "share_of_limit": rate / 1e5}
    return {"name": name, "ours": ours, "ratio": ratio}


def test_the_picture_says_what_was_found(tmp_path: Path) -> None:
    file = tmp_path / "steps.svg"
    found = [figures("usual loop", 5_000.0, 1.01), figures("+ bf16", 25_000.0, 5.2)]
    assert part("steps").draw(file, found) == {"file": str(file)}
    text = file.read_text(encoding="utf-8")
    for words in ("5,000, 1.01×, 5% of the limit", "25,000, 5.2×, 25% of the limit"):
        assert f"<!-- {words} -->" in text


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--picture=steps.jpg", "must end in one of .png, .svg, .pdf, got 'steps.jpg'"),
        ("--picture=gone/steps.png", "no directory gone"),
        ("--steps=0", "steps must be at least 1, got 0"),
        ("--data-dir=./gone", "gone"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_measured(
    benchmark: Run, argument: str, named: str
) -> None:
    answer = benchmark("steps", argument)
    assert answer.code == 2
    assert named in answer.err
    assert answer.out == ""
