"""What is refused, and how: `InputError`, and the checks of arguments that all rooms share.

A message names the argument, what is allowed, and what was given.
"""

import importlib
import math
import numbers
import operator
from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex, TypeVar

T = TypeVar("T")

MOST = 2**53  # up to here whole numbers are exact in JSON and as floats, and fit an int64
MANY = 10**7  # sentences or samples at once: more take days, or all memory


class InputError(ValueError):
    """Something that a user gave can't be used; the message says what is allowed."""


class TrainingError(RuntimeError):
    """Training can't go on; the message says where, and what is safe."""


class NotInstalledError(ImportError):
    """An extra that was asked for is not installed; the message says what to type."""


def imported(module: str, missing: str) -> Any:
    """A module of an extra; NotInstalledError with the message `missing` where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise NotInstalledError(missing) from None


def refuse(faults: Iterable[str]) -> None:
    """Raise an `InputError` that tells all faults at once, if there are any."""
    if told := "; ".join(faults):
        raise InputError(told)


def at_least(low: float, **values: float | None) -> None:
    """Refuse values below `low`, infinite ones and NaN; None is no value."""
    for name, value in values.items():
        if value is not None and not low <= value < math.inf:
            raise InputError(f"{name} must be at least {low}, got {value}")


def integer(
    name: str, value: object, low: int, high: int | None = None, *, most: int = MOST
) -> int:
    """A whole number from `low` to `high`; TypeError for anything else, True among it.

    Those above `most` are refused, too: what is told where there is no `high` to be told.
    """
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    count = operator.index(value)
    if count < low or (high is not None and count > high):
        limit = "" if high is None else f" and at most {high}"
        raise InputError(f"{name} must be at least {low}{limit}, got {count}")
    if count > most:
        raise InputError(f"{name} must be at most {most}, got {count}")
    return count


def number(name: str, value: object, interval: str) -> float:
    """A number in an interval as mathematics writes it, `"(0, 1]"` or `"[0, inf)"`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        found = float(value)
    except OverflowError:
        raise InputError(f"{name} must be in {interval}, got more than a float holds") from None
    low, high = map(float, interval[1:-1].split(", "))
    is_above = found > low if interval[0] == "(" else found >= low
    is_below = found < high if interval[-1] == ")" else found <= high
    if not (is_above and is_below):
        raise InputError(f"{name} must be in {interval}, got {found}")
    return found


def switch(name: str, value: object) -> bool:
    """True or False, and nothing that is merely like one of them."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def one_of(name: str, value: str, allowed: Iterable[str]) -> str:
    """A name that is among those allowed."""
    known = tuple(allowed)
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return value


def choose(table: Mapping[str, T], name: str, key: str) -> T:
    """The entry of a table under a name; the names there are, where it has no such entry."""
    return table[one_of(name, key, table)]
