"""What the latent space carries, and how well a model predicts."""

from __future__ import annotations

from textvae.diagnostics.ablation import Ablation, z_ablation
from textvae.diagnostics.diagnosis import Diagnosis, FactorLabels, diagnose
from textvae.diagnostics.elbo import Evaluation, bits_per_token, evaluate, perplexity
from textvae.diagnostics.factors import FactorProbe, dimension_information, probe_factors
from textvae.diagnostics.gradients import GradientNorms, gradient_norm, gradient_norms
from textvae.diagnostics.importance import ImportanceNLL, importance_nll
from textvae.diagnostics.information import MutualInformation, mi_per_dimension, mutual_information
from textvae.diagnostics.latent_model import LatentModel, Progress, posteriors
from textvae.diagnostics.units import (
    COLLAPSED_KL,
    Moments,
    active_dimensions,
    active_units,
    au_curve,
    moments,
)
from textvae.diagnostics.verdict import RULES, Estimates, Verdict, judge

__all__ = [
    "COLLAPSED_KL",
    "RULES",
    "Ablation",
    "Diagnosis",
    "Estimates",
    "Evaluation",
    "FactorLabels",
    "FactorProbe",
    "GradientNorms",
    "ImportanceNLL",
    "LatentModel",
    "Moments",
    "MutualInformation",
    "Progress",
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
