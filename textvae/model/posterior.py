"""The posterior q(z|x): what all other rooms ask of it, its families, and the heads that give it.

Shapes: S samples, B sentences, Z latent dimensions, H width of the encoder's summary.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from textvae.config import ModelConfig
from textvae.losses import kl_per_dimension
from textvae.runtime import sum_of_all


class Posterior(ABC):
    """q(z|x) of B sentences, beside the prior p(z) = N(0, I).

    Losses, estimators and pages ask for what stands here and nothing else, so that a family of
    your own needs the abstract methods only. Its parameters are (B, Z) each.
    """

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters

    def __len__(self) -> int:
        return len(self.parameters[0])

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The posterior with a function applied to each parameter, as `lambda t: t[rows]`."""
        return type(self)(*map(function, self.parameters))

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """The posteriors of several batches in one, their sentences in a row."""
        columns = zip(*(part.parameters for part in parts), strict=True)
        return cls(*map(torch.cat, columns))

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Means, (B, Z)."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """Variances, (B, Z)."""

    @abstractmethod
    def sample(self, noise: Tensor | None = None) -> Tensor:
        """Draw z, differentiably, by standard normal draws (B, Z) or (S, B, Z), or by new ones."""

    @abstractmethod
    def kl(self) -> Tensor:
        """KL(q(z_d|x) ‖ p(z_d)) of every dimension, (B, Z), nats."""

    @abstractmethod
    def kl_to(self, other: Self) -> Tensor:
        """KL of each of these from the other's of the same row, (B,), nats; rows broadcast."""

    @abstractmethod
    def log_ratio(self, z: Tensor) -> Tensor:
        """Log q(z|x) − log p(z), nats: z (…, B, Z), or broadcast to it, → (…, B)."""

    def dimension(self, d: int) -> Self:
        """The posterior of dimension d alone, Z = 1."""
        return self.map(lambda parameter: parameter[:, d : d + 1])

    def pairwise_log_ratio(self, z: Tensor) -> Tensor:
        """`log_ratio` of each of S codes (S, Z) under each of the B posteriors, (S, B)."""
        return self.log_ratio(z[:, None])


class Gaussian(Posterior):
    """Diagonal Gaussians of means mu and log-variances logvar, (B, Z) both."""

    def __init__(self, mu: Tensor, logvar: Tensor) -> None:
        super().__init__(mu, logvar)
        self.mu, self.logvar = mu, logvar

    @property
    def mean(self) -> Tensor:
        """Means, (B, Z)."""
        return self.mu

    @property
    def variance(self) -> Tensor:
        """Variances, (B, Z)."""
        return self.logvar.exp()

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """Z = mu + sigma · noise (Kingma & Welling 2014, section 2.4); see `Posterior`."""
        noise = torch.randn_like(self.mu) if noise is None else noise
        return self.mu + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """In closed form; see `Posterior`."""
        return kl_per_dimension(self.mu, self.logvar)

    def kl_to(self, other: Self) -> Tensor:
        """In closed form; see `Posterior`."""
        # expm1 keeps the digits where the variances are nearly equal.
        change = self.logvar - other.logvar
        moved = (self.mu - other.mu).square() * torch.exp(-other.logvar)
        return 0.5 * (torch.expm1(change) - change + moved).sum(-1)

    def log_ratio(self, z: Tensor) -> Tensor:
        """Both densities hold the same ½ log 2π; see `Posterior`."""
        distance = (z - self.mu).square() * torch.exp(-self.logvar)
        return 0.5 * (z.square() - distance - self.logvar).sum(-1)

    def pairwise_log_ratio(self, z: Tensor) -> Tensor:
        """As one matrix product, since −½ Σ_d (z_d − mu_d)² / var_d is linear in z and z²."""
        centre = self.mu.mean(0)  # keeps the squares small, and so their digits
        mu, moved, precision = self.mu - centre, z - centre, torch.exp(-self.logvar)
        weights = torch.cat([precision * mu, -0.5 * precision], 1).T  # (2 Z, B)
        constant = -0.5 * (mu.square() * precision + self.logvar).sum(1)  # (B,)
        features = torch.cat([moved, moved.square()], 1)  # (S, 2 Z)
        return torch.addmm(constant, features, weights) + 0.5 * z.square().sum(1, keepdim=True)


class GaussianHead(nn.Module):
    """Means and log-variances, each a linear function of the encoder's summary."""

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.mu = nn.Linear(input_size, config.latent_dim)
        self.logvar = nn.Linear(input_size, config.latent_dim)

    def forward(self, summary: Tensor) -> Gaussian:
        """(B, H) → the posteriors of B sentences."""
        # fp32 whatever autocast does: KL and the draw of z are too delicate for bf16.
        return Gaussian(self.mu(summary).float(), self.logvar(summary).float())


class BatchNormHead(GaussianHead):
    """Means batch-normalised to γ (mu − m) / s + b: E[KL] ≥ Z γ² / 2 (Zhu et al. 2020).

    γ is fixed, b is learned. Means m and deviations s are those of the whole batch over all
    processes; in evaluation running ones take their place.
    """

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__(input_size, config)
        self.gamma, self.momentum, self.epsilon = config.batch_norm_gamma, 0.1, 1e-5
        self.shift = nn.Parameter(torch.zeros(config.latent_dim))
        self.running_mean = nn.Buffer(torch.zeros(config.latent_dim))
        self.running_variance = nn.Buffer(torch.ones(config.latent_dim))

    def forward(self, summary: Tensor) -> Gaussian:
        """(B, H) → the posteriors of B sentences."""
        mu, logvar = super().forward(summary).parameters
        mean: Tensor = self.running_mean
        variance: Tensor = self.running_variance
        if self.training:
            count, total = sum_of_all(torch.stack([torch.ones_like(mu), mu]).sum(1))
            mean = total / count
            # Not as a difference of squares, which rounding would eat where means are large.
            variance = sum_of_all((mu - mean).square().sum(0)) / count
            if self.shift.requires_grad:  # not frozen
                self.running_mean.lerp_(mean.detach(), self.momentum)
                self.running_variance.lerp_(variance.detach(), self.momentum)
        scale = self.gamma / (variance + self.epsilon).sqrt()
        return Gaussian(scale * (mu - mean) + self.shift, logvar)


class MinimumRateHead(GaussianHead):
    """Posteriors whose KL is at least δ nats in every dimension (Razavi et al. 2019, δ-VAE).

    KL ≥ δ where mu² ≥ 2δ + 1 + ln s² − s². Variances s² keep between the roots of the right side,
    which is never negative there, and mu = ± sqrt(right side + the linear layer's square).
    """

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__(input_size, config)
        self.rate = config.minimum_rate
        self.low, self.high = _variances_of_rate(self.rate)

    def forward(self, summary: Tensor) -> Gaussian:
        """(B, H) → the posteriors of B sentences."""
        mu, logit = super().forward(summary).parameters
        variance = self.low + (self.high - self.low) * torch.sigmoid(logit)
        logvar = variance.log()
        # Not quite 0, where the square root has no gradient.
        floor = (2 * self.rate + 1 + logvar - variance).clamp_min(1e-6)
        return Gaussian((floor + mu.square()).sqrt().copysign(mu), logvar)


def _variances_of_rate(rate: float) -> list[float]:
    """The two variances at which a Gaussian of mean 0 has that KL, in nats, by Newton's method."""
    variances = []
    for logvar in (-1 - 2 * rate, 2 * math.sqrt(rate)):  # outside both: convex, so neither passed
        for _ in range(60):
            logvar -= (math.expm1(logvar) - logvar - 2 * rate) / math.expm1(logvar)
        variances.append(math.exp(logvar))
    return variances


HEADS: dict[str, Callable[[int, ModelConfig], Any]] = {
    "gaussian": GaussianHead,
    "batch-norm": BatchNormHead,
    "delta": MinimumRateHead,
}
"""By the names of the option `posterior`: modules that turn the encoder's summary (B, H) into a
`Posterior`, built from H and the model's configuration. Enter one of your own before you train."""
