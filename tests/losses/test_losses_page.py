"""The numbers in docs/losses.md are the library's, and its code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.losses import FREE_BITS, kl_divergence, kl_per_dimension, vae_loss

PAGE = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the table whose head begins so, row by row, without their backticks."""
    (body,) = re.findall(
        rf"^\| *{re.escape(heading)} *\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE
    )
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in body.splitlines()]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in cell.split()]


EXAMPLE = [numbers(" ".join(row[1:])) for row in table("| dimension 0")]
KL = torch.tensor([row[:4] for row in EXAMPLE[:2]])


def test_the_example_adds_up() -> None:
    assert [row[4] for row in EXAMPLE[:2]] == pytest.approx(KL.sum(1).tolist())
    assert EXAMPLE[2][:4] == pytest.approx(KL.mean(0).tolist())
    assert EXAMPLE[2][4] == pytest.approx(KL.sum(1).mean().item())


@pytest.mark.parametrize("row", table("kind"), ids=lambda row: f"{row[0]}-{row[2]}")
def test_values_and_gradients_of_free_bits(row: list[str]) -> None:
    kind, function, nats, value, *gradient = row
    assert FREE_BITS[kind].__name__ == function
    kl = KL.clone().requires_grad_()
    found = FREE_BITS[kind](kl, float(nats))
    assert found.item() == pytest.approx(float(value), abs=1e-6)
    assert torch.autograd.grad(found, kl)[0].tolist() == [numbers(cell) for cell in gradient]


def test_every_kind_is_shown() -> None:
    assert {row[0] for row in table("kind")} == set(FREE_BITS)
    assert re.findall(r"^- `(\w+)`", PAGE, flags=re.MULTILINE) == list(FREE_BITS)


def gradients_ratio(reconstruction: Tensor, kl: Tensor, recon: Tensor, mu: Tensor) -> float:
    """Size of the KL's gradient against that of the reconstruction's."""
    (pull,) = torch.autograd.grad(kl, mu)
    (push,) = torch.autograd.grad(reconstruction, recon, retain_graph=True)
    return (pull.norm() / push.norm()).item()


def test_real_betas_of_the_reductions() -> None:
    generator = torch.Generator().manual_seed(0)
    recon, x = torch.rand(2, 5, 784, generator=generator, dtype=torch.float64)
    mu, logvar = torch.randn(2, 5, 32, generator=generator, dtype=torch.float64)
    recon.requires_grad_()
    mu.requires_grad_()
    average = F.binary_cross_entropy(recon, x, reduction="mean")
    ratios = [
        gradients_ratio(*terms, recon, mu)
        for terms in (
            vae_loss(recon, x, mu, logvar, "sum")[1:],
            vae_loss(recon, x, mu, logvar, "mean")[1:],
            (average, kl_divergence(mu, logvar) / 5),
            (average, kl_per_dimension(mu, logvar).mean()),
        )
    ]
    shown = [float(row[3]) for row in table("| reconstruction")]
    assert [ratio / ratios[0] for ratio in ratios] == pytest.approx(shown)


def test_the_code_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Tensor] = {}
    exec(code, names)
    assert names["kl"].item() == 0
    # 32 dimensions at a floor of 0.1 nats, β = 4.
    assert (names["total"] - names["recon"]).item() == pytest.approx(4 * 32 * 0.1, rel=1e-4)
