"""How well a model predicts: the importance-weighted NLL, with what is uncertain about it.

Results do not depend on how many samples are decoded at once; fewer samples are the first of more.

Shapes: B sentences of a batch, M measured, Z latent dimensions, K importance samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import InputError, at_least
from textvae.diagnostics.latent_model import LatentModel, Progress, evaluation_mode, unwrapped
from textvae.diagnostics.perplexity import bits_per_token, perplexity
from textvae.runtime import autocast

MAX_TOKENS_CPU = 4096
"""Tokens decoded at once on a CPU: more bring nothing but memory."""

MAX_TOKENS_ACCELERATOR = 2**16
"""Tokens decoded at once elsewhere: enough to keep an accelerator busy."""


@dataclass(frozen=True, eq=False)
class ImportanceNLL:
    """Importance-weighted NLL of a split, or of a random part of it.

    Attributes:
        nll: −log (1/K) Σ_k p(x, z_k) / q(z_k|x), mean over sentences, nats per sentence. Its
            expectation lies between the true NLL and −ELBO.
        se: Standard error of that mean over sentences. If cut short, it covers that only some
            batches, whose sentences resemble each other, were measured. Infinite where a single
            sentence, or a single batch of several, cannot tell.
        ppl: exp(all nats / predicted tokens).
        effective_samples: (Σ_k w_k)² / Σ_k w_k² of the weights w, mean over sentences, in [1, K].
            Near 1, a single sample decides and `nll` is too high.
        num_samples: K; 1 for a language model, whose NLL is exact.
        num_tokens: Predicted tokens measured.
        is_partial: Whether it was cut short; then all of this is of the sentences measured.
        precision: In which the output layer was multiplied: `"fp32"` or `"bf16"`.
        indices: Positions in the split of the sentences measured, ascending, (M,) int64.
        per_sentence: NLL of each of them, (M,) fp64, nats.
    """

    nll: float
    se: float
    ppl: float
    effective_samples: float
    num_samples: int
    num_tokens: int
    is_partial: bool
    precision: str
    indices: Tensor
    per_sentence: Tensor

    @property
    def num_sentences(self) -> int:
        """Sentences measured, M."""
        return len(self.indices)

    @property
    def bits_per_token(self) -> float:
        """Bits per character where tokens are characters."""
        return bits_per_token(self.nll * self.num_sentences, self.num_tokens)


class _Settings(NamedTuple):
    num_samples: int
    seed: int
    max_tokens: int


class _Measured(NamedTuple):
    batch: Batch
    nll: Tensor  # (B,)
    effective_samples: Tensor  # (B,)


@torch.no_grad()
def importance_nll(
    model: LatentModel,
    batches: Iterable[Batch],
    *,
    num_samples: int = 500,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    max_tokens: int | None = None,
    progress: Progress = unwrapped,
) -> ImportanceNLL:
    """Estimate −log p(x) of each sentence with K samples from its posterior.

    All batches are taken first and then measured in an order drawn from the seed, so that the
    answer is that of a random part of the split if Ctrl-C cuts it short, at any moment after the
    first batch.

    Args:
        model: The model; its mode is left as it was found. A language model is measured exactly,
            in one pass.
        batches: Every sentence once, each with its position in the split as index.
        num_samples: Importance samples K, at least 1.
        seed: Seed of noise and order, at least 0.
        precision: `torch.bfloat16` for the decoder's products with the output embedding, most of
            the work; all else, the targets' own products and those of the likeliest words are in
            fp32. On Penn Treebank a sentence's NLL is then about a thousandth of a nat off.
        max_tokens: Most tokens decoded at once, padding counted, at least 1; one sentence alone
            may be longer. By default what the model's device is fastest with.
        progress: Given the batches and the title `"NLL"`; what it gives back is gone through.

    Returns:
        The `ImportanceNLL`.

    Raises:
        InputError: If there is no sentence to measure or an argument is outside its range.
        KeyboardInterrupt: If cut short before the first batch is done.

    Reference:
        Burda et al. (2016), Importance Weighted Autoencoders, equation 8; effective samples:
        Kong (1992), A note on importance sampling using standardized weights.
    """
    if max_tokens is None:
        max_tokens = MAX_TOKENS_CPU if model.device.type == "cpu" else MAX_TOKENS_ACCELERATOR
    at_least(1, num_samples=num_samples, max_tokens=max_tokens)
    at_least(0, seed=seed)
    settings = _Settings(num_samples if model.latent_dim > 0 else 1, seed, max_tokens)
    split = list(batches)
    if not split:
        raise InputError("there is no sentence to evaluate on")
    order = np.random.default_rng(seed).permutation(len(split))
    measured: list[_Measured] = []
    # One autocast for all: it keeps its copies of the weights until it ends.
    with evaluation_mode(model), autocast(model.device, precision):
        try:
            for batch in progress([split[i] for i in order], "NLL"):
                measured.append(_measure(model, batch, settings))
        except KeyboardInterrupt:
            if not measured:
                raise
    return _summary(measured, split, settings, precision)


def _measure(model: LatentModel, batch: Batch, settings: _Settings) -> _Measured:
    nll, effective_samples = [], []
    for part in _parts(batch, settings.max_tokens):
        log_weights = _log_weights(model, part, settings)  # (K, B)
        log_sum = log_weights.logsumexp(0)
        nll.append(math.log(settings.num_samples) - log_sum)
        effective_samples.append(torch.exp(2 * log_sum - (2 * log_weights).logsumexp(0)))
    return _Measured(batch, torch.cat(nll), torch.cat(effective_samples))


def _parts(batch: Batch, max_tokens: int) -> Iterator[Batch]:
    rows = max(1, max_tokens // batch.input_ids.shape[1])
    for start in range(0, batch.num_sentences, rows):
        yield Batch(*(tensor[start : start + rows] for tensor in batch))


def _log_weights(model: LatentModel, batch: Batch, settings: _Settings) -> Tensor:
    """Log p(x, z) − log q(z|x) of every sample, (K, B) fp64 on the CPU."""
    on_device = batch.to(model.device)
    with autocast(model.device, torch.float32):
        posterior = model.encode(on_device)
    exact = posterior.map(lambda parameter: parameter.cpu().double())
    at_once = max(1, settings.max_tokens // batch.input_ids.numel())
    log_weights = []
    for noise in _noise(batch.indices, model.latent_dim, at_once, settings):
        z = exact.sample(noise)
        log_likelihood = model.log_likelihood(on_device, z.to(posterior.mean))
        log_weights.append(log_likelihood.cpu().double() - exact.log_ratio(z))
    return torch.cat(log_weights)


def _noise(indices: Tensor, latent_dim: int, at_once: int, settings: _Settings) -> Iterator[Tensor]:
    """The noise of the sentences at `indices`, in chunks (≤ at_once, B, Z)."""
    # numpy's streams go on where they were left off, however the draws are cut.
    streams = [np.random.default_rng([settings.seed, 0, i]) for i in indices.tolist()]
    for start in range(0, settings.num_samples, at_once):
        shape = (min(at_once, settings.num_samples - start), latent_dim)
        draws = [stream.standard_normal(shape) for stream in streams]
        yield torch.from_numpy(np.stack(draws, axis=1))


def _summary(
    measured: list[_Measured], split: list[Batch], settings: _Settings, precision: torch.dtype
) -> ImportanceNLL:
    indices, order = torch.cat([m.batch.indices.cpu() for m in measured]).sort()
    nll = torch.cat([m.nll for m in measured])[order]
    num_tokens = sum(m.batch.num_tokens for m in measured)
    return ImportanceNLL(
        nll=float(nll.mean()),
        se=_standard_error([m.nll for m in measured], split),
        ppl=perplexity(float(nll.sum()), num_tokens),
        effective_samples=float(torch.cat([m.effective_samples for m in measured]).mean()),
        num_samples=settings.num_samples,
        num_tokens=num_tokens,
        is_partial=len(measured) < len(split),
        precision="bf16" if precision == torch.bfloat16 else "fp32",
        indices=indices,
        per_sentence=nll,
    )


def _standard_error(batches: list[Tensor], split: list[Batch]) -> float:
    """Of the mean over the sentences of random batches out of a split.

    Two variances add up: that of the split's own mean, and that of a mean over some of its
    batches instead of all (Cochran 1977, Sampling Techniques, chapter 9A: clusters of unlike
    size), which is 0 if all were measured.
    """
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
