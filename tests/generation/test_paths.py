"""Tests of `textvae.generation.paths`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from textvae.generation import (
    decode,
    decode_scored,
    encode,
    interpolate,
    interpolation,
    lerp,
    reconstruct,
    slerp,
    traverse,
)
from textvae.generation.paths import edit_distance, traverse_codes
from textvae.model import SentenceVAE
from textvae.tokenizer import Tokenizer

Codes = Callable[..., Tensor]


@pytest.mark.parametrize("steps", [2, 3, 6])
def test_interpolation_ends_at_both_reconstructions(
    lively_model: SentenceVAE, word_tokenizer: Tokenizer, texts: list[str], steps: int
) -> None:
    ends = reconstruct(lively_model, texts[:2], max_length=9)
    path = interpolate(lively_model, texts[0], texts[1], steps=steps, max_length=9)
    assert len(path) == steps
    assert [path[0], path[-1]] == ends
    assert ends[0] != ends[1]
    start, end = encode(lively_model, texts[:2]).mu
    for place, sentence in enumerate(path):
        share = place / (steps - 1)
        z = (1 - share) * start + share * end
        ids = decode(lively_model, z[None], max_length=9)
        assert sentence == word_tokenizer.decode(ids[0])


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolation_between_a_text_and_itself_stays(
    lively_model: SentenceVAE, method: str
) -> None:
    path = interpolate(lively_model, "a dog runs", "a dog runs", method=method, max_length=9)
    assert path == reconstruct(lively_model, ["a dog runs"], max_length=9) * 5


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_several_texts_are_joined_leg_by_leg(
    lively_model: SentenceVAE, texts: list[str], method: str
) -> None:
    options: dict[str, Any] = {"steps": 4, "method": method, "max_length": 9}
    path = interpolate(lively_model, *texts[:3], **options)
    first = interpolate(lively_model, texts[0], texts[1], **options)
    second = interpolate(lively_model, texts[1], texts[2], **options)
    assert path == [*first, *second[1:]]


def test_a_path_is_measured(lively_model: SentenceVAE, texts: list[str]) -> None:
    path = interpolation(lively_model, *texts[:3], steps=6, max_length=9)
    assert path.texts == interpolate(lively_model, *texts[:3], steps=6, max_length=9)
    assert path.z.shape == (11, 3)
    torch.testing.assert_close(path.z[[0, 5, 10]], encode(lively_model, texts[:3]).mu)
    words = [text.split() for text in path.texts]
    expected = [
        distance_by_recursion(tuple(one), tuple(other)) / max(len(one), len(other), 1)
        for one, other in pairwise(words)
    ]
    assert path.distances == pytest.approx(expected)
    assert 0 < path.smoothness == pytest.approx(1 - sum(expected) / 10)
    assert path.num_distinct == len(set(path.texts)) > 1
    scored = decode_scored(lively_model, path.z, max_length=9)
    assert path.log_probs == tuple(one.log_prob for one in scored)
    still = interpolation(lively_model, texts[0], texts[0], max_length=9)
    assert (still.smoothness, still.num_distinct) == (1, 1)


def distance_by_recursion(one: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    @cache
    def rest(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return len(one) - i + len(other) - j
        if one[i] == other[j]:
            return rest(i + 1, j + 1)
        return 1 + min(rest(i + 1, j), rest(i, j + 1), rest(i + 1, j + 1))

    return rest(0, 0)


IDS = st.lists(st.integers(0, 3), max_size=8).map(tuple)


@given(IDS, IDS)
def test_edit_distance(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert edit_distance(one, other) == distance_by_recursion(one, other)


def test_an_arc_keeps_length_and_angle() -> None:
    start, end = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    arc = slerp(start, end, torch.tensor([0.0, 1 / 3, 0.5, 1.0]))
    angles = torch.tensor([0.0, math.pi / 6, math.pi / 4, math.pi / 2])
    expected = 2 * torch.stack([angles.cos(), angles.sin(), torch.zeros(4)], dim=1)
    torch.testing.assert_close(arc, expected)


def test_arcs_meet_their_ends(codes: Codes) -> None:
    for seed in range(20):
        start, end = codes(2, 5, seed=seed) * torch.tensor([[3.0], [0.5]])
        for way in (lerp, slerp):
            found = way(start, end, torch.linspace(0, 1, 5))
            torch.testing.assert_close(found[0], start)
            torch.testing.assert_close(found[-1], end)
            back = way(end, start, torch.linspace(0, 1, 5)).flip(0)
            torch.testing.assert_close(found, back)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ([0.0, 0.0], [1.0, 2.0]),  # no direction
        ([0.0, 0.0], [0.0, 0.0]),
        ([1.0, 2.0], [2.0, 4.0]),  # no arc
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0], [-1.0, -2.0]),  # any number of arcs
        ([1e-30, 0.0], [0.0, 1e-30]),  # products too small for fp32
    ],
)
def test_where_there_is_no_arc_it_is_a_line(start: list[float], end: list[float]) -> None:
    shares = torch.linspace(0, 1, 5)
    ends = torch.tensor(start), torch.tensor(end)
    torch.testing.assert_close(slerp(*ends, shares), lerp(*ends, shares))


def test_an_arc_that_is_nearly_a_line_is_near_it(codes: Codes) -> None:
    start, shares = codes(4), torch.linspace(0, 1, 5)
    for apart in (1e-6, 1e-5, 1e-4, 1e-3):
        end = start + apart * codes(4, seed=2)
        torch.testing.assert_close(slerp(start, end, shares), lerp(start, end, shares))


def test_traversing_sets_one_dimension(
    lively_model: SentenceVAE, word_tokenizer: Tokenizer
) -> None:
    z = encode(lively_model, ["a dog runs"]).mu
    found = traverse(lively_model, "a dog runs", 1, low=-4.0, high=2.0, steps=4, max_length=8)
    codes = traverse_codes(lively_model, "a dog runs", 1, low=-4.0, high=2.0, steps=4)
    for text, code, value in zip(found, codes, (-4.0, -2.0, 0.0, 2.0), strict=True):
        z[0, 1] = value
        torch.testing.assert_close(code, z[0])
        assert text == word_tokenizer.decode(decode(lively_model, z, max_length=8)[0])
    assert len(set(found)) > 1
    assert len(traverse(lively_model, "a dog runs", 0, max_length=8)) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, r"steps must be at least 2 \(both ends\), got 1"),
        ({"steps": 0}, r"steps must be at least 2 \(both ends\), got 0"),
        ({"method": "cubic"}, "method must be one of linear, spherical, got 'cubic'"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_arguments_of_interpolate_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    for function in (interpolate, interpolation):
        with pytest.raises(ValueError, match=message):
            function(tiny_model, "a dog", "a cat", **arguments)


@pytest.mark.parametrize("given", [(), ("a dog",)])
def test_a_path_has_two_ends(tiny_model: SentenceVAE, given: tuple[str, ...]) -> None:
    message = rf"texts must be at least 2 sentences \(both ends\), got {len(given)}"
    with pytest.raises(ValueError, match=message):
        interpolate(tiny_model, *given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 3}, "dim must be from 0 to 2, got 3"),
        ({"dim": -1}, "dim must be from 0 to 2, got -1"),
        ({"steps": 1}, r"steps must be at least 2 \(both ends\), got 1"),
        ({"low": 1.0, "high": 1.0}, r"low must be finite and below high, got 1\.0 and 1\.0"),
        ({"high": math.inf}, r"low must be finite and below high, got -3\.0 and inf"),
        ({"low": math.nan}, r"low must be finite and below high, got nan and 3\.0"),
    ],
)
def test_arguments_of_traverse_outside_their_range_are_refused(
    tiny_model: SentenceVAE, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        traverse(tiny_model, "a dog", **{"dim": 0, **arguments})
