"""A search over recipes and the options that matter, for the best healthy model (Optuna)."""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from textvae.checks import at_least, imported, number
from textvae.corpus import Corpus
from textvae.diagnostics import Evaluation, importance_nll
from textvae.recipes.measured import diagnose_run
from textvae.recipes.named import DEFAULT, RECIPES, chosen
from textvae.recipes.runs import phases
from textvae.run import RunDirectory
from textvae.training import Remedy, Trainer, TrainingError

Interval = tuple[float, float]

SPACE: dict[str, dict[str, Interval]] = {
    DEFAULT: {"free_bits": (3.0, 16.0), "bag_of_words": (0.03, 1.0), "max_beta": (1.0, 1.5)},
    "pool+pretrain": {"free_bits": (0.05, 0.6)},
    "pool+free-bits": {"free_bits": (0.05, 0.6)},
    "pool+batch-norm": {"batch_norm_gamma": (0.3, 1.0)},
    "pool+mdr": {"target_rate": (2.0, 16.0)},
}
"""Recipes that are tried, and the options of each that are searched, on a scale of logarithms."""

DROPOUT, RATES = (0.0, 0.6), (3e-4, 3e-3)
JUDGED, NUM_SAMPLES = 1000, 20  # validation sentences and importance samples of a verdict
WATCHED, NUM_WATCHED = 4, 10  # batches at most and samples after each epoch
UNHEALTHY = 1e3  # nats added to the NLL of a model that is not healthy: below all that are


class Trial(NamedTuple):
    """A training of the search: what was tried, and what came of it where it went to its end."""

    number: int
    recipe: str
    options: dict[str, Any]  # that were searched
    directory: str
    state: str  # complete, pruned (stopped early), fail (interrupted) or running
    nll: float | None
    kl: float | None
    mi: float | None
    au: int | None
    verdict: str | None
    minutes: float | None


JUDGEMENT = Trial._fields[5:]  # what there is of a trial that went to its end


def tune(
    corpus: Corpus,
    given: Mapping[str, Any],
    directory: str | Path,
    *,
    minutes: float,
    max_trials: int | None = None,
    seed: int = 0,
) -> list[Trial]:
    """Train with one recipe and setting after another; those that fall behind are stopped early.

    Judged by the importance-weighted NLL of validation sentences among those whose verdict is
    healthy. The search is kept in `directory`, beside its run directories: called again, also from
    several processes or machines that share it, this goes on, and Ctrl-C loses nothing. `given`
    options are not searched. A training that the time ends is dropped, unless it is the first.

    Raises:
        NotInstalledError: Without the extra `textvae[tune]`.
    """
    number("minutes", minutes, "(0, inf)")
    at_least(1, max_trials=max_trials)
    optuna = imported("optuna", 'a search needs optuna: pip install "textvae[tune]"')
    study = _opened(optuna, corpus, directory, seed)
    deadline = time.monotonic() + 60 * minutes

    def objective(trial: Any) -> float:
        recipe, options = _suggested(trial, given)
        path = trial.user_attrs.get("directory") or str(Path(directory, f"trial-{trial.number}"))
        trial.set_user_attr("directory", path)
        is_first = not any(each.state == optuna.trial.TrialState.COMPLETE for each in study.trials)
        watch = Watch(trial, math.inf if is_first else deadline, optuna.TrialPruned)
        tqdm.write(f"trial {trial.number}: {recipe}, {options}", file=sys.stderr)
        wanted = chosen(corpus, {**options, **given, "seed": seed}, recipe)
        try:
            for trainer in _phases(corpus, wanted, path, watch):
                trainer.fit()
        except TrainingError as fault:  # it diverged: its settings are bad, the search is not
            tqdm.write(f"trial {trial.number}: {fault}", file=sys.stderr)
            raise optuna.TrialPruned from None
        return _judged(trial, path, trainer.progress.seconds / 60)

    study.optimize(objective, n_trials=max_trials, timeout=60 * minutes)
    return [_trial(each) for each in study.get_trials(deepcopy=False) if each.user_attrs]


def _opened(optuna: Any, corpus: Corpus, directory: str | Path, seed: int) -> Any:
    """The study in a directory, new or gone on with; what is to be tried next is queued."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    Path(directory).mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal.JournalFileBackend(str(Path(directory, "study.log")))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),
        study_name=corpus.source,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )
    known = study.get_trials(deepcopy=False)
    # Several processes, and this one when it is called again, are not to try the same.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(known), n_startup_trials=len(SPACE))
    last = {trial.user_attrs["directory"]: trial for trial in known if trial.user_attrs}
    for trial in last.values():
        if trial.state == optuna.trial.TrialState.FAIL:  # interrupted: it goes on where it was
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
    if not known:
        own = RECIPES[DEFAULT].options
        usual = {f"{DEFAULT} {name}": own[name] for name in SPACE[DEFAULT]}
        study.enqueue_trial({"recipe": DEFAULT, **usual, "lr": 1e-3, "dropout": 0.5})
    return study


def _phases(
    corpus: Corpus, options: Mapping[str, Any], path: str, watch: "Watch"
) -> Iterator[Trainer]:
    """Of a new training, or of one that was interrupted."""
    if RunDirectory.is_taken(path):
        return phases(None, {}, path, remedies={"watch": watch})
    return phases(corpus, options, path, remedies={"watch": watch})


def _suggested(trial: Any, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A recipe, and its options that are searched: those that are not given."""
    recipe = trial.suggest_categorical("recipe", list(SPACE))
    options = {
        name: trial.suggest_float(f"{recipe} {name}", *within, log=True)
        for name, within in SPACE[recipe].items()
        if name not in given
    }
    if "lr" not in given:
        options["lr"] = trial.suggest_float("lr", *RATES, log=True)
    for name in ("embedding_dropout", "output_dropout"):
        if name not in given:
            options[name] = trial.suggest_float("dropout", *DROPOUT)  # the same for both
    return recipe, options


class Watch(Remedy):
    """Tells the search how a training goes, and ends it where it falls behind or time is up."""

    def __init__(self, trial: Any, deadline: float, pruned: type[Exception]) -> None:
        self.trial, self.deadline, self.pruned = trial, deadline, pruned

    def after_evaluation(self, trainer: Any, evaluation: Evaluation) -> None:
        """Report the importance-weighted NLL of a few validation sentences."""
        batches = list(trainer.valid.epoch(0))  # from short sentences to long
        few = batches[:: math.ceil(len(batches) / WATCHED)]
        nll = importance_nll(trainer.judged, few, num_samples=NUM_WATCHED).nll
        self.trial.report(nll, trainer.progress.epoch)
        if self.trial.should_prune() or time.monotonic() > self.deadline:
            raise self.pruned

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the search keeps its own."""
        return {}


def _judged(trial: Any, path: str, minutes: float) -> float:
    """The NLL of a trained run; what else was found is kept with the trial."""
    found = diagnose_run(path, "valid", most=JUDGED, num_samples=NUM_SAMPLES).diagnosis
    if found.interrupted or found.nll is None:
        raise KeyboardInterrupt  # part of the sentences is no judgement
    verdict = found.verdict.verdict
    kept = found.nll.nll, found.elbo.kl, found.mi.mi, found.elbo.au, verdict, minutes
    for name, value in zip(JUDGEMENT, kept, strict=True):
        trial.set_user_attr(name, value)
    return found.nll.nll + (0.0 if verdict == "healthy" else UNHEALTHY)


def _trial(found: Any) -> Trial:
    params = dict(found.params)
    recipe, known = params.pop("recipe", ""), dict(found.user_attrs)
    options = {name.split(" ")[-1]: value for name, value in params.items()}
    state, judged = found.state.name.lower(), map(known.get, JUDGEMENT)
    return Trial(found.number, recipe, options, known["directory"], state, *judged)


def best(found: Sequence[Trial]) -> Trial | None:
    """The healthy model of the lowest NLL; None if there is none."""
    healthy = [trial for trial in found if trial.state == "complete" and trial.verdict == "healthy"]
    return min(healthy, key=lambda trial: trial.nll or math.inf, default=None)


def search_record(found: Sequence[Trial]) -> dict[str, Any]:
    """A search as plain values: the directory of the best, and all trials."""
    winner = best(found)
    trials = [trial._asdict() for trial in found]
    return {"best": None if winner is None else winner.directory, "trials": trials}
