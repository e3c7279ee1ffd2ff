"""How the estimators go through a split, its true ELBO, and what of it the decoder owes to z.

The noise of a sentence belongs to the sentence: results depend neither on batch size nor on the
order of batches.

Shapes: M sentences of a split, B of a batch, S codes of each, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, Protocol

import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.checks import InputError, at_least
from textvae.diagnostics.information import (
    active_dimensions,
    active_units,
    mutual_information,
    sentence_noise,
    spread_rows,
)
from textvae.model import Posterior
from textvae.runtime import ALONE, Processes, full_speed

MAX_EXPONENT = 700.0  # above it, e to its power is no float any more
MI_SENTENCES = 2000  # whose mutual information is estimated: all pairs of them are compared

Progress = Callable[[Sequence[Batch], str], Iterable[Batch]]
"""Gives the same batches back, with a progress bar of that title around them."""


class LatentModel(Protocol):
    """A model that encodes sentences and scores them given z; `SentenceVAE` is one."""

    latent_dim: int  # dimensions Z of z; 0 for a language model
    training: bool

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""

    def encode(self, batch: Batch) -> Posterior:
        """q(z|x) of each of B sentences."""

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z) in nats: z (B, Z) → (B,), z (S, B, Z) → (S, B)."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""


def unwrapped(batches: Sequence[Batch], title: str) -> Iterable[Batch]:
    """The `Progress` that shows none."""
    return batches


@contextmanager
def evaluation_mode(model: LatentModel) -> Iterator[None]:
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
    model: LatentModel,
    batches: Iterable[Batch],
    num_sentences: int,
    measure: Callable[[Batch], tuple[Posterior | Tensor, ...]],
    processes: Processes = ALONE,
) -> list[Any]:
    """What `measure` finds in each batch, a row per sentence, put together in the split's order."""
    own = []
    with evaluation_mode(model):
        for batch in processes.share(batches):
            columns = (batch.indices, *measure(batch.to(model.device)))
            own.append([_mapped(Tensor.cpu, column) for column in columns])
    found = [parts for of_process in processes.gather(own) for parts in of_process]
    if not found:
        raise InputError("there is no sentence to evaluate on")
    indices, *joined = (
        torch.cat(parts) if isinstance(parts[0], Tensor) else type(parts[0]).cat(parts)
        for parts in zip(*found, strict=True)
    )
    order = indices.argsort()
    if not indices[order].equal(torch.arange(num_sentences)):
        raise InputError(
            f"batches must hold every sentence of the split once, got {len(indices.unique())} of "
            f"{num_sentences} in {len(indices)} rows"
        )
    return [_mapped(itemgetter(order), column) for column in joined]


def _mapped(function: Callable[[Any], Any], rows: Posterior | Tensor) -> Any:
    return rows.map(function) if isinstance(rows, Posterior) else function(rows)


def posteriors(model: LatentModel, batches: Iterable[Batch], num_sentences: int) -> Posterior:
    """Encode a split, as `evaluate` takes it: M posteriors on the CPU, in the split's order."""
    encoded: Posterior
    (encoded,) = measure_split(model, batches, num_sentences, lambda batch: (model.encode(batch),))
    return encoded


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
    model: LatentModel,
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
    noise = sentence_noise(num_sentences, model.latent_dim, seed)

    def measure(batch: Batch) -> tuple[Tensor, Posterior, Tensor]:
        posterior = model.encode(batch)
        z = posterior.sample(noise[batch.indices.cpu()].to(model.device))
        return -model.log_likelihood(batch, z), posterior, batch.lengths

    # In the split's order, so that no sum depends on how the batches were cut.
    rec, posterior, lengths = measure_split(model, batches, num_sentences, measure, processes)
    return summarise(rec, posterior, noise, int(lengths.sum()))


def summarise(rec: Tensor, posterior: Posterior, noise: Tensor, num_tokens: int) -> Evaluation:
    """The evaluation of M sentences with rec (M,) under z of the noise (M, Z)."""
    kl_per_dim = posterior.kl().double().mean(0)  # (Z,)
    mean_rec, mean_kl = float(rec.double().mean()), float(kl_per_dim.sum())
    rows = spread_rows(len(rec), MI_SENTENCES)
    information = mutual_information(posterior.map(itemgetter(rows)), noise=noise[rows])
    return Evaluation(
        rec=mean_rec,
        kl=mean_kl,
        elbo=-(mean_rec + mean_kl),
        elbo_ppl=perplexity((mean_rec + mean_kl) * len(rec), num_tokens),
        mi=information.mi,
        mi_max=information.mi_max,
        au=active_units(posterior.mean.double()),
        active_dimensions=active_dimensions(kl_per_dim),
        kl_per_dim=kl_per_dim.tolist(),
        num_sentences=len(rec),
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
    model: LatentModel, batches: Iterable[Batch], num_sentences: int, *, seed: int = 0
) -> Ablation:
    """Measure how much worse a decoder fares without the z of its sentence; see `evaluate`.

    Whose z a sentence is given, of at least 2, is drawn over the whole split: within a batch of
    like length it would still tell the length. `own` is the rec of `evaluate` with the same seed.
    """
    at_least(2, num_sentences=num_sentences)
    split = list(batches)
    nll = ablated_nll(model, split, posteriors(model, split, num_sentences), seed)
    return Ablation(*nll.mean(0).tolist())


def ablated_nll(
    model: LatentModel, batches: Iterable[Batch], posterior: Posterior, seed: int
) -> Tensor:
    """−log p(x|z) of each sentence with each kind of z, in the order of `Ablation`, (M, 4) fp64."""
    generator, shape = torch.Generator().manual_seed(seed), posterior.mean.shape
    # The first draws are those of `sentence_noise`.
    own = posterior.sample(torch.randn(shape, generator=generator))
    prior = torch.randn(shape, generator=generator)
    # One cycle through all sentences: nobody is left with their own.
    cycle = torch.randperm(len(posterior), generator=generator)
    giver = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))
    codes = torch.stack([own, own[giver], prior.to(own), torch.zeros_like(own)])  # (4, M, Z)

    def measure(batch: Batch) -> tuple[Tensor]:
        z = codes[:, batch.indices.cpu()].to(model.device)
        return (-model.log_likelihood(batch, z).T,)

    nll: list[Tensor] = measure_split(model, batches, len(posterior), measure)
    return nll[0].double()


def perplexity(nats: float, num_tokens: int) -> float:
    """exp(nats / tokens), EOS counted, BOS not; infinity where that is beyond a float."""
    at_least(1, num_tokens=num_tokens)
    per_token = nats / num_tokens
    return math.inf if per_token > MAX_EXPONENT else math.exp(per_token)


def bits_per_token(nats: float, num_tokens: int) -> float:
    """Nats / (tokens · ln 2): bits per character where tokens are characters."""
    at_least(1, num_tokens=num_tokens)
    return nats / num_tokens / math.log(2)
