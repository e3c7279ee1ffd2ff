"""Tests of `textvae.losses`."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal

from textvae.losses import (
    RECONSTRUCTIONS,
    bce_reconstruction,
    cross_entropy_reconstruction,
    mse_reconstruction,
    token_nll,
)

few = settings(max_examples=40)

Loss = Callable[[Tensor, Tensor], Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bce_by_hand() -> None:
    # Fair coins cost log 2 each; a sure and right one nothing; a quarter on the truth log 4.
    recon, x = torch.tensor([[0.5, 1.0], [0.75, 0.5]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    rows = [math.log(2), math.log(4) + math.log(2)]
    assert bce_reconstruction(recon, x, "none").tolist() == pytest.approx(rows, abs=1e-6)
    assert bce_reconstruction(recon, x, "mean").item() == pytest.approx(sum(rows) / 2, abs=1e-6)
    assert bce_reconstruction(recon, x).item() == pytest.approx(sum(rows), abs=1e-6)


def test_mse_by_hand() -> None:
    recon, x = torch.tensor([[0.0, 1.0], [2.0, -3.0]]), torch.tensor([[0.5, 3.0], [2.0, 0.0]])
    assert mse_reconstruction(recon, x, "none").tolist() == [4.25, 9.0]
    assert mse_reconstruction(recon, x, "mean").item() == 6.625
    assert mse_reconstruction(recon, x).item() == 13.25


@few
@given(st.integers(0, 1000), st.sampled_from([(3,), (3, 4), (2, 1, 3, 3)]))
def test_bce_equals_its_oracles(seed: int, shape: tuple[int, ...]) -> None:
    recon, x = random(*shape, seed=seed).sigmoid(), random(*shape, seed=seed + 1) > 0
    expected = -Bernoulli(recon).log_prob(x.double()).reshape(len(x), -1).sum(1)
    torch.testing.assert_close(bce_reconstruction(recon, x.double(), "none"), expected)
    soft = random(*shape, seed=seed + 2).sigmoid()
    whole = F.binary_cross_entropy(recon, soft, reduction="sum")
    torch.testing.assert_close(bce_reconstruction(recon, soft), whole)
    torch.testing.assert_close(bce_reconstruction(recon, soft, "mean"), whole / len(x))


@few
@given(st.integers(0, 1000), st.sampled_from([(3,), (3, 4), (2, 1, 3, 3)]))
def test_mse_equals_its_oracles(seed: int, shape: tuple[int, ...]) -> None:
    recon, x = random(*shape, seed=seed), random(*shape, seed=seed + 1)
    error = mse_reconstruction(recon, x)
    torch.testing.assert_close(error, F.mse_loss(recon, x, reduction="sum"))
    torch.testing.assert_close(mse_reconstruction(recon, x, "mean"), error / len(x))
    half = Normal(recon, math.sqrt(0.5))
    constant = 0.5 * math.log(math.pi) * x.numel()
    torch.testing.assert_close(error, -half.log_prob(x).sum() - constant)


def test_sure_and_wrong_is_dear_but_finite() -> None:
    recon = torch.tensor([[0.0]], requires_grad=True)
    loss = bce_reconstruction(recon, torch.tensor([[1.0]]))
    loss.backward()
    assert loss.item() == 100
    assert recon.grad is not None
    assert recon.grad.isfinite()


@pytest.mark.parametrize(
    ("recon", "x", "found"),
    [
        ([0.5, -0.5], [0.0, 1.0], r"recon_x from -0\.5 to 0\.5 and x from 0\.0 to 1\.0"),
        ([0.5, 1.5], [0.0, 1.0], r"recon_x from 0\.5 to 1\.5 and x from 0\.0 to 1\.0"),
        ([0.5, 0.5], [0.0, 255.0], r"recon_x from 0\.5 to 0\.5 and x from 0\.0 to 255\.0"),
        ([0.5, 0.5], [-1.0, 1.0], r"recon_x from 0\.5 to 0\.5 and x from -1\.0 to 1\.0"),
        ([0.5, math.nan], [0.0, 1.0], r"recon_x from nan to nan and x from 0\.0 to 1\.0"),
        ([0.5, 0.5], [0.0, math.nan], r"recon_x from 0\.5 to 0\.5 and x from nan to nan"),
    ],
)
def test_bce_refuses_what_is_no_probability(recon: list[float], x: list[float], found: str) -> None:
    with pytest.raises(ValueError, match=rf"recon_x and x must lie in \[0, 1\], got {found}"):
        bce_reconstruction(torch.tensor([recon], requires_grad=True), torch.tensor([x]))


def test_mse_refuses_nan() -> None:
    bad, good = torch.tensor([[math.nan, 1.0]]), torch.zeros(1, 2)
    with pytest.raises(ValueError, match="must hold no NaN, got 1 in recon_x and 0 in x"):
        mse_reconstruction(bad, good)
    with pytest.raises(ValueError, match="must hold no NaN, got 0 in recon_x and 1 in x"):
        mse_reconstruction(good, bad)


@pytest.mark.parametrize("function", [bce_reconstruction, mse_reconstruction])
@pytest.mark.parametrize(
    ("recon", "x"),
    [((2, 3), (2, 1)), ((2, 3), (3,)), ((2, 3), (6,)), ((), ()), ((0, 3), (0, 3))],
)
def test_shapes_that_disagree(function: Loss, recon: tuple[int, ...], x: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"same shape .* and not be empty, got") as caught:
        function(torch.zeros(recon), torch.zeros(x))
    assert str(caught.value).endswith(f"got {recon} and {x}")


def test_unknown_reductions_are_refused() -> None:
    half, ids = torch.full((2, 3), 0.5), torch.zeros(2, 3, dtype=torch.long)
    for function, tensors in (
        (bce_reconstruction, (half, half)),
        (mse_reconstruction, (half, half)),
        (cross_entropy_reconstruction, (torch.zeros(2, 3, 4), ids)),
    ):
        with pytest.raises(ValueError, match=r"reduction must be one of .*, got 'batchmean'"):
            function(*tensors, "batchmean")


def text(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, T, V), targets (B, T) and lengths (B,)."""
    targets = torch.randint(5, (3, 4), generator=torch.Generator().manual_seed(seed))
    return random(3, 4, 5, seed=seed), targets, torch.tensor([4, 1, 0])


@few
@given(st.integers(0, 1000))
def test_cross_entropy_equals_its_oracles(seed: int) -> None:
    scores, targets, lengths = text(seed)
    nll = -Categorical(logits=scores).log_prob(targets)
    rows = [nll[b, : lengths[b]].sum().item() for b in range(3)]
    by_length = cross_entropy_reconstruction(scores, targets, "none", lengths=lengths)
    assert by_length.tolist() == pytest.approx(rows, abs=1e-9)
    torch.testing.assert_close(cross_entropy_reconstruction(scores, targets, "none"), nll.sum(1))
    real = torch.arange(4) < lengths[:, None]
    by_id = cross_entropy_reconstruction(scores, targets.where(real, 7), "none", padding_id=7)
    torch.testing.assert_close(by_id, by_length)
    mean = cross_entropy_reconstruction(scores, targets, "mean", lengths=lengths)
    assert mean.item() == pytest.approx(sum(rows) / 3)
    assert cross_entropy_reconstruction(scores, targets.where(real, -100)).item() == (
        pytest.approx(sum(rows))
    )


def test_cross_entropy_is_what_token_nll_is() -> None:
    hidden, weight, bias = random(6, 3), random(5, 3, seed=1), random(5, seed=2)
    targets = torch.tensor([0, 4, 2, 2, 1, 3])
    scores = (hidden @ weight.T + bias).view(2, 3, 5)
    torch.testing.assert_close(
        cross_entropy_reconstruction(scores, targets.view(2, 3)),
        token_nll(hidden, weight, bias, targets).sum(),
    )


def test_what_is_padding_gets_no_gradient() -> None:
    scores, targets, lengths = text()
    scores.requires_grad_()
    cross_entropy_reconstruction(scores, targets, lengths=lengths).backward()
    assert scores.grad is not None
    assert (scores.grad.abs().sum(2) > 0).tolist() == [
        [True] * 4,
        [True] + [False] * 3,
        [False] * 4,
    ]


def test_what_cross_entropy_refuses() -> None:
    scores, targets, _ = text()
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\) and \(3, 3\)"):
        cross_entropy_reconstruction(scores, targets[:, :3])
    with pytest.raises(ValueError, match=r"got \(12, 5\) and \(12,\)"):
        cross_entropy_reconstruction(scores.flatten(0, 1), targets.flatten())
    for foreign in (5, -1):
        wrong = targets.clone()
        wrong[1, 2] = foreign
        message = rf"below the 5 of scores and at least 0, or padding \(-100\), got {foreign}"
        with pytest.raises(ValueError, match=message):
            cross_entropy_reconstruction(scores, wrong)
    scores[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="scores must hold no NaN, got 1 in scores"):
        cross_entropy_reconstruction(scores, targets)


@pytest.mark.parametrize("lengths", [[4, 1], [4, 1, 5], [4, 1, -1], [[4], [1], [1]]])
def test_cross_entropy_refuses_lengths_of_other_sentences(lengths: list[int]) -> None:
    scores, targets, _ = text()
    with pytest.raises(ValueError, match="3 numbers between 0 and the 4 tokens of targets") as e:
        cross_entropy_reconstruction(scores, targets, lengths=torch.tensor(lengths))
    assert str(e.value).endswith(f"got {lengths}")


def test_the_table_names_all() -> None:
    assert dict(RECONSTRUCTIONS) == {
        "bce": bce_reconstruction,
        "mse": mse_reconstruction,
        "cross_entropy": cross_entropy_reconstruction,
    }
