"""What the latent space carries, and how well a model predicts.

Offers `evaluate`, which measures the true ELBO of a model on a split, its result `Evaluation`, and
the two figures worth watching in training, `gradient_norm` and `active_units`.

`diagnose` measures in every way there is and judges; its parts: `importance_nll`, `z_ablation`,
`posteriors` and `moments`, `mutual_information` and `mi_per_dimension`, `au_curve` and
`active_dimensions`, `probe_factors` and `dimension_information`, `judge` with its table `RULES`.
"""

from __future__ import annotations

from textvae.diagnostics.ablation import Ablation, z_ablation
from textvae.diagnostics.diagnosis import Diagnosis, FactorLabels, diagnose
from textvae.diagnostics.elbo import Evaluation, evaluate
from textvae.diagnostics.factors import FactorProbe, dimension_information, probe_factors
from textvae.diagnostics.gradients import GradientNorms, gradient_norm, gradient_norms
from textvae.diagnostics.importance import ImportanceNLL, importance_nll
from textvae.diagnostics.information import (
    MutualInformation,
    mi_per_dimension,
    mutual_information,
)
from textvae.diagnostics.latent_model import LatentModel
from textvae.diagnostics.perplexity import bits_per_token, perplexity
from textvae.diagnostics.posterior import Moments, moments, posteriors
from textvae.diagnostics.units import (
    ACTIVE_KL,
    ACTIVE_VARIANCE,
    AU_THRESHOLDS,
    active_dimensions,
    active_units,
    au_curve,
)
from textvae.diagnostics.verdict import RULES, Rule, Signs, Verdict, judge

__all__ = [
    "ACTIVE_KL",
    "ACTIVE_VARIANCE",
    "AU_THRESHOLDS",
    "RULES",
    "Ablation",
    "Diagnosis",
    "Evaluation",
    "FactorLabels",
    "FactorProbe",
    "GradientNorms",
    "ImportanceNLL",
    "LatentModel",
    "Moments",
    "MutualInformation",
    "Rule",
    "Signs",
    "Verdict",
    "active_dimensions",
    "active_units",
    "au_curve",
    "bits_per_token",
    "diagnose",
    "dimension_information",
    "evaluate",
    "gradient_norm",
    "gradient_norms",
    "importance_nll",
    "judge",
    "mi_per_dimension",
    "moments",
    "mutual_information",
    "perplexity",
    "posteriors",
    "probe_factors",
    "z_ablation",
]
