"""How the estimators go through a split: its ELBO, its NLL, and what of it the decoder owes to z.

The noise of a sentence belongs to the sentence: results depend neither on batch size nor on the
order of batches.

Shapes: M sentences of a split, B of a batch, S codes or K samples of each, Z latent dimensions.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import MANY, InputError, at_least, integer
from textvae.diagnostics.information import (
    active_dimensions,
    active_units,
    mutual_information,
    sentence_noise,
)
from textvae.model import Posterior, SentenceVAE
from textvae.runtime import ALONE, Processes, full_speed

MAX_EXPONENT = 700.0  # above it, e to its power is no float any more
MI_SENTENCES = 2000  # whose mutual information is estimated: all pairs of them are compared
MAX_TOKENS_CPU = 4096  # decoded at once for the NLL: more bring nothing but memory
MAX_TOKENS_ACCELERATOR = 2**16  # enough to keep an accelerator busy

Rows = TypeVar("Rows", Posterior, Tensor)
Progress = Callable[[Sequence[Batch], str], Iterable[Batch]]
"""Gives the same batches back, with a progress bar of that title around them."""


LogPrior = Callable[[Tensor], Tensor]
"""log p(z), nats, of codes in fp64 on the CPU: (K, B, Z) → (K, B)."""


def unwrapped(batches: Sequence[Batch], title: str) -> Iterable[Batch]:
    """The `Progress` that shows none."""
    return batches


@contextmanager
def evaluation_mode(model: SentenceVAE) -> Iterator[None]:
    """Context without dropout; the model's mode is left as it was found."""
    was_training = model.training
    model.train(False)
    try:
        with full_speed(model.device):
            yield
    finally:
        model.train(was_training)


@torch.no_grad()
def measure_split(
    model: SentenceVAE,
    batches: Iterable[Batch],
    num_sentences: int,
    measure: Callable[[Batch], Rows],
    processes: Processes = ALONE,
) -> tuple[list[Rows], Tensor]:
    """What `measure` finds in each batch, on the CPU, and the order of their rows in the split."""
    with evaluation_mode(model):
        share = processes.share(batches)
        own = [(batch.indices.cpu(), measure(batch.to(model.device))) for batch in share]
    found = [each for of_process in processes.gather(own) for each in of_process]
    if not found:
        raise InputError("there is no sentence to evaluate on")
    indices = torch.cat([each for each, _ in found])
    order = indices.argsort()
    if not indices[order].equal(torch.arange(num_sentences)):
        got = f"{len(set(indices.tolist()))} of {num_sentences} in {len(indices)} rows"
        raise InputError(f"batches must hold every sentence of the split once, got {got}")
    return [rows for _, rows in found], order


def posteriors(
    model: SentenceVAE, batches: Iterable[Batch], num_sentences: int, processes: Processes = ALONE
) -> Posterior:
    """Encode a split, as `evaluate` takes it: M posteriors on the CPU, in the split's order."""
    parts, order = measure_split(
        model, batches, num_sentences, lambda batch: model.encode(batch).map(Tensor.cpu), processes
    )
    return type(parts[0]).cat(parts).map(itemgetter(order))


def nll_given_z(
    model: SentenceVAE, batches: Iterable[Batch], codes: Tensor, processes: Processes = ALONE
) -> Tensor:
    """−log p(x|z) of each sentence with each of its codes (S, M, Z): (M, S) fp64."""

    def measure(batch: Batch) -> Tensor:
        z = codes[:, batch.indices.cpu()].to(model.device)
        return -model.log_likelihood(batch, z).T.cpu()

    parts, order = measure_split(model, batches, codes.shape[1], measure, processes)
    return torch.cat(parts)[order].double()


@dataclass(frozen=True)
class Evaluation:
    """A model's terms on a split, means over sentences, nats per sentence."""

    rec: float  # −E_q[log p(x|z)], summed over predicted tokens (EOS counted, BOS not)
    kl: float  # raw KL(q(z|x) ‖ p(z)), summed over dimensions
    elbo: float  # −(rec + kl)
    elbo_ppl: float  # exp(−ELBO / tokens), a bound on perplexity, exact for a language model
    mi: float  # paired estimate over at most `MI_SENTENCES` of the split, evenly spread
    mi_max: float  # what it can't exceed: the logarithm of their number
    au: int  # active units: dimensions whose posterior mean has variance ≥ 0.01 over the split
    active_dimensions: int  # dimensions with a mean KL of at least 0.01 nats
    kl_per_dim: list[float]  # mean KL of each dimension
    num_sentences: int
    num_tokens: int  # predicted

    @property
    def latent_dim(self) -> int:
        """Dimensions Z of z; 0 for a language model."""
        return len(self.kl_per_dim)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def evaluate(
    model: SentenceVAE,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    seed: int = 0,
    processes: Processes = ALONE,
) -> Evaluation:
    """Measure the true ELBO and its parts on a split.

    Args:
        model: The model; its mode is left as it was found.
        batches: Every sentence once, each with its position in the split as index.
        num_sentences: Size M of the split.
        seed: Seed of the posterior noise.
        processes: Who shares the batches; all must call this, with the same arguments, and all
            are given the result.

    Raises:
        InputError: If there is no sentence, or the batches do not hold every one once.
    """
    split = list(batches)
    posterior = posteriors(model, split, num_sentences, processes)
    own = posterior.sample(sentence_noise(num_sentences, model.latent_dim, seed))
    nll = nll_given_z(model, split, own[None], processes)
    return summarise(float(nll.mean()), posterior, split, seed)


def summarise(rec: float, posterior: Posterior, split: Sequence[Batch], seed: int) -> Evaluation:
    """The evaluation of M sentences of that rec."""
    kl_per_dim = posterior.kl().double().mean(0)  # (Z,)
    kl = float(kl_per_dim.sum())
    num_tokens = sum(batch.num_tokens for batch in split)
    information = mutual_information(posterior, seed=seed, max_sentences=MI_SENTENCES)
    return Evaluation(
        rec=rec,
        kl=kl,
        elbo=-(rec + kl),
        elbo_ppl=perplexity((rec + kl) * len(posterior), num_tokens),
        mi=information.mi,
        mi_max=information.mi_max,
        au=active_units(posterior.mean.double()),
        active_dimensions=active_dimensions(kl_per_dim),
        kl_per_dim=kl_per_dim.tolist(),
        num_sentences=len(posterior),
        num_tokens=num_tokens,
    )


@dataclass(frozen=True)
class Ablation:
    """Mean over sentences of −log p(x|z), nats per sentence, with four kinds of z."""

    own: float  # drawn from the sentence's posterior: rec
    shuffled: float  # drawn from the posterior of another sentence of the split
    prior: float
    zero: float

    @property
    def used(self) -> float:
        """What the decoder takes from z, shuffled − own: 0 where it does not listen to it."""
        return self.shuffled - self.own


def z_ablation(
    model: SentenceVAE, batches: Iterable[Batch], posterior: Posterior, *, seed: int = 0
) -> Ablation:
    """Measure how much worse a decoder fares without the z of its sentence; see `evaluate`.

    The posterior is the split's, from `posteriors`. Whose z a sentence is given, of at least 2, is
    drawn over the whole split: within a batch of like length it would still tell the length. `own`
    is the rec of `evaluate` with the same seed.
    """
    at_least(2, num_sentences=len(posterior))
    generator, shape = torch.Generator().manual_seed(seed), posterior.mean.shape
    # The first draws are those of `sentence_noise`.
    own = posterior.sample(torch.randn(shape, generator=generator))
    prior = torch.randn(shape, generator=generator)
    # One cycle through all sentences: nobody is left with their own.
    cycle = torch.randperm(len(posterior), generator=generator)
    giver = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))
    codes = torch.stack([own, own[giver], prior.to(own), torch.zeros_like(own)])  # (4, M, Z)
    return Ablation(*nll_given_z(model, batches, codes).mean(0).tolist())


def perplexity(nats: float, num_tokens: int) -> float:
    """exp(nats / tokens), EOS counted, BOS not; infinity where that is beyond a float."""
    at_least(1, num_tokens=num_tokens)
    per_token = nats / num_tokens
    return math.inf if per_token > MAX_EXPONENT else math.exp(per_token)


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
    fitted: Self | None = None  # the same with the other prior, where one was given

    @property
    def num_sentences(self) -> int:
        """Sentences measured, M."""
        return len(self.indices)

    @property
    def bits_per_token(self) -> float:
        """Bits per character where tokens are characters."""
        return self.nll * self.num_sentences / self.num_tokens / math.log(2)


@torch.no_grad()
def importance_nll(
    model: SentenceVAE,
    batches: Iterable[Batch],
    *,
    num_samples: int = 500,
    seed: int = 0,
    max_tokens: int | None = None,
    log_prior: LogPrior | None = None,
    progress: Progress = unwrapped,
) -> ImportanceNLL:
    """Estimate −log p(x) of each sentence with K samples from its posterior; see `evaluate`.

    Batches come in an order drawn from the seed: what Ctrl-C cuts short is of a random part of the
    split. Fewer samples are the first of more. A language model is measured exactly, in one pass.
    At most `max_tokens` are decoded at once, padding counted (one sentence alone may be longer): by
    default what the model's device is fastest with. The title for `progress` is `"NLL"`. With the
    same samples `fitted` is measured for a model whose prior is `log_prior` in place of N(0, I).

    Raises:
        KeyboardInterrupt: If cut short before the first batch is done.

    Reference:
        Burda et al. (2016), Importance Weighted Autoencoders, equation 8; effective samples:
        Kong (1992), A note on importance sampling using standardized weights.
    """
    if max_tokens is None:
        max_tokens = MAX_TOKENS_CPU if model.device.type == "cpu" else MAX_TOKENS_ACCELERATOR
    integer("num_samples", num_samples, 1, most=MANY)
    at_least(1, max_tokens=max_tokens)
    at_least(0, seed=seed)
    num_samples = num_samples if model.latent_dim > 0 else 1
    split = list(batches)
    if not split:
        raise InputError("there is no sentence to evaluate on")
    order = np.random.default_rng(seed).permutation(len(split))
    priors = [None] if log_prior is None else [None, log_prior]
    found: list[tuple[Batch, Tensor]] = []
    with evaluation_mode(model):
        try:
            for batch in progress([split[i] for i in order], "NLL"):
                found.append((batch, _measure(model, batch, num_samples, seed, max_tokens, priors)))
        except KeyboardInterrupt:
            if not found:
                raise
    own, *others = (
        _estimate([(batch, measured[number]) for batch, measured in found], split, num_samples)
        for number in range(len(priors))
    )
    return replace(own, fitted=others[0]) if others else own


def _estimate(
    found: Sequence[tuple[Batch, Tensor]],
    split: Sequence[Batch],
    num_samples: int,
) -> ImportanceNLL:
    """Of batches and the NLL and effective samples of their sentences, (2, B) each."""
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
    model: SentenceVAE,
    batch: Batch,
    num_samples: int,
    seed: int,
    max_tokens: int,
    priors: Sequence[LogPrior | None],
) -> Tensor:
    """NLL and effective samples of each sentence under each of P priors, (P, 2, B) fp64."""
    rows = max(1, max_tokens // batch.input_ids.shape[1])
    if batch.num_sentences > rows:
        columns = zip(*(torch.split(tensor, rows) for tensor in batch), strict=True)
        options = num_samples, seed, max_tokens, priors
        return torch.cat([_measure(model, Batch(*part), *options) for part in columns], -1)
    on_device = batch.to(model.device)
    posterior = model.encode(on_device)
    exact = posterior.map(Tensor.cpu).map(Tensor.double)
    # numpy's streams go on where they were left off, however the draws are cut.
    streams = [np.random.default_rng([seed, 0, i]) for i in batch.indices.tolist()]
    at_once = max(1, max_tokens // batch.input_ids.numel())
    parts = []
    for start in range(0, num_samples, at_once):
        shape = (min(at_once, num_samples - start), model.latent_dim)
        noise = np.stack([stream.standard_normal(shape) for stream in streams], axis=1)
        z = exact.sample(torch.from_numpy(noise))
        log_likelihood = model.log_likelihood(on_device, z.to(posterior.mean))
        log_weights = log_likelihood.cpu().double() - exact.log_ratio(z)
        more = [0.0 if each is None else each(z) - standard_normal(z) for each in priors]
        parts.append(torch.stack([log_weights + each for each in more]))
    log_weights = torch.cat(parts, 1)  # log p(x, z) − log q(z|x) of every sample, (P, K, B)
    log_sum = log_weights.logsumexp(1)
    effective_samples = torch.exp(2 * log_sum - (2 * log_weights).logsumexp(1))
    return torch.stack([math.log(num_samples) - log_sum, effective_samples], 1)


def standard_normal(z: Tensor) -> Tensor:
    """Log N(z; 0, I), nats: (…, Z) → (…)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def _standard_error(batches: list[Tensor], split: Sequence[Batch]) -> float:
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


@dataclass(frozen=True, eq=False)
class Scores:
    """What each of M sentences costs, nats: (M,) fp64; their means are those of a diagnosis."""

    nll: Tensor  # importance-weighted, as `ImportanceNLL.per_sentence`
    rec: Tensor  # −log p(x|z) with a z drawn from the posterior; its mean is that of `evaluate`
    kl: Tensor  # raw; −ELBO is rec + kl
    tokens: list[list[float]]  # what each predicted token adds to rec, if asked for; with that z


def score(
    model: SentenceVAE,
    batches: Iterable[Batch],
    num_sentences: int,
    *,
    num_samples: int = 100,
    tokens: bool = False,
    seed: int = 0,
    progress: Progress = unwrapped,
) -> Scores:
    """Measure each sentence by itself; arguments are those of `importance_nll` and `evaluate`.

    Raises:
        KeyboardInterrupt: If cut short.
    """
    split = list(batches)
    posterior = posteriors(model, split, num_sentences)
    z = posterior.sample(sentence_noise(num_sentences, model.latent_dim, seed))
    rec = nll_given_z(model, split, z[None])[:, 0]
    nll = importance_nll(model, split, num_samples=num_samples, seed=seed, progress=progress)
    if nll.is_partial:
        raise KeyboardInterrupt
    found = _token_nlls(model, split, z) if tokens else []
    return Scores(nll.per_sentence, rec, posterior.kl().double().sum(-1), found)


@torch.no_grad()
def _token_nlls(model: SentenceVAE, split: Sequence[Batch], codes: Tensor) -> list[list[float]]:
    """−log p(x_t | x_<t, z) of every predicted token of M sentences, for their codes (M, Z)."""
    found: list[list[float]] = [[] for _ in codes]
    with evaluation_mode(model):
        for batch in split:
            z, on_device = codes[batch.indices].to(model.device), batch.to(model.device)
            z = model.labels.told(on_device.labels, z)
            state, steps = model.initial_state(z), []
            for ids, targets in zip(on_device.input_ids.T, on_device.target_ids.T, strict=True):
                scores, state = model.step(ids, state, z)
                steps.append(F.cross_entropy(scores, targets, reduction="none"))
            rows = zip(batch.indices, batch.lengths, torch.stack(steps, 1).tolist(), strict=True)
            for index, length, row in rows:
                found[index] = row[:length]
    return found
