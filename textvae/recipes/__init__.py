"""From a configuration to a trained and measured run, and configurations known to work."""

from textvae.recipes.examples import Examples, examples_of, lively_path, readable
from textvae.recipes.loaded import LoadedRun
from textvae.recipes.measured import diagnose_run, diagnose_runs, evaluate_run, finish
from textvae.recipes.named import (
    DEFAULT,
    RECIPES,
    SIZES,
    Recipe,
    chosen,
    combined,
    source_and_sizes,
)
from textvae.recipes.optimise import Candidate, optimise, score_function
from textvae.recipes.options import EXTENDABLE, PRETRAINING, Phase
from textvae.recipes.quality import Perplexities, Quality, quality_run
from textvae.recipes.runs import CorpusChanged, is_changed, open_corpus, phases, resume, start
from textvae.recipes.scores import score_run
from textvae.recipes.sweep import SweepError, SweptRun, refuse_like_seeds, sweep
from textvae.recipes.tune import SPACE, Trial, best, search_record, tune
