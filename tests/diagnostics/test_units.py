"""Counts of latent dimensions in use."""

from __future__ import annotations

import pytest
import torch

from textvae.diagnostics.units import AU_THRESHOLDS, active_dimensions, active_units, au_curve


def means_with_variances(*variances: float) -> torch.Tensor:
    """Two sentences at mean ± standard deviation: the variance over them is exact."""
    deviation = torch.tensor(variances, dtype=torch.float64).sqrt()
    return torch.stack([5 + deviation, 5 - deviation])


@pytest.mark.parametrize(
    ("variances", "expected"),
    [
        ((0.0, 0.0), 0),  # nothing moves, wherever the means are
        ((0.0099, 0.0101), 1),  # either side of the threshold
        ((1.0, 2.0, 0.5), 3),
        ((), 0),  # a language model
    ],
)
def test_active_units_count_means_that_vary(variances: tuple[float, ...], expected: int) -> None:
    assert active_units(means_with_variances(*variances)) == expected


def test_a_variance_at_the_threshold_counts() -> None:
    assert active_units(means_with_variances(0.25), threshold=0.25) == 1


def test_the_curve_has_a_count_for_every_threshold_and_never_rises() -> None:
    curve = au_curve(means_with_variances(0.0002, 0.002, 0.02, 0.2, 2.0))
    assert list(curve) == list(AU_THRESHOLDS)
    assert list(curve.values()) == [5, 4, 4, 3, 3, 2, 2, 1, 1]


def test_the_curve_covers_four_decades_and_the_threshold_of_the_papers() -> None:
    assert (min(AU_THRESHOLDS), max(AU_THRESHOLDS)) == (1e-4, 1.0)
    assert 0.01 in AU_THRESHOLDS
    assert au_curve(means_with_variances(0.3), [0.2, 0.4]) == {0.2: 1, 0.4: 0}


def test_active_dimensions_count_by_kl() -> None:
    assert active_dimensions([0.0, 0.009, 0.01, 3.0]) == 2
    assert active_dimensions(torch.tensor([0.0, 0.009, 0.01, 3.0]), threshold=0.001) == 3
    assert active_dimensions([]) == 0
