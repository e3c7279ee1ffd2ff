"""Checks that all rooms share."""

import math
import re

import pytest

from textvae.checks import InputError, at_least, choose, integer, number, one_of, refuse, switch


def test_all_faults_are_told_at_once():
    refuse([])
    with pytest.raises(InputError, match=r"^a must be 1; b must be 2$"):
        refuse(["a must be 1", "b must be 2"])


@pytest.mark.parametrize("value", [0, 0.999, math.inf, math.nan, -1])
def test_at_least(value):
    at_least(1, steps=1, rest=None)
    with pytest.raises(InputError, match=f"^steps must be at least 1, got {value}$"):
        at_least(1, ok=2, steps=value)


def test_integer():
    assert integer("k", 3, 3, 3) == 3
    with pytest.raises(InputError, match=r"^k must be at least 3, got 2$"):
        integer("k", 2, 3)
    with pytest.raises(InputError, match=r"^k must be at least 3 and at most 4, got 5$"):
        integer("k", 5, 3, 4)
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(TypeError, match=re.escape(f"k must be an integer, got {wrong!r}")):
            integer("k", wrong, 0)


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


def test_switch_and_names():
    assert switch("on", False) is False
    with pytest.raises(TypeError, match="on must be True or False, got 1"):
        switch("on", 1)
    assert one_of("kind", "a", ("a", "b")) == "a"
    assert choose({"a": 1}, "kind", "a") == 1
    with pytest.raises(InputError, match="kind must be one of a, b, got 'c'"):
        choose({"a": 1, "b": 2}, "kind", "c")
