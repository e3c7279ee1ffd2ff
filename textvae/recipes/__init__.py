"""From a configuration to a trained and measured run, and configurations known to work."""

from textvae.recipes.loaded import (
    Examples,
    Grammaticality,
    LoadedRun,
    Perplexities,
    Quality,
    diagnose_run,
    diagnose_runs,
    evaluate_run,
    examples_of,
    finish,
    quality_run,
    readable,
)
from textvae.recipes.options import EXTENDABLE, PRETRAINING, RECIPES, Phase, source_and_recipe
from textvae.recipes.runs import open_corpus, phases, resume, start
from textvae.recipes.sweep import SweepError, SweptRun, sweep
