"""Tests of `scripts/benchmarks/arithmetic.py`: operations counted by hand and by torch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.scripts.benchmarking import TINY, part
from tests.scripts.running import SCRIPTS
from textvae.model import SentenceVAE


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


BY_HAND = {
    "encoder": 2 * 3 * 4 * (6 + 4),  # three gates of 4 units, from 6 inputs and 4 units
    "posterior": 2 * 2 * 4 * 3 / 5,  # mean and log-variance, once in 5 tokens
    "initial state": 2 * 3 * 8 / 5,
    "decoder": 2 * 4 * 8 * (6 + 8) + 2 * 4 * 8 * 3 / 5,  # four gates; z's part once
    "output": 2 * 8 * 20,
}


def test_operations_are_those_counted_by_hand() -> None:
    arithmetic, model = part("arithmetic"), SentenceVAE(**TINY)
    assert arithmetic.flops_per_layer(model, 5) == pytest.approx(BY_HAND)
    forward = 240 + 9.6 + 9.6 + 934.4 + 320
    assert arithmetic.flops_per_token(model, 5) == pytest.approx(forward)
    assert arithmetic.flops_per_token(model, 5, backward=True) == pytest.approx(3 * forward)
    decoding = arithmetic.flops_per_token(model, 5, encodings=0)
    assert decoding == pytest.approx(forward - 240 - 9.6)
    sampled = arithmetic.flops_per_token(model, 5, encodings=1 / 10)
    assert sampled == pytest.approx(decoding + 24.96)


@pytest.mark.parametrize(
    ("arguments", "layers"),
    [
        ({"latent_dim": 0}, {"decoder": 2 * 4 * 8 * 14, "output": 320}),
        ({"latent_to": "state"}, {**BY_HAND, "decoder": 2 * 4 * 8 * 14}),
        (
            {"bidirectional": True, "encoder_num_layers": 2},
            # The second layer of each direction reads both; so do the heads.
            {
                **BY_HAND,
                "encoder": 2 * 2 * 3 * 4 * ((6 + 4) + (8 + 4)),
                "posterior": 2 * BY_HAND["posterior"],
            },
        ),
    ],
    ids=["language model", "z to the state", "bidirectional"],
)
def test_other_models(arguments: dict[str, object], layers: dict[str, float]) -> None:
    model = SentenceVAE(**{**TINY, **arguments})
    found = part("arithmetic").flops_per_layer(model, 5)
    if "latent_to" in arguments:
        del layers["initial state"], found["initial state"]
    assert found == pytest.approx(layers)


def test_linear_layers_are_counted_as_torch_does() -> None:
    model = SentenceVAE(**TINY)
    found = part("arithmetic").flops_per_layer(model, 1)
    for name, layers, width in (
        ("output", [model.decoder.output], 8),
        ("posterior", [model.head.mu, model.head.logvar], 4),
        ("initial state", [model.decoder.latent_to_cell], 3),
    ):
        inputs = torch.randn(7, width, requires_grad=True)
        with FlopCounterMode(display=False) as counter:
            outputs = [layer(inputs).sum() for layer in layers]
            assert counter.get_total_flops() == 7 * found[name]
            torch.stack(outputs).sum().backward()
        assert counter.get_total_flops() == 3 * 7 * found[name]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_rate_of_products_is_a_median(
    monkeypatch: pytest.MonkeyPatch, precision: torch.dtype
) -> None:
    arithmetic = part("arithmetic")
    monkeypatch.setattr(arithmetic, "SIDE", 4)
    # Start and end of each: 100 s to warm up, then 2, 4, 8, 1, 16.
    clock = iter([0, 100, 100, 102, 102, 106, 106, 114, 114, 115, 115, 131])
    monkeypatch.setattr(arithmetic.time, "perf_counter", lambda: next(clock))
    assert arithmetic.matrix_rate(precision) == 2 * 4**3 / 4
