"""Models and posteriors with answers that are known, for the oracles."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from textvae.batches import Batch, collate
from textvae.diagnostics import Ablation, posteriors, z_ablation
from textvae.model import Gaussian, Posterior, SentenceVAE

MakeModel = Callable[..., SentenceVAE]

# Truncated ones among them: they have one token less to predict.
SENTENCES = [[5, 6, 7, 4], [8], [], [9, 4, 4, 9, 5, 6], [6, 5], [7, 7, 7], [4], [12, 11, 10]]
TRUNCATED = [False, False, False, True, False, True, False, False]
NUM_TOKENS = 5 + 2 + 1 + 6 + 3 + 3 + 2 + 4

any_cut = pytest.mark.parametrize(
    "cut",
    # A last partial batch among the last.
    [[[7, 6, 5, 4, 3, 2, 1, 0]], [[i] for i in range(8)], [[2, 6], [3], [0, 1, 7], [4, 5]]],
    ids=["one", "each", "some"],
)
"""Ways to cut the eight, with which no result may change."""


def batches(parts: Sequence[Sequence[int]] = (range(8),)) -> list[Batch]:
    """Cuts `SENTENCES`, by position, into batches; all in one if not told how."""
    return [
        collate([SENTENCES[i] for i in rows], rows, truncated=[TRUNCATED[i] for i in rows])
        for rows in parts
    ]


def numbered(*sizes: int) -> list[Batch]:
    """Batches of so many sentences of one token."""
    indices = iter(range(sum(sizes)))
    return [collate([[4]] * size, [next(indices) for _ in range(size)]) for size in sizes]


def ablated(model: Any, batches: list[Batch], num_sentences: int, *, seed: int = 0) -> Ablation:
    return z_ablation(model, batches, posteriors(model, batches, num_sentences), seed=seed)


def interrupting(after: int, at: str = "NLL") -> Any:
    """A progress bar that lets so many batches of a pass through."""

    def progress(batches: Sequence[Batch], title: str) -> Iterator[Batch]:
        for count, batch in enumerate(batches):
            if (title, count) == (at, after):
                raise KeyboardInterrupt
            yield batch

    return progress


class Laplace(Posterior):
    """A family that textvae does not have: all that it offers is by hand."""

    def __init__(self, location: Tensor, scale: Tensor) -> None:
        super().__init__(location, scale)
        self.location, self.scale = location, scale

    @property
    def mean(self) -> Tensor:
        return self.location

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale.square()

    def sample(self, noise: Tensor | None = None) -> Tensor:
        noise = torch.randn_like(self.location) if noise is None else noise
        quantile = torch.distributions.Laplace(0, 1).icdf(Normal(0, 1).cdf(noise.double()))
        return self.location + self.scale * quantile.to(self.scale)

    def kl(self) -> Tensor:
        entropy = 1 + torch.log(2 * self.scale)
        cross = 0.5 * (math.log(2 * math.pi) + self.location.square() + self.variance)
        return cross - entropy

    def kl_to(self, other: Self) -> Tensor:
        raise NotImplementedError

    def log_ratio(self, z: Tensor) -> Tensor:
        log_q = -torch.log(2 * self.scale) - (z - self.location).abs() / self.scale
        log_p = -0.5 * (z.square() + math.log(2 * math.pi))
        return (log_q - log_p).sum(-1)

    def dimension(self, d: int) -> Self:
        return self.map(lambda parameter: parameter[:, d : d + 1])


class Written(nn.Module):
    """Posteriors and −log p(x|z) of each sentence by hand, whatever z is; notes the z it gets."""

    device = torch.device("cpu")

    def __init__(self, nll: list[float] | Tensor, posterior: Posterior | None = None) -> None:
        super().__init__()
        self.nll = torch.as_tensor(nll).double()
        nothing = torch.zeros(len(self.nll), 0)
        self.posterior = posterior or Gaussian(nothing, nothing)  # a language model has none
        self.latent_dim = self.posterior.mean.shape[1]
        self.heard: dict[int, Tensor] = {}

    def encode(self, batch: Batch) -> Posterior:
        return self.posterior.map(lambda parameter: parameter[batch.indices])

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        for column, index in enumerate(batch.indices.tolist()):
            self.heard[index] = z[..., column, :]
        return -self.nll[batch.indices].expand(z.shape[:-1])


class Listener(Written):
    """−log p(x|z) = ‖z − mean‖², next to no variance."""

    def __init__(self, means: Tensor) -> None:
        super().__init__(torch.zeros(len(means)), Gaussian(means, torch.full_like(means, -40.0)))

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        super().log_likelihood(batch, z)
        return -(z - self.posterior.mean[batch.indices]).square().sum(-1)


class LinearGaussian(nn.Module):
    """p(x|z) = N(Wz + b, σ²), whose marginal and posterior are known: a sentence is a vector x.

    W's columns are orthogonal: the exact posterior is diagonal. `shift`, `widen` and `laplace`
    move q away from it.
    """

    device = torch.device("cpu")
    latent_dim = 2

    def __init__(
        self, *, shift: float = 0.0, widen: float = 1.0, laplace: bool = False, sentences: int = 8
    ) -> None:
        super().__init__()
        self.w = torch.tensor([[0.7, 0.6], [-1.4, 0.3], [0.0, 0.0]]).double()
        self.b, self.sigma = torch.tensor([0.5, -1.0, 2.0]).double(), 0.6
        random = torch.Generator().manual_seed(5)
        self.x = 1.5 * torch.randn(sentences, 3, generator=random, dtype=torch.float64)
        self.shift, self.widen, self.laplace = shift, widen, laplace
        self.tokens_at_once: list[int] = []

    @property
    def posterior(self) -> Normal:
        precision = 1 + self.w.square().sum(0) / self.sigma**2
        mu = (self.x - self.b) @ self.w / self.sigma**2 / precision
        return Normal(mu, (1 / precision).sqrt().expand_as(mu))

    @property
    def q(self) -> Normal:
        return Normal(self.posterior.mean + self.shift, self.posterior.stddev * self.widen)

    @property
    def exact(self) -> Tensor:
        covariance = self.w @ self.w.T + self.sigma**2 * torch.eye(3).double()
        return -MultivariateNormal(self.b, covariance).log_prob(self.x)

    def encode(self, batch: Batch) -> Posterior:
        mean, deviation = self.q.mean[batch.indices], self.q.stddev[batch.indices]
        if self.laplace:
            return Laplace(mean, deviation / math.sqrt(2))
        return Gaussian(mean, 2 * deviation.log())

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        self.tokens_at_once.append(z[..., 0, 0].numel() * batch.input_ids.numel())
        return Normal(z @ self.w.T + self.b, self.sigma).log_prob(self.x[batch.indices]).sum(-1)
