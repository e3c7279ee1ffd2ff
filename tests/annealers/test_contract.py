"""One contract for every schedule of the KL weight, the drop-in's among them."""

import copy
import json
import pickle
import re
from collections.abc import Callable

import pytest
import torch

from tests.annealers.stepping import after, weights
from textvae.annealers import (
    ConstantAnnealer,
    CosineAnnealer,
    CyclicalAnnealer,
    KLAnnealer,
    LinearAnnealer,
    ScheduledAnnealer,
    SigmoidAnnealer,
)
from textvae.checks import InputError
from textvae.interop.vae_annealing import Annealer

# Name: (a fresh annealer, its weight at step 0, its highest weight, steps until it is finished).
CASES: dict[str, tuple[Callable[[], ScheduledAnnealer], float, float, int | None]] = {
    "constant": (lambda: ConstantAnnealer(0.3), 0.3, 0.3, 0),
    "constant, as it comes": (ConstantAnnealer, 1.0, 1.0, 0),
    "linear": (lambda: LinearAnnealer(7, 0.9), 0.0, 0.9, 7),
    "linear at once": (lambda: LinearAnnealer(0), 1.0, 1.0, 0),
    "sigmoid at once": (lambda: SigmoidAnnealer(0, 0.5), 0.5, 0.5, 0),
    "cosine at once": (lambda: CosineAnnealer(0, 0.5), 0.5, 0.5, 0),
    "sigmoid": (lambda: SigmoidAnnealer(7, 2.0), 0.0, 2.0, 7),
    "sigmoid steep": (lambda: SigmoidAnnealer(9, k=30), 0.0, 1.0, 9),
    "cosine": (lambda: CosineAnnealer(7, 0.7), 0.0, 0.7, 7),
    "cycles": (lambda: CyclicalAnnealer(6, 2, max_beta=0.7), 0.0, 0.7, 9),
    "cycles, sigmoid": (lambda: CyclicalAnnealer(6, 2, shape="sigmoid"), 0.0, 1.0, 9),
    "cycles, all rise": (lambda: CyclicalAnnealer(5, 2, ratio=1.0), 0.0, 1.0, 9),
    "cycles, uneven": (lambda: CyclicalAnnealer(num_cycles=3, total_steps=11), 0.0, 1.0, 9),
    "cycles at once": (lambda: CyclicalAnnealer(num_cycles=3, total_steps=0), 1.0, 1.0, 0),
    "cycles forever": (lambda: CyclicalAnnealer(4), 0.0, 1.0, None),
    "package linear": (lambda: Annealer(6), 0.0, 1.0, 6),
    "package cosine": (lambda: Annealer(6, "cosine", 0.1), 0.1, 1.0, 6),
    "package logistic": (lambda: Annealer(6, "logistic", 0.2), 0.2, 1.0, 6),
    "package cyclical": (lambda: Annealer(4, cyclical=True), 0.0, 0.75, None),
    "package disabled": (lambda: Annealer(4, baseline=0.3, disable=True), 1.0, 1.0, 0),
}
STEPS = 30  # more than any case needs to finish, or to go through several cycles


def fresh(case: str) -> ScheduledAnnealer:
    return CASES[case][0]()


@pytest.mark.parametrize("case", CASES)
def test_contract_weights_are_value_at_the_steps_taken(case):
    make, first, highest, end = CASES[case]
    annealer = make()
    assert isinstance(annealer, KLAnnealer)
    assert not isinstance(lambda kl: kl, KLAnnealer)  # it can't be stepped
    planned = [annealer.value_at(step) for step in range(STEPS)]
    assert annealer.current_step == 0  # looking ahead moves nothing
    for step, weight in enumerate(planned):
        assert annealer(1.0) == annealer.value == weight
        assert annealer.value_at(annealer.current_step) == weight
        assert annealer.finished is (end is not None and step >= end)
        annealer.step()
    assert [annealer.value_at(step) for step in range(STEPS)] == planned
    assert min(planned) == planned[0] == first  # end points are exact
    assert max(planned) == highest
    if end is not None:
        assert set(planned[end:]) == {highest}
        assert end == 0 or planned[end - 1] < highest


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [0, 1, 5, STEPS])
def test_contract_state_round_trip(case, steps):
    annealer = after(fresh(case), steps)
    state = json.loads(json.dumps(annealer.state_dict()))
    resumed = fresh(case)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == annealer.state_dict() == state
    assert resumed.finished is annealer.finished
    snapshot = annealer.state_dict()
    assert weights(resumed, STEPS) == weights(annealer, STEPS)
    assert snapshot == state


@pytest.mark.parametrize("case", CASES)
def test_contract_multiplies_tensors(case):
    annealer = after(fresh(case), 2)
    kl = torch.tensor([2.0, 4.0], requires_grad=True)
    weighted = annealer(kl)
    torch.testing.assert_close(weighted, kl.detach() * annealer.value)
    weighted.sum().backward()
    torch.testing.assert_close(kl.grad, torch.full((2,), annealer.value))
    assert kl.dtype == weighted.dtype


@pytest.mark.parametrize("case", CASES)
def test_contract_repr_copies_and_pickles(case):
    annealer = after(fresh(case), 3)
    assert re.fullmatch(rf"{type(annealer).__name__}\([a-z].*\)", repr(annealer))
    assert f"current_step={annealer.current_step}" in repr(annealer)
    assert repr(fresh(case)).count("current_step=0") == 1
    for twin in (copy.deepcopy(annealer), pickle.loads(pickle.dumps(annealer))):
        assert repr(twin) == repr(annealer)
        assert twin.value == annealer.value


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        ({"step": 3}, ValueError, r"the keys .* got \{'step': 3\}"),  # someone else's state
        ({"current_step": 3, "beta": 1.0, "cyclical": True}, ValueError, "the keys"),  # too much
        (None, ValueError, "must be a mapping .* got None"),
        (-1, ValueError, "current_step must be at least 0, got -1"),
        (True, TypeError, "current_step must be an integer, got True"),
    ],
)
def test_contract_malformed_state_changes_nothing(case, broken, error, message):
    annealer = after(fresh(case), 2)
    before = repr(annealer)
    if isinstance(broken, int):
        broken = {**annealer.state_dict(), "current_step": broken}
    with pytest.raises(error, match=message):
        annealer.load_state_dict(broken)
    assert repr(annealer) == before


@pytest.mark.parametrize("case", CASES)
def test_contract_value_at_refuses(case):
    with pytest.raises(InputError, match="step must be at least 0, got -1"):
        fresh(case).value_at(-1)
    with pytest.raises(TypeError, match=r"step must be an integer, got 1\.0"):
        fresh(case).value_at(1.0)
