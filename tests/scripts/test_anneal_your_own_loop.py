"""`scripts/anneal_your_own_loop.py`: what it prints, what it learns, what it refuses."""

import runpy
import sys
from typing import Any

import pytest

from tests.scripts.running import SCRIPTS, Answer, assert_refused

PATH = str(SCRIPTS / "anneal_your_own_loop.py")
SCRIPT = runpy.run_path(PATH)
SIZES = {"epochs": 6, "warmup_epochs": 5, "latent_dim": 8}
OPTIONS = {**SIZES, "reconstruction": "bce", "lr": 1e-3, "seed": 0}


def train(**options: Any) -> list[list[float]]:
    found: list[list[float]] = SCRIPT["train"](SCRIPT["Namespace"](**OPTIONS | options))
    return found


def test_it_learns_while_the_weight_rises(capsys):
    history = train()
    assert [row[:2] for row in history] == [[1, 0], [2, 0.2], [3, 0.4], [4, 0.6], [5, 0.8], [6, 1]]
    printed = capsys.readouterr().out.splitlines()
    assert "nats per picture" in printed[0]
    assert [float(cell) for cell in printed[-1].split()] == pytest.approx(history[-1], rel=1e-3)
    _, _, _, _, valid_rec, valid_kl, gradient, active_units, wrong = history[-1]
    # An untrained decoder costs 144 · ln 2, some 100 nats.
    assert valid_rec + valid_kl < 50
    assert valid_kl > 1
    assert gradient > 0
    assert active_units == 8
    assert wrong < 0.06


def test_the_seed_decides():
    first, again, other = (train(epochs=1, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_squared_errors_serve_too_and_leave_more_pixels_wrong():
    bce, mse = (train(reconstruction=kind)[-1][-1] for kind in ("bce", "mse"))
    assert bce < mse < 0.15


@pytest.mark.parametrize(
    ("argument", "named"),
    [("--epochs=0", "epochs"), ("--reconstruction=l1", "mse"), ("--epocs=3", "epocs")],
)
def test_wrong_input_is_refused(monkeypatch, capsys, argument, named):
    monkeypatch.setattr(sys, "argv", [PATH, argument])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(PATH, run_name="__main__")
    assert_refused(Answer(stop.value.code, *capsys.readouterr()), named)
