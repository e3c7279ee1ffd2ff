"""What z says of factors: codes of which it is known, and constructed ones."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.draws import draws
from textvae.checks import InputError
from textvae.diagnostics import (
    Disentanglement,
    FactorProbe,
    disentanglement,
    probe_factors,
)


def labels(size: int, values: int = 2) -> list[str]:
    return [f"v{i % values}" for i in range(size)]


def codes_that_tell(size: int, seed: int) -> Tensor:
    """Dimension 1 of three is the label and a little noise; the others are noise."""
    codes = draws(size, 3, seed=seed)
    codes[:, 1] = torch.arange(size) % 2 + 0.05 * codes[:, 1]
    return codes


def test_a_dimension_that_is_the_label():
    train, test = codes_that_tell(400, 0), codes_that_tell(300, 1)
    (probe,) = probe_factors(train, {"number": labels(400)}, test, {"number": labels(300)})
    assert (probe.name, probe.accuracy, probe.majority) == ("number", 1.0, 0.5)
    assert probe.entropy == pytest.approx(math.log(2))
    assert probe.information == pytest.approx(math.log(2), abs=0.05)
    assert probe.information <= probe.entropy
    assert probe.best_dimension == 1
    assert probe.best_dimension_information == pytest.approx(math.log(2), abs=0.06)
    assert max(probe.information_per_dim[0], probe.information_per_dim[2]) < 0.05


def test_codes_that_do_not_tell():
    factors = {"topic": labels(1000, 4)}
    (probe,) = probe_factors(draws(1000, 8), factors, draws(1000, 8, seed=1), factors)
    assert probe.accuracy == pytest.approx(0.25, abs=0.05)
    assert probe.information == 0
    # The plain estimate would be near 15 · 3 / (2 · 1000) = 0.02 in each dimension.
    assert sum(probe.information_per_dim) / 8 < 0.01


def test_information_through_gaussian_noise_is_bounded_by_what_there_is():
    # Two classes at ±1 with noise of deviation 1: I = 0.337 nats, the best accuracy Φ(1) = 0.841.
    size = 20_000
    factor = {"sign": labels(size)}
    sign = 2.0 * (torch.arange(size) % 2)[:, None] - 1
    (probe,) = probe_factors(sign + draws(size, 1), factor, sign + draws(size, 1, seed=1), factor)
    assert probe.accuracy == pytest.approx(0.841, abs=0.01)
    # The logistic model is the true one here, so that the bound is tight.
    assert probe.information == pytest.approx(0.337, abs=0.015)
    assert probe.best_dimension_information == pytest.approx(0.337, abs=0.015)


def test_a_value_the_fitting_split_does_not_have_counts_as_wrong():
    fitted, seen = labels(400), [*labels(298), "new", "newer"]
    train, test = codes_that_tell(400, 0), codes_that_tell(300, 1)
    (probe,) = probe_factors(train, {"f": fitted}, test, {"f": seen})
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
def test_codes_that_never_move(width, train, test, expected):
    codes = [torch.ones(len(values), width) / 3 for values in (train, test)]
    (probe,) = probe_factors(codes[0], {"f": train}, codes[1], {"f": test})
    found = (probe.accuracy, probe.majority, probe.information)
    assert found == pytest.approx(expected)
    assert probe.information_per_dim == [0] * width
    assert (probe.best_dimension, probe.best_dimension_information) == (None, 0)


def test_information_of_a_dimension_that_tells_more_than_two_values():
    codes = (torch.arange(800) % 4)[:, None].double()
    told = {"f": labels(800, 4)}
    (probe,) = probe_factors(codes, told, codes, told)
    assert probe.information_per_dim == pytest.approx([math.log(4)], abs=0.01)


def three_factors(size: int, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    sizes = {"two": 2, "also two": 2, "three": 3}
    return {name: torch.randint(n, (size,), generator=random) for name, n in sizes.items()}


def disentangled(make: Callable[[Tensor], Tensor], size: int = 2000) -> Disentanglement:
    """The figures of codes that are made of three independent factors, standardised (M, 3)."""
    codes, told = [], []
    for seed in (0, 1):
        values = three_factors(size, seed)
        columns = torch.stack([*values.values()], 1).double()
        codes.append(make((columns - columns.mean(0)) / columns.std(0)))
        told.append({name: list(map(str, each.tolist())) for name, each in values.items()})
    found = disentanglement(probe_factors(codes[0], told[0], codes[1], told[1]))
    assert found is not None
    return found


def test_a_code_that_is_the_factors():
    # SAP is a gap to chance: 1/2 of two values, 1/3 of three.
    found = disentangled(lambda factors: torch.cat([draws(len(factors), 2), factors], 1))
    # Thresholds are fitted on what they are scored on: chance is a little better than that.
    assert found.sap == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3, abs=0.05)
    assert found._replace(sap=0) == pytest.approx((1, 0, 1, 1, 1), abs=0.02)
    of_dci = "DCI disentanglement 1.00, completeness 1.00, informativeness 1.00"
    assert str(found) == f"MIG {found.mig:.2f}, SAP {found.sap:.2f}, {of_dci}"


def test_a_rotated_code_tells_as_much_and_disentangles_nothing():
    turn = torch.tensor([[2.0, -1, 2], [2, 2, -1], [-1, 2, 2]]).double() / 3
    mixed = torch.tensor([[1.0, 1, 1], [1, 1, -1], [1, -1, 0]]).double()  # no axis nearer than rest
    found = disentangled(lambda factors: factors @ turn)
    assert found.informativeness == pytest.approx(1, abs=0.02)
    assert max(found[:4]) < 0.4
    found = disentangled(lambda factors: factors @ mixed)
    assert max(found[:2]) < 0.2


def test_a_code_of_nothing():
    found = disentangled(lambda factors: draws(len(factors), 8, seed=len(factors)))
    assert found[:2] == pytest.approx((0, 0), abs=0.03)
    assert found[2:4] == (0, 0)  # no dimension outweighs the lasso


def test_a_factor_twice_is_told_and_has_no_dimension_of_its_own():
    found = disentangled(lambda factors: factors[:, [0, 0, 1, 2]])
    assert found.mig == pytest.approx(2 / 3, abs=0.02)
    assert found.sap == pytest.approx((0 + 1 / 2 + 2 / 3) / 3, abs=0.02)
    assert found.disentanglement == pytest.approx(1)
    # Half and half in two of four dimensions: 1 − log 2 / log 4.
    assert found.completeness == pytest.approx((1 / 2 + 1 + 1) / 3, abs=0.01)


PROBE = FactorProbe("f", 0.8, 0.5, 0.4, 1.0, [0.5, 0.2], 0, 0.5, [0.9, 0.6], [3.0, 1.0])


def test_figures_by_hand():
    other = FactorProbe("g", 0.6, 0.5, 0.4, 2.0, [0.1, 0.3], 0, 0.5, [0.5, 0.9], [0.0, 8.0])
    found = disentanglement([PROBE, other, PROBE._replace(entropy=0.0)])
    assert found is not None
    # Shares: of the first factor 3/4 and 1/4, of the second 0 and 1.
    quarter = (math.log(4) - 0.75 * math.log(3)) / math.log(2)
    fifth = (math.log(5) - 0.8 * math.log(4)) / math.log(2)  # of 1/4 and 1
    assert found.mig == pytest.approx((0.3 / 1 + 0.2 / 2) / 2)
    assert found.sap == pytest.approx((0.3 + 0.4) / 2)
    assert found.disentanglement == pytest.approx(0.75 / 2 * 1 + 1.25 / 2 * (1 - fifth))
    assert found.completeness == pytest.approx(((1 - quarter) + 1) / 2)
    assert found.informativeness == pytest.approx(0.7)


def test_figures_that_there_are_not():
    assert disentanglement([]) is None
    assert disentanglement([PROBE._replace(entropy=0.0)]) is None
    assert disentanglement([PROBE._replace(information_per_dim=[])]) is None
    one = disentanglement([PROBE])
    assert one is not None
    assert (one.mig, one.disentanglement) == (pytest.approx(0.3), None)
    lone = FactorProbe("f", 0.8, 0.5, 0.4, 1.0, [0.5], 0, 0.5, [0.9], [3.0])
    assert disentanglement([lone, lone]) == (None, None, 0, None, 0.8)


def test_accuracy_by_thresholds_is_the_mean_over_values():
    # 90 of one value and 30 of another, apart but for the first ten of each, at the same place.
    codes = torch.tensor([0.0] * 10 + [1.0] * 80 + [0.0] * 10 + [2.0] * 20)
    told = {"f": ["a"] * 90 + ["b"] * 30}
    (probe,) = probe_factors(codes[:, None], told, codes[:, None], told)
    # At 0 are 10/90 of a and 10/30 of b.
    assert probe.accuracy_per_dim == [pytest.approx((80 / 90 + 1) / 2)]


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
def test_wrong_codes_and_labels(train_labels, test, test_labels, message):
    with pytest.raises(InputError, match=re.escape(message)):
        probe_factors(torch.zeros(3, 2), train_labels, torch.zeros(test), test_labels)
