"""The terms of the ELBO and what may be done to them, over plain tensors.

Nothing here knows a model, a schedule or a vocabulary. The weight of the KL term is applied by an
annealer from outside, so that raw values can always be reported beside what was optimised.
"""

from textvae.losses.objective import (
    FREE_BITS,
    RECONSTRUCTIONS,
    StepTerms,
    VAELoss,
    VAETerms,
    bce_reconstruction,
    beta_vae_loss,
    cross_entropy_reconstruction,
    free_bits_mask,
    free_bits_max,
    free_bits_per_dimension,
    free_bits_total,
    importance_weighted,
    kl_divergence,
    kl_per_dimension,
    mse_reconstruction,
    nats_per_dimension,
    objective,
    split_gradient,
    target_kl,
    vae_loss,
    vae_loss_free_bits,
)
from textvae.losses.output_layer import token_nll
