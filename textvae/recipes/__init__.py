"""From a configuration to a trained and measured run, and configurations known to work.

Offers `RECIPES` (named options), `open_corpus`, `start`, `resume` and `phases` (which put a run's
parts together), `finish` (which measures a trained run), `open_run` and `evaluate_run` (on any
split), and `sweep` (many configurations over many seeds).
"""

from textvae.recipes.measure import Measured, Subject, evaluate_run, finish, open_run
from textvae.recipes.options import PRETRAINING, RECIPES
from textvae.recipes.runs import open_corpus, phases, refuse_other_corpus, resume, start
from textvae.recipes.sweep import SweepError, SweptRun, sweep

__all__ = [
    "PRETRAINING",
    "RECIPES",
    "Measured",
    "Subject",
    "SweepError",
    "SweptRun",
    "evaluate_run",
    "finish",
    "open_corpus",
    "open_run",
    "phases",
    "refuse_other_corpus",
    "resume",
    "start",
    "sweep",
]
