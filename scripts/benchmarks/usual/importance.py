"""Importance-weighted NLL as usual: sentence by sentence, its samples decoded some at a time.

Shapes: K importance samples, S of them at a time, T tokens, V vocabulary, Z latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.usual.training import PaddedBatch, UsualVAE

__all__ = ["AT_ONCE", "importance_nll_of_one"]

AT_ONCE = 50
"""Samples decoded together."""


@torch.no_grad()
def importance_nll_of_one(model: UsualVAE, ids: Sequence[int], noise: Tensor) -> float:
    """−log (1/K) Σ_k p(x, z_k) / q(z_k|x) of one sentence, nats; noise is (K, Z)."""
    batch = PaddedBatch.of([ids])
    mu, logvar = model.encode(batch)
    sigma = torch.exp(0.5 * logvar)
    log_weights = []
    for part in noise.to(mu).split(AT_ONCE):
        z = mu + sigma * part
        log_probs = model.log_probs(batch.inputs.expand(len(z), -1), z)  # (S, T, V)
        targets = batch.targets.expand(len(z), -1)
        log_likelihood = log_probs.gather(2, targets[:, :, None]).sum((1, 2))
        log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        log_posterior = torch.distributions.Normal(mu, sigma).log_prob(z).sum(-1)
        log_weights.append(log_likelihood + log_prior - log_posterior)
    return math.log(len(noise)) - torch.cat(log_weights).logsumexp(0).item()
