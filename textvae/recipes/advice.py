"""What to try after a diagnosed run, as a whole command: never what the run has tried already.

Remedies are only ever added, a floor that was too high is only ever lowered, and where all of the
default's are in use already a search decides: advice that is followed comes to an end.
"""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from textvae.annealers import ANNEALERS
from textvae.config import RunConfig
from textvae.recipes.loaded import LoadedRun
from textvae.recipes.named import DEFAULT, chosen, combined

LOGGING = ("log_every", "save_every", "tracker")  # which change no result
CURES = ("autoencoder_epochs", "free_bits", "bag_of_words")  # of the default recipe


def next_step(run: LoadedRun) -> str | None:
    """What to try after this run; None where its verdict's own advice says all there is."""
    training, path = run.config.training, shlex.quote(str(run.run.path))
    verdict = run.diagnosis.verdict.verdict
    if training.init_from is not None:
        return None  # its remedies are those of the run that it began with
    if verdict in ("collapsed", "partly collapsed"):
        flat = run.config.flat()
        if all(flat[name] for name in CURES):
            in_use = "All of the default's remedies are in use; search their settings"
            return _longer(run) or f"{in_use}: {_search(run)}"
        command = _command(run, combined(f"linear+{DEFAULT}"))
        price = f"They are paid for in NLL, which this compares: textvae diagnose {path} NEW"
        return f"Train with the remedies that it lacks: {command}. {price}"
    if verdict == "autoencoder":
        if training.max_beta < 1:
            return f"Train with the full KL weight: {_command(run, {'max_beta': 1.0})}"
        if rest := _rest_of_rise(run):
            return rest
        if not training.free_bits:
            return f"Search the settings: {_search(run)}"
        lower = {"free_bits": training.free_bits / 2}
        return f"Train with half of the floor under the KL: {_command(run, lower)}"
    return _longer(run) if verdict == "healthy" else None


def _longer(run: LoadedRun) -> str | None:
    """To train on, where β had still to rise or the last epoch was the best."""
    if rest := _rest_of_rise(run):
        return rest
    last = run.run.evaluations()[-1:]  # a model alone has no log of its training
    is_best = bool(last) and last[0]["verdict"] == "better"
    return _go_on(run, "It was still improving") if is_best else None


def _rest_of_rise(run: LoadedRun) -> str | None:
    """To train on, where a schedule had not come to its full weight."""
    training, last = run.config.training, run.run.evaluations()[-1:]
    beta = last[0].get("beta") if last else None
    # An older run may not tell it; the last step of a whole rise is one step below the full weight.
    if training.annealer not in ANNEALERS or beta is None or beta >= 0.99 * training.max_beta:
        return None
    return _go_on(run, f"β had come to {beta:.2f} of {training.max_beta:g}")


def _go_on(run: LoadedRun, why: str) -> str | None:
    """How to lift the limit that ended the training; None where something else did."""
    if not run.run.has_state():
        return None
    last, path = run.run.evaluations()[-1], shlex.quote(str(run.run.path))
    for limit, done in (("max_steps", last["step"]), ("max_epochs", last["epoch"])):
        if getattr(run.config.training, limit) == done:
            more = f"--resume --{limit.replace('_', '-')} {2 * done}"
            return f"{why} when it ended; let it go on: textvae train --output-dir {path} {more}"
    return None


def _search(run: LoadedRun) -> str:
    return f"textvae tune {_corpus_and(run, vars(run.config.data))} --minutes 60"


def _command(run: LoadedRun, changes: Mapping[str, Any]) -> str:
    """The training of a run with changes."""
    wanted = run.config.flat() | dict(changes)
    wanted = {name: value for name, value in wanted.items() if name not in LOGGING}
    return f"textvae train {_corpus_and(run, wanted)}"


def _corpus_and(run: LoadedRun, wanted: Mapping[str, Any]) -> str:
    """What a command is told of a run's corpus and options, but for what it would choose anyway."""
    given: dict[str, Any] = {}
    for _ in range(2):  # what is given of how tokens are made has a say in how many are kept
        usual = RunConfig.from_flat("", chosen(run.corpus, given), model=run.model.Config).flat()
        given |= {name: value for name, value in wanted.items() if usual[name] != value}
    return " ".join([shlex.quote(run.config.data_source), *_flags(given)])


def _flags(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        elif isinstance(value, str | int | float):
            yield f"--{flag} {shlex.quote(str(value))}"
