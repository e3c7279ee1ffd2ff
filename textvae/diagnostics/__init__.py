"""What the latent space carries, and how well a model predicts."""

from __future__ import annotations

from textvae.diagnostics.diagnosis import Diagnosis, FactorLabels, diagnose
from textvae.diagnostics.elbo import (
    Ablation,
    Evaluation,
    LatentModel,
    Progress,
    bits_per_token,
    evaluate,
    perplexity,
    posteriors,
    unwrapped,
    z_ablation,
)
from textvae.diagnostics.factors import FactorProbe, dimension_information, probe_factors
from textvae.diagnostics.importance import ImportanceNLL, importance_nll
from textvae.diagnostics.information import (
    COLLAPSED_KL,
    GradientNorms,
    Moments,
    MutualInformation,
    active_dimensions,
    active_units,
    au_curve,
    gradient_norm,
    gradient_norms,
    mi_per_dimension,
    moments,
    mutual_information,
)
from textvae.diagnostics.verdict import RULES, Estimates, Verdict, judge
