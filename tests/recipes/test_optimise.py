"""The search in latent space: that it finds what is there, stays where it may, and skips faults."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textvae import TextVAE
from textvae.checks import InputError
from textvae.recipes import optimise, score_function


@pytest.fixture(scope="module")
def model(run: Path) -> TextVAE:
    return TextVAE.from_pretrained(run)


@pytest.fixture
def open_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every code decoded to its own numbers."""

    def told(model: Any, z: Tensor, **labels: Any) -> list[str]:
        return [" ".join(map(str, row)) for row in z.tolist()]

    monkeypatch.setattr(sys.modules["textvae.recipes.optimise"], "generate_text", told)


@pytest.mark.usefixtures("open_codes")
def test_it_finds_the_best_place_that_there_is(model):
    def nearness(text: str) -> float:
        return -math.dist(map(float, text.split()), (0.5, -0.7, 0.8))

    best = {}
    for sampler in ("gp", "random"):
        found, faults = optimise(model, nearness, steps=25, sampler=sampler)
        assert (len(found), faults) == (25, [])
        best[sampler] = max(found).score
    assert best["gp"] > -0.15
    assert best["random"] < 2 * best["gp"]


@pytest.mark.usefixtures("open_codes")
@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_it_stays_in_its_ball(model, sampler):
    found, _ = optimise(model, len, steps=12, max_kl=0.5, sampler=sampler)
    assert [each.step for each in found] == [*range(1, 13)]
    codes = torch.tensor([each.z for each in found])
    assert codes.shape == (12, 3)
    assert 0.5 < codes.norm(dim=1).max() <= 1.0001  # |z|² / 2 = 0.5
    assert optimise(model, len, steps=12, max_kl=0.5, sampler=sampler)[0] == found


def test_codes_are_decoded_greedily(model):
    found, _ = optimise(model, len, steps=2)
    assert model.generate_text(torch.tensor([each.z for each in found])) == [x.text for x in found]
    assert [each.score for each in found] == [len(each.text) for each in found]


@pytest.mark.usefixtures("open_codes")
def test_a_score_that_fails_is_skipped_and_counted(model):
    calls = iter([lambda: 1 / 0, lambda: math.nan, lambda: None, lambda: "no", lambda: 7] * 3)
    found, faults = optimise(model, lambda text: next(calls)(), steps=15)
    assert [each.step for each in found] == [5, 10, 15]
    names = ["ZeroDivisionError", "InputError", "TypeError", "ValueError"]
    assert [fault.split(":")[0] for fault in faults] == names * 3
    assert {each.score for each in found} == {7}


@pytest.mark.usefixtures("open_codes")
def test_what_fails_is_as_bad_as_the_worst_to_the_search(model):
    def half(text: str) -> float:
        if (first := float(text.split()[0])) > 0:
            raise ValueError("out of bounds\nand more of it")
        return first

    found, faults = optimise(model, half, steps=30)
    assert len(found) + len(faults) == 30
    assert faults[0] == "ValueError: out of bounds"
    assert max(found).score > -0.3  # it rises towards where it fails
    assert sum(each.step > 10 for each in found) > 5  # but does not stay there


def test_what_is_refused(model):
    with pytest.raises(InputError, match="steps must be at least 1, got 0"):
        optimise(model, len, steps=0)
    with pytest.raises(InputError, match=r"max_kl must be in \(0, inf\), got 0.0"):
        optimise(model, len, max_kl=0)
    with pytest.raises(InputError, match="sampler must be one of gp, random, got 'tpe'"):
        optimise(model, len, sampler="tpe")


def test_a_function_by_its_file(tmp_path):
    file = tmp_path / "my.py"
    file.write_text("import math\nN = 2\ndef score(text):\n    return math.sqrt(len(text)) * N\n")
    assert score_function(f"{file}:score")("abcd") == 4
    file.with_name("broken.py").write_text("1 / 0")
    for where, fault in {
        f"{file}:scores": "my.py has no function of that name",
        f"{file}:N": "my.py has no function of that name",
        f"{tmp_path}/broken.py:score": "ZeroDivisionError",
    }.items():
        with pytest.raises(InputError, match=fault):
            score_function(where)
