"""What the latent space carries, and how well a model predicts."""

from textvae.diagnostics.diagnosis import RULES, Diagnosis, FactorLabels, Verdict, diagnose
from textvae.diagnostics.factors import (
    Disentanglement,
    FactorProbe,
    disentanglement,
    probe_factors,
)
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
from textvae.diagnostics.likelihood import (
    Ablation,
    Evaluation,
    ImportanceNLL,
    LogPrior,
    Progress,
    Scores,
    evaluate,
    importance_nll,
    perplexity,
    posteriors,
    score,
    standard_normal,
    unwrapped,
    z_ablation,
)
