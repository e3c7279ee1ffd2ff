"""From a configuration to a trained and measured run, and configurations known to work."""

from textvae.recipes.diagnose import diagnose_run, diagnose_runs, diagnosed
from textvae.recipes.examples import Examples, examples_of
from textvae.recipes.loaded import LoadedRun, evaluate_run, finish
from textvae.recipes.options import EXTENDABLE, PRETRAINING, RECIPES, Phase, source_and_recipe
from textvae.recipes.quality import Grammaticality, Perplexities, Quality, quality_run
from textvae.recipes.runs import open_corpus, phases, refuse_other_corpus, resume, start
from textvae.recipes.sweep import SweepError, SweptRun, sweep

__all__ = [
    "EXTENDABLE",
    "PRETRAINING",
    "RECIPES",
    "Examples",
    "Grammaticality",
    "LoadedRun",
    "Perplexities",
    "Phase",
    "Quality",
    "SweepError",
    "SweptRun",
    "diagnose_run",
    "diagnose_runs",
    "diagnosed",
    "evaluate_run",
    "examples_of",
    "finish",
    "open_corpus",
    "phases",
    "quality_run",
    "refuse_other_corpus",
    "resume",
    "source_and_recipe",
    "start",
    "sweep",
]
