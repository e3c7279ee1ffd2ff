"""From a configuration to a trained and measured run, and configurations known to work.

Offers `RECIPES` (named options), `open_corpus`, `start`, `resume` and `phases` (which put a run's
parts together), `finish` (which measures a trained run), `open_run` and `evaluate_run` (on any
split), `diagnose_run` and `diagnose_runs` (in every way there is), `quality_run` (how good its
sentences are), and `sweep` (many configurations over many seeds).
"""

from textvae.recipes.diagnose import Diagnosed, Progress, diagnose_run, diagnose_runs
from textvae.recipes.measure import Measured, Subject, evaluate_run, finish, open_run
from textvae.recipes.options import PRETRAINING, RECIPES, source_and_recipe
from textvae.recipes.quality import (
    PERPLEXITIES,
    Grammaticality,
    Perplexities,
    Quality,
    quality_run,
)
from textvae.recipes.runs import open_corpus, phases, refuse_other_corpus, resume, start
from textvae.recipes.sweep import SweepError, SweptRun, sweep

__all__ = [
    "PERPLEXITIES",
    "PRETRAINING",
    "RECIPES",
    "Diagnosed",
    "Grammaticality",
    "Measured",
    "Perplexities",
    "Progress",
    "Quality",
    "Subject",
    "SweepError",
    "SweptRun",
    "diagnose_run",
    "diagnose_runs",
    "evaluate_run",
    "finish",
    "open_corpus",
    "open_run",
    "phases",
    "quality_run",
    "refuse_other_corpus",
    "resume",
    "source_and_recipe",
    "start",
    "sweep",
]
