"""What codes tell of factors that are known."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from textvae.checks import InputError
from textvae.diagnostics import dimension_information, probe_factors


def noise(size: int, width: int, seed: int) -> Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(seed))


def labels(size: int, values: int = 2) -> list[str]:
    return [f"v{i % values}" for i in range(size)]


def codes_that_tell(size: int, seed: int, values: int = 2, spread: float = 0.05) -> Tensor:
    """Dimension 1 of three is the label and a little noise; the others are noise."""
    codes = noise(size, 3, seed)
    codes[:, 1] = torch.arange(size) % values + spread * codes[:, 1]
    return codes


def test_a_dimension_that_is_the_label() -> None:
    (probe,) = probe_factors(
        codes_that_tell(400, 0),
        {"number": labels(400)},
        codes_that_tell(300, 1),
        {"number": labels(300)},
    )
    assert (probe.name, probe.accuracy, probe.majority) == ("number", 1.0, 0.5)
    assert probe.entropy == pytest.approx(math.log(2))
    assert probe.information == pytest.approx(math.log(2), abs=0.05)
    assert probe.information <= probe.entropy
    assert probe.best_dimension == 1
    assert probe.best_dimension_information == pytest.approx(math.log(2), abs=0.06)
    assert max(probe.information_per_dim[0], probe.information_per_dim[2]) < 0.05


def test_codes_that_do_not_tell() -> None:
    factors = {"topic": labels(1000, 4)}
    (probe,) = probe_factors(noise(1000, 8, 0), factors, noise(1000, 8, 1), factors)
    assert probe.accuracy == pytest.approx(0.25, abs=0.05)
    assert probe.information == 0
    # The plain estimate would be near 15 · 3 / (2 · 1000) = 0.02 in each dimension.
    assert sum(probe.information_per_dim) / 8 < 0.01


def test_information_through_gaussian_noise_is_bounded_by_what_there_is() -> None:
    # Two classes at ±1 with noise of deviation 1: I = 0.337 nats, the best accuracy Φ(1) = 0.841.
    size = 20_000
    factor = {"sign": labels(size)}
    sign = 2.0 * (torch.arange(size) % 2)[:, None] - 1
    (probe,) = probe_factors(sign + noise(size, 1, 0), factor, sign + noise(size, 1, 1), factor)
    assert probe.accuracy == pytest.approx(0.841, abs=0.01)
    # The logistic model is the true one here, so that the bound is tight.
    assert probe.information == pytest.approx(0.337, abs=0.015)
    assert probe.best_dimension_information == pytest.approx(0.337, abs=0.015)


def test_a_value_the_fitting_split_does_not_have_counts_as_wrong() -> None:
    fitted, seen = labels(400), [*labels(298), "new", "newer"]
    (probe,) = probe_factors(
        codes_that_tell(400, 0), {"f": fitted}, codes_that_tell(300, 1), {"f": seen}
    )
    assert probe.accuracy == pytest.approx(298 / 300)
    assert math.isfinite(probe.information)
    assert 0.5 < probe.information < probe.entropy


@pytest.mark.parametrize(
    ("width", "train", "test", "expected"),
    [
        # Codes that never move tell no more than the value most frequent where they were fitted.
        (2, "aaabb", "abbb", (0.25, 0.25, 0.0)),
        (3, "abab", "abab", (0.5, 0.5, 0.0)),
        # A language model has no codes at all.
        (0, "aab", "aab", (2 / 3, 2 / 3, 0.0)),
        # A constant factor has nothing to tell.
        (1, "aaa", "aaa", (1.0, 1.0, 0.0)),
    ],
)
def test_codes_that_never_move(
    width: int, train: str, test: str, expected: tuple[float, ...]
) -> None:
    codes = [torch.ones(len(values), width) / 3 for values in (train, test)]
    (probe,) = probe_factors(codes[0], {"f": train}, codes[1], {"f": test})
    found = (probe.accuracy, probe.majority, probe.information)
    assert found == pytest.approx(expected)
    assert probe.information_per_dim == [0] * width
    assert (probe.best_dimension, probe.best_dimension_information) == (None, 0)


def test_nothing_is_drawn() -> None:
    arguments = codes_that_tell(100, 0), {"f": labels(100)}, noise(100, 3, 1), {"f": labels(100)}
    torch.manual_seed(0)
    first = probe_factors(*arguments)
    torch.manual_seed(1)
    assert probe_factors(*arguments) == first


def test_information_of_a_dimension_that_tells_more_than_two_values() -> None:
    codes = (torch.arange(800) % 4)[:, None].double()
    assert dimension_information(codes, labels(800, 4)) == pytest.approx([math.log(4)], abs=0.01)


@pytest.mark.parametrize(
    ("train_labels", "test", "test_labels", "message"),
    [
        ({"f": "abc"}, (3, 1), {"f": "abc"}, "of the same Z, got (3, 2) and (3, 1)"),
        ({"f": "abc"}, (3, 2), {"g": "abc"}, "the factors of train_labels, ['f'], got"),
        ({"f": "ab"}, (3, 2), {"f": "abc"}, "train_labels['f'] must have one value for each"),
        ({"f": "abc"}, (2, 2), {"f": "abc"}, "sentences, got 3 for 2"),
        ({"f": "abc"}, (0, 2), {"f": ""}, "test_labels['f'] must have one value for each of"),
    ],
)
def test_wrong_arguments(
    train_labels: dict[str, str], test: tuple[int, int], test_labels: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        probe_factors(torch.zeros(3, 2), train_labels, torch.zeros(test), test_labels)
    with pytest.raises(InputError, match=r"labels must have one value .* sentences, got 1"):
        dimension_information(torch.zeros(2, 1), ["a"])
