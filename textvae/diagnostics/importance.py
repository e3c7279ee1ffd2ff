"""How well a model predicts: the importance-weighted NLL, with what is uncertain about it.

Shapes: B sentences of a batch, M measured, Z latent dimensions, K importance samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import InputError, at_least
from textvae.diagnostics.elbo import (
    LatentModel,
    Progress,
    bits_per_token,
    evaluation_mode,
    perplexity,
    unwrapped,
)

MAX_TOKENS_CPU = 4096  # decoded at once: more bring nothing but memory
MAX_TOKENS_ACCELERATOR = 2**16  # enough to keep an accelerator busy


@dataclass(frozen=True, eq=False)
class ImportanceNLL:
    """Importance-weighted NLL of a split, or of a random part of it."""

    # −log (1/K) Σ_k p(x, z_k) / q(z_k|x), mean over sentences, nats per sentence: in expectation
    # between the true NLL and −ELBO. With `effective_samples` near 1, one sample decides: too high.
    nll: float
    se: float  # standard error over sentences; infinite where what was measured cannot tell
    ppl: float  # exp(all nats / predicted tokens)
    effective_samples: float  # (Σ_k w_k)² / Σ_k w_k² of the weights w, mean, in [1, K]
    num_samples: int  # K; 1 for a language model, whose NLL is exact
    num_tokens: int  # predicted
    is_partial: bool  # cut short: all of this is of the sentences measured
    indices: Tensor  # (M,) int64, positions in the split of the sentences measured, ascending
    per_sentence: Tensor  # (M,) fp64, NLL of each of them, nats

    @property
    def num_sentences(self) -> int:
        """Sentences measured, M."""
        return len(self.indices)

    @property
    def bits_per_token(self) -> float:
        """Bits per character where tokens are characters."""
        return bits_per_token(self.nll * self.num_sentences, self.num_tokens)


@torch.no_grad()
def importance_nll(
    model: LatentModel,
    batches: Iterable[Batch],
    *,
    num_samples: int = 500,
    seed: int = 0,
    max_tokens: int | None = None,
    progress: Progress = unwrapped,
) -> ImportanceNLL:
    """Estimate −log p(x) of each sentence with K samples from its posterior; see `evaluate`.

    Batches are measured in an order drawn from the seed, so that the answer is that of a random
    part of the split if Ctrl-C cuts it short. Fewer samples are the first of more. A language model
    is measured exactly, in one pass. At most `max_tokens` are decoded at once, padding counted (one
    sentence alone may be longer): by default what the model's device is fastest with. The title for
    `progress` is `"NLL"`.

    Raises:
        KeyboardInterrupt: If cut short before the first batch is done.

    Reference:
        Burda et al. (2016), Importance Weighted Autoencoders, equation 8; effective samples:
        Kong (1992), A note on importance sampling using standardized weights.
    """
    if max_tokens is None:
        max_tokens = MAX_TOKENS_CPU if model.device.type == "cpu" else MAX_TOKENS_ACCELERATOR
    at_least(1, num_samples=num_samples, max_tokens=max_tokens)
    at_least(0, seed=seed)
    num_samples = num_samples if model.latent_dim > 0 else 1
    split = list(batches)
    if not split:
        raise InputError("there is no sentence to evaluate on")
    order = np.random.default_rng(seed).permutation(len(split))
    found: list[tuple[Batch, Tensor]] = []
    with evaluation_mode(model):
        try:
            for batch in progress([split[i] for i in order], "NLL"):
                found.append((batch, _measure(model, batch, num_samples, seed, max_tokens)))
        except KeyboardInterrupt:
            if not found:
                raise
    indices, rows = torch.cat([batch.indices.cpu() for batch, _ in found]).sort()
    nll, effective_samples = torch.cat([measured for _, measured in found], 1)[:, rows]
    num_tokens = sum(batch.num_tokens for batch, _ in found)
    return ImportanceNLL(
        nll=float(nll.mean()),
        se=_standard_error([measured[0] for _, measured in found], split),
        ppl=perplexity(float(nll.sum()), num_tokens),
        effective_samples=float(effective_samples.mean()),
        num_samples=num_samples,
        num_tokens=num_tokens,
        is_partial=len(found) < len(split),
        indices=indices,
        per_sentence=nll,
    )


def _measure(
    model: LatentModel, batch: Batch, num_samples: int, seed: int, max_tokens: int
) -> Tensor:
    """NLL and effective samples of each sentence, (2, B) fp64."""
    rows = max(1, max_tokens // batch.input_ids.shape[1])
    columns = zip(*(torch.split(tensor, rows) for tensor in batch), strict=True)
    parts = [_log_weights(model, Batch(*part), num_samples, seed, max_tokens) for part in columns]
    log_weights = torch.cat(parts, 1)
    log_sum = log_weights.logsumexp(0)
    effective_samples = torch.exp(2 * log_sum - (2 * log_weights).logsumexp(0))
    return torch.stack([math.log(num_samples) - log_sum, effective_samples])


def _log_weights(
    model: LatentModel, batch: Batch, num_samples: int, seed: int, max_tokens: int
) -> Tensor:
    """Log p(x, z) − log q(z|x) of every sample, (K, B) fp64 on the CPU."""
    on_device = batch.to(model.device)
    posterior = model.encode(on_device)
    exact = posterior.map(Tensor.cpu).map(Tensor.double)
    # numpy's streams go on where they were left off, however the draws are cut.
    streams = [np.random.default_rng([seed, 0, i]) for i in batch.indices.tolist()]
    at_once = max(1, max_tokens // batch.input_ids.numel())
    log_weights = []
    for start in range(0, num_samples, at_once):
        shape = (min(at_once, num_samples - start), model.latent_dim)
        noise = np.stack([stream.standard_normal(shape) for stream in streams], axis=1)
        z = exact.sample(torch.from_numpy(noise))
        log_likelihood = model.log_likelihood(on_device, z.to(posterior.mean))
        log_weights.append(log_likelihood.cpu().double() - exact.log_ratio(z))
    return torch.cat(log_weights)


def _standard_error(batches: list[Tensor], split: list[Batch]) -> float:
    """Of the mean over the sentences of random batches out of a split."""
    # Two variances add up: that of the split's own mean, and that of a mean over some batches,
    # whose sentences are alike (Cochran 1977, Sampling Techniques, chapter 9A).
    values, num_batches = torch.cat(batches), len(batches)
    missing = 1 - num_batches / len(split)
    if len(values) < 2 or (missing > 0 and num_batches < 2):
        return math.inf
    variance = values.var() / sum(batch.num_sentences for batch in split)
    if missing > 0:
        sums = torch.stack([(batch - values.mean()).sum() for batch in batches])
        between = sums.square().sum() * num_batches / (num_batches - 1)
        variance = variance + missing * between / len(values) ** 2
    return float(variance.sqrt())
