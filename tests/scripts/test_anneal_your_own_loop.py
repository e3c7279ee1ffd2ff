"""Tests of `scripts/anneal_your_own_loop.py`: what it prints, what it learns, what it refuses."""

from __future__ import annotations

import contextlib
import io
import runpy
from functools import partial

import pytest
import torch

from tests.scripts import running

SCRIPT = running.SCRIPTS / "anneal_your_own_loop.py"
run_script = partial(running.run_script, "anneal_your_own_loop")


def table(out: str) -> list[list[float]]:
    lines = [line for line in out.split("\n")[2:] if line]
    return [[float(cell.rstrip("%")) for cell in line.split()] for line in lines]


def test_it_learns_while_the_weight_rises() -> None:
    said = run_script("--epochs=6", "--warmup-epochs=5", "--optimizer=adamw")
    assert (said.code, said.err) == (0, "")
    assert "nats per picture" in said.out.split("\n")[0]
    first, fifth, last = table(said.out)
    assert [row[:2] for row in (first, fifth, last)] == [[1, 0], [5, 0.8], [6, 1]]
    # An untrained decoder costs 144 · ln 2, some 100 nats.
    assert last[4] + last[5] < 50
    assert last[4] > 0
    assert last[5] > 1
    assert last[7] == 8


def test_the_seed_decides() -> None:
    said = [run_script("--epochs=1", f"--seed={seed}").out for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_the_history_has_a_value_for_every_epoch() -> None:
    script = runpy.run_path(str(SCRIPT))
    options = {"epochs": 3, "warmup_epochs": 1, "optimizer": "adam", "lr": 1e-3}
    with contextlib.redirect_stdout(io.StringIO()):
        history = script["train"](
            script["Namespace"](latent_dim=3, seed=0, reconstruction="bce", **options)
        )
    assert list(history) == [
        *["beta", "train_rec", "train_kl", "valid_rec", "valid_kl"],
        *["gradient_norm", "active_units", "wrong_pixels"],
    ]
    assert {len(values) for values in history.values()} == {3}
    assert history["beta"] == [0, 1, 1]


def test_the_pictures_are_bars_and_blobs_of_zeros_and_ones() -> None:
    torch.manual_seed(0)
    pictures = runpy.run_path(str(SCRIPT))["make_pictures"](600).view(600, 12, 12)
    assert set(pictures.unique().tolist()) == {0, 1}
    assert (pictures.sum((1, 2)) > 0).all()
    rows, columns = pictures.std(2).sum(1) == 0, pictures.std(1).sum(1) == 0
    for share in (rows, columns, ~(rows | columns)):  # a third of each kind
        assert 150 < int(share.sum()) < 250


def test_a_reconstruction_that_is_no_number_ends_training() -> None:
    said = run_script("--epochs=2", "--lr=inf")
    assert said.code == 2
    assert "recon_x" in said.err
    assert "nan" in said.err.lower()


def test_squared_errors_serve_too_and_leave_more_pixels_wrong() -> None:
    by_kind = {
        kind: table(run_script("--epochs=10", f"--reconstruction={kind}").out)[-1]
        for kind in ("bce", "mse")
    }
    assert by_kind["bce"][8] < by_kind["mse"][8] < 15


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--epochs=0", "epochs"),
        ("--warmup-epochs=-1", "warmup_epochs"),
        ("--optimizer=sgd", "adamw"),
        ("--reconstruction=l1", "mse"),
        ("--lr=0", "lr"),
        ("--latent-dim=two", "latent_dim"),
        ("--epocs=3", "epocs"),
    ],
)
def test_wrong_input(argument: str, named: str) -> None:
    said = run_script(argument)
    assert (said.code, said.out) == (2, "")
    assert "error: " in said.err
    assert named in said.err
    assert "Traceback" not in said.err


def test_help_teaches() -> None:
    said = run_script("--help")
    assert said.code == 0
    words = " ".join(said.out.split())
    assert "plain PyTorch loop" in words
    assert "epochs of β rising from 0 to 1" in words
