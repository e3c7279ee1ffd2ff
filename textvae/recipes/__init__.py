"""From a configuration to a trained and measured run, and configurations known to work."""

from textvae.recipes.loaded import (
    LoadedRun,
    diagnose_run,
    diagnose_runs,
    diagnosed,
    evaluate_run,
    finish,
)
from textvae.recipes.options import EXTENDABLE, PRETRAINING, RECIPES, Phase, source_and_recipe
from textvae.recipes.quality import (
    Examples,
    Grammaticality,
    Perplexities,
    Quality,
    examples_of,
    quality_run,
    readable,
)
from textvae.recipes.runs import open_corpus, phases, resume, start
from textvae.recipes.sweep import SweepError, SweptRun, sweep
