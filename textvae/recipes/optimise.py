"""A search in latent space for sentences that score high, by a Gaussian process (Optuna)."""

import math
import runpy
from collections.abc import Callable
from typing import NamedTuple

import torch
from tqdm import tqdm

from textvae.checks import MANY, InputError, choose, imported, integer, number
from textvae.files import first_line
from textvae.generation import generate_text
from textvae.model import SentenceVAE


class Candidate(NamedTuple):
    """A sentence that was scored."""

    score: float
    step: int  # from 1
    text: str
    z: list[float]


def optimise(
    model: SentenceVAE,
    score: Callable[[str], float],
    *,
    steps: int = 100,
    max_kl: float | None = None,
    sampler: str = "gp",
    label: str | None = None,
    seed: int = 0,
) -> tuple[list[Candidate], list[str]]:
    """Decode `steps` codes greedily, one after the other, and score each sentence: more is better.

    The region is a ball: |z|² / 2, the KL of a unit Gaussian at z from the prior, is at most
    `max_kl` nats; by default half of the dimensions, its mean under the prior. Samplers, `"gp"` or
    `"random"`, choose from the cube around it; what is outside is drawn in to the surface. What
    raises or isn't finite is skipped, and to the search as bad as the worst; second comes why.
    A model that is told labels is told these by `label`, all `"NAME=VALUE,NAME=VALUE"`.
    """
    integer("steps", steps, 1, most=MANY)
    model.require_latent()
    labels = model.labels.changed(None, 1, label)
    max_kl = model.latent_dim / 2 if max_kl is None else number("max_kl", max_kl, "(0, inf)")
    radius = math.sqrt(2 * max_kl)
    missing = 'a search needs optuna and scipy: pip install "textvae[tune]"'
    optuna, _ = (imported(name, missing) for name in ("optuna", "scipy"))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds = {"gp": optuna.samplers.GPSampler, "random": optuna.samplers.RandomSampler}
    chosen, states = choose(kinds, "sampler", sampler)(seed=seed), optuna.trial.TrialState
    study = optuna.create_study(direction="maximize", sampler=chosen)
    side = optuna.distributions.FloatDistribution(-radius, radius)
    space = {str(d): side for d in range(model.latent_dim)}
    found, faults = list[Candidate](), list[str]()
    for step in tqdm(range(1, steps + 1), desc=sampler, leave=False, disable=None):
        trial = study.ask(space)
        z = torch.tensor([[trial.params[name] for name in space]]).renorm(2, 0, radius)
        (text,) = generate_text(model, z, labels=labels)
        value: float | None = None
        try:
            value = number("a score", float(score(text)), "(-inf, inf)")
            found.append(Candidate(value, step, text, z[0].tolist()))
        except Exception as error:  # anyone's function may raise anything
            faults.append(f"{type(error).__name__}: {first_line(error)}")
            value = min(found).score if found else None
        study.tell(trial, value, state=states.FAIL if value is None else states.COMPLETE)
    if not found:
        raise InputError(f"none of {steps} candidates could be scored: {faults[0]}")
    return found, faults


def score_function(where: str) -> Callable[[str], float]:
    """The function that `"FILE.py:NAME"` names."""
    path, _, name = where.rpartition(":")
    wanted = f"property must be FILE.py:function, got {where!r}"
    try:
        found = runpy.run_path(path).get(name)
    except Exception as error:
        raise InputError(f"{wanted}: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise InputError(f"{wanted}: {path} has no function of that name")
    return found  # type: ignore[no-any-return]
