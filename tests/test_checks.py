"""Numbers at the ends of what is allowed; all else is held where a room refuses it."""

import math
import re

import pytest

from textvae.checks import InputError, at_least, number


@pytest.mark.parametrize("value", [0, 0.999, math.inf, math.nan, -1])
def test_at_least(value):
    at_least(1, steps=1, rest=None)
    with pytest.raises(InputError, match=f"^steps must be at least 1, got {value}$"):
        at_least(1, ok=2, steps=value)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("(0, 1]", (0.1, 1), (0, 1.1, math.nan, 10**400)),
        ("[0, 1)", (0, 0.9), (-0.1, 1)),
        ("[0, inf)", (0, 1e300), (-1e-9, math.inf)),
    ],
)
def test_number(interval, inside, outside):
    for value in inside:
        assert number("x", value, interval) == value
    for value in outside:
        with pytest.raises(InputError, match=re.escape(f"x must be in {interval}, got")):
            number("x", value, interval)
    with pytest.raises(TypeError, match="x must be a number, got True"):
        number("x", True, interval)
