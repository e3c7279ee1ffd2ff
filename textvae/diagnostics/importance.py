"""How well a model predicts: the importance-weighted NLL, with what is uncertain about it.

Offers `importance_nll`, which measures a model on any batches, and its result `ImportanceNLL`.

The noise of a sentence belongs to the sentence: results depend neither on batch size, nor on the
order of batches, nor on how many samples are decoded at once. Fewer samples are the first of more.

Shapes: B sentences of a batch, M measured, T tokens, Z latent dimensions, K importance samples,
R repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.diagnostics.latent_model import LatentModel, evaluation_mode
from textvae.diagnostics.perplexity import perplexity
from textvae.runtime import ALONE, Processes, autocast

__all__ = ["ImportanceNLL", "importance_nll"]

MAX_TOKENS_CPU = 4096
"""Tokens decoded at once on a CPU: more bring nothing but memory."""

MAX_TOKENS_ACCELERATOR = 2**16
"""Tokens decoded at once elsewhere: enough to keep an accelerator busy."""


@dataclass(frozen=True, eq=False)
class ImportanceNLL:
    """Importance-weighted NLL of a split, or of a random part of it.

    Attributes:
        nll: −log (1/K) Σ_k p(x, z_k) / q(z_k|x), mean over sentences and repetitions, nats per
            sentence. Its expectation lies between the true NLL and −ELBO.
        se: Standard error of that mean over sentences. If cut short, it covers that only some
            batches, whose sentences resemble each other, were measured. Infinite where a single
            sentence, or a single batch of several, cannot tell.
        se_repeats: Standard error of that mean over repetitions, each with samples of its own;
            None with one repetition.
        ppl: exp(all nats / predicted tokens).
        effective_samples: (Σ_k w_k)² / Σ_k w_k² of the weights w, mean over sentences and
            repetitions, in [1, K]. Near 1, a single sample decides and `nll` is too high.
        num_samples: K; 1 for a language model, whose NLL is exact.
        num_repeats: R; 1 for a language model.
        num_sentences: Sentences measured, M.
        num_tokens: Predicted tokens measured.
        is_partial: Whether it was cut short; then all of this is of the sentences measured.
        indices: Positions in the split of the sentences measured, ascending, (M,) int64.
        per_sentence: NLL of each of them, mean over repetitions, (M,) fp64, nats.
    """

    nll: float
    se: float
    se_repeats: float | None
    ppl: float
    effective_samples: float
    num_samples: int
    num_repeats: int
    num_sentences: int
    num_tokens: int
    is_partial: bool
    indices: Tensor
    per_sentence: Tensor


class _Settings(NamedTuple):
    num_samples: int
    num_repeats: int
    seed: int
    max_tokens: int


class _Measured(NamedTuple):
    turn: int  # in the order drawn from the seed
    indices: Tensor  # (B,)
    nll: Tensor  # (R, B)
    effective_samples: Tensor  # (R, B)
    num_tokens: int


@torch.no_grad()
def importance_nll(
    model: LatentModel,
    batches: Iterable[Batch],
    *,
    num_samples: int = 500,
    num_repeats: int = 1,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    max_tokens: int | None = None,
    before_batch: Callable[[], None] | None = None,
    processes: Processes = ALONE,
) -> ImportanceNLL:
    """Estimate −log p(x) of each sentence with K samples from its posterior.

    All batches are taken first and then measured in an order drawn from the seed, so that the
    answer is that of a random part of the split whenever it is cut short: by Ctrl-C at any
    moment, or by a KeyboardInterrupt from `before_batch`. Before the first batch is done it goes
    through. The model's mode is left as it was found.

    Args:
        model: The model. A language model is measured exactly, in one pass.
        batches: Every sentence once, each with its position in the split as index.
        num_samples: Importance samples K, at least 1.
        num_repeats: Independent estimates R of each sentence, at least 1, to see their spread.
        seed: Seed of noise and order, at least 0.
        precision: `torch.bfloat16` for the decoder's products with the output embedding, most of
            the work; all else, the targets' own products and those of the likeliest words are in
            fp32. On Penn Treebank a sentence's NLL is then about a thousandth of a nat off.
        max_tokens: Most tokens decoded at once, padding counted, at least 1; one sentence alone
            may be longer. By default what the model's device is fastest with.
        before_batch: Called before each batch: a progress bar's or an interruption's place.
        processes: Who shares the batches; all must call this, with the same arguments. Ctrl-C in
            one cuts its share short, and the others finish theirs.

    Returns:
        The `ImportanceNLL`, in all processes.

    Raises:
        ValueError: If there is no sentence to measure or an argument is outside its range.
        KeyboardInterrupt: If cut short before the first batch is done.

    Reference:
        Burda et al. (2016), Importance Weighted Autoencoders, equation 8; effective samples:
        Kong (1992), A note on importance sampling using standardized weights.
    """
    if max_tokens is None:
        max_tokens = MAX_TOKENS_CPU if model.device.type == "cpu" else MAX_TOKENS_ACCELERATOR
    settings = _Settings(num_samples, num_repeats, seed, max_tokens)
    _check(settings)
    if model.latent_dim == 0:
        settings = settings._replace(num_samples=1, num_repeats=1)
    split = list(batches)
    if not split:
        raise ValueError("there is no sentence to evaluate on")
    measured: list[_Measured] = []
    # One autocast for all: it keeps its copies of the weights until it ends.
    with evaluation_mode(model), autocast(model.device, precision):
        try:
            order = np.random.default_rng(seed).permutation(len(split))
            for turn, i in processes.share(enumerate(order)):
                if before_batch is not None:
                    before_batch()
                measured.append(_measure(model, split[i], settings, turn))
        except KeyboardInterrupt:
            if not measured and processes.world == 1:
                raise
    of_all = [each for own in processes.gather(measured) for each in own]
    if not of_all:
        raise KeyboardInterrupt
    return _summary(sorted(of_all, key=lambda each: each.turn), split, settings)


def _check(settings: _Settings) -> None:
    for name, least in (("num_samples", 1), ("num_repeats", 1), ("seed", 0), ("max_tokens", 1)):
        if getattr(settings, name) < least:
            raise ValueError(f"{name} must be at least {least}, got {getattr(settings, name)}")


def _measure(model: LatentModel, batch: Batch, settings: _Settings, turn: int) -> _Measured:
    nll, effective_samples = [], []
    for part in _parts(batch, settings.max_tokens):
        log_weights = _log_weights(model, part, settings)  # (R, K, B)
        log_sum = log_weights.logsumexp(1)
        nll.append(math.log(settings.num_samples) - log_sum)
        effective_samples.append(torch.exp(2 * log_sum - (2 * log_weights).logsumexp(1)))
    return _Measured(
        turn,
        batch.indices.cpu(),
        torch.cat(nll, 1),
        torch.cat(effective_samples, 1),
        batch.num_tokens,
    )


def _parts(batch: Batch, max_tokens: int) -> Iterator[Batch]:
    rows = max(1, max_tokens // batch.input_ids.shape[1])
    for start in range(0, batch.num_sentences, rows):
        yield Batch(*(tensor[start : start + rows] for tensor in batch))


def _log_weights(model: LatentModel, batch: Batch, settings: _Settings) -> Tensor:
    """Log p(x, z) − log q(z|x) of every sample, (R, K, B) fp64 on the CPU."""
    on_device = batch.to(model.device)
    with autocast(model.device, torch.float32):
        posterior = model.encode(on_device)
    mu, logvar = posterior.mu.cpu().double(), posterior.logvar.cpu().double()
    at_once = max(1, settings.max_tokens // batch.input_ids.numel())
    log_prior_ratios, log_likelihoods = [], []
    for noise in _noise(batch.indices, model.latent_dim, at_once, settings):
        z, log_prior_ratio = _sample(mu, logvar, noise)
        log_prior_ratios.append(log_prior_ratio)
        log_likelihoods.append(model.log_likelihood(on_device, z.to(posterior.mu)))
    log_weights = torch.cat(log_prior_ratios) + torch.cat(log_likelihoods).cpu().double()
    return log_weights.view(settings.num_repeats, settings.num_samples, batch.num_sentences)


def _sample(mu: Tensor, logvar: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Codes z (S, B, Z) of noise (S, B, Z), and log p(z) − log q(z|x), (S, B)."""
    z = mu + torch.exp(0.5 * logvar) * noise
    # Both densities hold the same ½ log 2π.
    return z, 0.5 * (noise.square() + logvar - z.square()).sum(-1)


def _noise(indices: Tensor, latent_dim: int, at_once: int, settings: _Settings) -> Iterator[Tensor]:
    """All repetitions' noise of the sentences at `indices`, in chunks (≤ at_once, B, Z)."""
    for repeat in range(settings.num_repeats):
        # numpy's streams go on where they were left off, however the draws are cut.
        streams = [np.random.default_rng([settings.seed, repeat, i]) for i in indices.tolist()]
        for start in range(0, settings.num_samples, at_once):
            shape = (min(at_once, settings.num_samples - start), latent_dim)
            draws = [stream.standard_normal(shape) for stream in streams]
            yield torch.from_numpy(np.stack(draws, axis=1))


def _summary(measured: list[_Measured], split: list[Batch], settings: _Settings) -> ImportanceNLL:
    indices, order = torch.cat([m.indices for m in measured]).sort()
    nll = torch.cat([m.nll for m in measured], 1)[:, order]  # (R, M)
    means = nll.mean(1)  # (R,)
    num_tokens = sum(m.num_tokens for m in measured)
    repeats = settings.num_repeats
    return ImportanceNLL(
        nll=float(means.mean()),
        se=_standard_error([m.nll.mean(0) for m in measured], split),
        se_repeats=float(means.std()) / math.sqrt(repeats) if repeats > 1 else None,
        ppl=perplexity(float(nll.mean(0).sum()), num_tokens),
        effective_samples=float(torch.cat([m.effective_samples for m in measured], 1).mean()),
        num_samples=settings.num_samples,
        num_repeats=repeats,
        num_sentences=len(indices),
        num_tokens=num_tokens,
        is_partial=len(measured) < len(split),
        indices=indices,
        per_sentence=nll.mean(0),
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
