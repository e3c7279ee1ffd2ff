"""The two terms of the evidence lower bound and what may be done to them, over plain tensors.

| module | offers |
|---|---|
| `kl` | `kl_per_dimension`, `kl_divergence`: closed form against a standard normal |
| `free_bits` | `FREE_BITS`: floors under the KL, and a target for it, by their proper names |
| `tokens` | `token_nll`: the output layer's likelihood in bounded memory |
| `reconstruction` | `RECONSTRUCTIONS`: Bernoulli, Gaussian and token likelihoods |
| `elbo` | `elbo_terms`: both terms on one scale, nats per sentence |
| `vae` | `vae_loss`, `beta_vae_loss`, `vae_loss_free_bits`, `VAELoss`: for a loop of your own |

Nothing here knows a model, a schedule or a vocabulary. The weight of the KL term is applied
outside, by an annealer, so that raw values can always be reported beside what was optimised.
"""

from textvae.losses.elbo import ELBOTerms, elbo_terms
from textvae.losses.free_bits import (
    FREE_BITS,
    free_bits_mask,
    free_bits_max,
    free_bits_per_dimension,
    free_bits_total,
    target_kl,
)
from textvae.losses.kl import kl_divergence, kl_per_dimension
from textvae.losses.reconstruction import (
    RECONSTRUCTIONS,
    bce_reconstruction,
    cross_entropy_reconstruction,
    mse_reconstruction,
)
from textvae.losses.tokens import MAX_SCORES, token_nll
from textvae.losses.vae import (
    NatsPerDimension,
    VAELoss,
    VAETerms,
    beta_vae_loss,
    nats_per_dimension,
    vae_loss,
    vae_loss_free_bits,
)

__all__ = [
    "FREE_BITS",
    "MAX_SCORES",
    "RECONSTRUCTIONS",
    "ELBOTerms",
    "NatsPerDimension",
    "VAELoss",
    "VAETerms",
    "bce_reconstruction",
    "beta_vae_loss",
    "cross_entropy_reconstruction",
    "elbo_terms",
    "free_bits_mask",
    "free_bits_max",
    "free_bits_per_dimension",
    "free_bits_total",
    "kl_divergence",
    "kl_per_dimension",
    "mse_reconstruction",
    "nats_per_dimension",
    "target_kl",
    "token_nll",
    "vae_loss",
    "vae_loss_free_bits",
]
