"""The whole loss of a VAE in one call, for a loop of your own: pictures, molecules, sound, text.

Offers `vae_loss`, `beta_vae_loss`, `vae_loss_free_bits` and the module `VAELoss`, which return
`VAETerms`; `nats_per_dimension` makes models of unlike sizes comparable.

Reductions differ from what is often published. Here `"sum"` is over everything and `"mean"` is
that divided by the batch size, for both terms alike, so the reduction scales the loss and never
the balance of its terms. With D data and Z latent dimensions, popular snippets of the same
signature do otherwise under `"mean"`: functions that average the binary cross-entropy over B·D
elements but the KL over B only, whose β is really D · β (784 on MNIST), and modules that average
the KL over B·Z as well, whose β is really β · D/Z. The vae-annealing package sums both terms, as
`"sum"` does here, but hands data and reconstruction to the cross-entropy in the wrong order.

The checks read back from the accelerator a few times per call; `elbo_terms` never does.

Shapes: B examples, D data dimensions, Z latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from textvae.losses.checks import choose, refuse_nan, refuse_negative
from textvae.losses.elbo import ELBOTerms, elbo_terms
from textvae.losses.free_bits import FREE_BITS
from textvae.losses.reconstruction import RECONSTRUCTIONS

__all__ = [
    "NatsPerDimension",
    "VAELoss",
    "VAETerms",
    "beta_vae_loss",
    "nats_per_dimension",
    "vae_loss",
    "vae_loss_free_bits",
]


class VAETerms(NamedTuple):
    """A batch's loss and its terms, scalars in nats, of the batch or per example.

    Attributes:
        total: What to minimise: recon + β · KL, the KL after free bits.
        recon: Reconstruction.
        kl: Raw KL divergence, before free bits and β. Report this one.
    """

    total: Tensor
    recon: Tensor
    kl: Tensor


class NatsPerDimension(NamedTuple):
    """Terms that no longer grow with the data and the latent space.

    Attributes:
        recon: Nats per data dimension, or per token.
        kl: Nats per latent dimension.
    """

    recon: Tensor | float
    kl: Tensor | float


def vae_loss(
    recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, reduction: str = "sum"
) -> VAETerms:
    """Negative ELBO with a Bernoulli decoder: binary cross-entropy + KL.

    Args:
        recon_x: Reconstructed probabilities in [0, 1], (B, …).
        x: Data in [0, 1], same shape.
        mu: Posterior means, (B, Z).
        logvar: Logarithms of the posterior variances, (B, Z).
        reduction: `"sum"` over everything or `"mean"` per example, for both terms alike; for
            what others mean by it see the head of this module.

    Returns:
        `VAETerms`; unpacks as total, recon, kl.

    Raises:
        ValueError: If shapes disagree, `recon_x` or `x` leave [0, 1], anything is NaN, or the
            reduction is unknown.

    Reference:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes, equation 10.
    """
    return beta_vae_loss(recon_x, x, mu, logvar, 1.0, reduction)


def beta_vae_loss(
    recon_x: Tensor,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    beta: float = 4.0,
    reduction: str = "sum",
) -> VAETerms:
    """`vae_loss` with a weight on the KL: above 1 for disentangled codes, at a price in recon.

    Args:
        recon_x: Reconstructed probabilities in [0, 1], (B, …).
        x: Data in [0, 1], same shape.
        mu: Posterior means, (B, Z).
        logvar: Logarithms of the posterior variances, (B, Z).
        beta: Weight of the KL in `total`, ≥ 0; an annealer's value, if you like.
        reduction: `"sum"` over everything or `"mean"` per example, for both terms alike.

    Returns:
        `VAETerms`, `kl` without β.

    Raises:
        ValueError: As `vae_loss` does, or if `beta` is negative.

    Reference:
        Higgins et al. (2017), β-VAE, equation 4.
    """
    return VAELoss("bce", beta, None, reduction).forward(recon_x, x, mu, logvar)


def vae_loss_free_bits(
    recon_x: Tensor,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    free_bits: float = 0.1,
    reduction: str = "sum",
    *,
    free_bits_kind: str = "max",
) -> VAETerms:
    """`vae_loss` with free bits: KL under a floor costs the floor and is not pushed to 0.

    By default the floor is under each example's every dimension, as textbooks clamp it. Only
    `total` knows of the floor; versions that return the floored KL as third value report nats
    that z does not carry. `total - recon` is the floored one.

    Args:
        recon_x: Reconstructed probabilities in [0, 1], (B, …).
        x: Data in [0, 1], same shape.
        mu: Posterior means, (B, Z).
        logvar: Logarithms of the posterior variances, (B, Z).
        free_bits: The floor, nats, ≥ 0.
        reduction: `"sum"` over everything or `"mean"` per example, for both terms alike.
        free_bits_kind: A name in `FREE_BITS`: what the floor is put under, and its unit.

    Returns:
        `VAETerms`, `kl` raw.

    Raises:
        ValueError: As `vae_loss` does, if `free_bits` is negative or its kind unknown.
    """
    loss = VAELoss("bce", 1.0, free_bits, reduction, free_bits_kind=free_bits_kind)
    return loss.forward(recon_x, x, mu, logvar)


class VAELoss(nn.Module):
    """Loss of any VAE with a diagonal Gaussian posterior, put together from parts.

    Under an annealer either set `beta` to its value before each batch, or weigh the floored KL:

        loss = criterion.reconstruction_loss(recon_x, x) + annealer(criterion.kl_loss(mu, logvar))

    Args:
        reconstruction_type: A name in `RECONSTRUCTIONS`: `"bce"`, `"mse"`, or `"cross_entropy"`
            over scores (B, T, V) and targets (B, T) in which −100 stands for padding.
        beta: Weight of the KL in `total`, ≥ 0.
        free_bits: Floor under the KL in `total`, nats, ≥ 0. None for none.
        reduction: `"sum"` over everything or `"mean"` per example, for both terms alike; modules
            of this signature that average over dimensions too weigh the KL by D/Z besides β.
        free_bits_kind: A name in `FREE_BITS`: what the floor is put under, and its unit.

    Raises:
        ValueError: If a name is unknown (with those that are known), or a number negative.
    """

    def __init__(
        self,
        reconstruction_type: str = "bce",
        beta: float = 1.0,
        free_bits: float | None = None,
        reduction: str = "sum",
        *,
        free_bits_kind: str = "max",
    ) -> None:
        super().__init__()
        choose(RECONSTRUCTIONS, "reconstruction_type", reconstruction_type)
        choose({"sum": None, "mean": None}, "reduction", reduction)
        choose(FREE_BITS, "free_bits_kind", free_bits_kind)
        refuse_negative("beta", beta)
        refuse_negative("free_bits", 0.0 if free_bits is None else free_bits, " nats")
        self.reconstruction_type = reconstruction_type
        self.beta = beta
        self.free_bits = free_bits
        self.reduction = reduction
        self.free_bits_kind = free_bits_kind

    def forward(self, recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> VAETerms:
        """Weigh and add the terms.

        Args:
            recon_x: Reconstruction, (B, …), or scores (B, T, V).
            x: Data, same shape, or target ids (B, T).
            mu: Posterior means, (B, Z).
            logvar: Logarithms of the posterior variances, (B, Z).

        Returns:
            `VAETerms`; unpacks as total, recon, kl, and `kl` is raw.

        Raises:
            ValueError: If shapes disagree, values are out of range or NaN, or `beta` was set to
                less than 0.
        """
        refuse_negative("beta", self.beta)
        rec = RECONSTRUCTIONS[self.reconstruction_type](recon_x, x, "none")
        if x.shape[:1] != mu.shape[:1]:
            raise ValueError(
                f"x and mu must hold equally many examples, got {tuple(x.shape)} and "
                f"{tuple(mu.shape)}"
            )
        recon, kl, objective = self._scaled(rec, mu, logvar)
        return VAETerms(recon + self.beta * objective, recon, kl)

    def reconstruction_loss(self, recon_x: Tensor, x: Tensor) -> Tensor:
        """The reconstruction alone, a scalar; arguments and errors as of `forward`."""
        return RECONSTRUCTIONS[self.reconstruction_type](recon_x, x, self.reduction)

    def kl_loss(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """The KL after free bits and before β, a scalar; arguments and errors as of `forward`."""
        return self._scaled(mu.new_zeros(mu.shape[:1]), mu, logvar).kl_objective

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        names = ("reconstruction_type", "beta", "free_bits", "reduction", "free_bits_kind")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def _scaled(self, rec: Tensor, mu: Tensor, logvar: Tensor) -> ELBOTerms:
        if mu.ndim != 2:
            raise ValueError(f"mu and logvar must be (B, Z), got {tuple(mu.shape)}")
        terms = elbo_terms(
            rec,
            mu,
            logvar,
            free_bits=0.0 if self.free_bits is None else self.free_bits,
            free_bits_kind=self.free_bits_kind,
        )
        refuse_nan(mu=mu, logvar=logvar)
        scale = len(mu) if self.reduction == "sum" else 1
        return ELBOTerms(*(scale * term for term in terms))


def nats_per_dimension(
    recon: Tensor | float, kl: Tensor | float, data_dim: float, latent_dim: int
) -> NatsPerDimension:
    """Terms per data dimension (or token) and per latent dimension, to compare unlike models.

    To report, not to optimise: dividing the terms by different numbers changes β.

    Args:
        recon: Reconstruction per example (reduction `"mean"`), nats.
        kl: KL per example, nats.
        data_dim: Values per example (784 on MNIST), or the mean number of tokens per sentence.
        latent_dim: Latent dimensions.

    Returns:
        `NatsPerDimension`, of the type that was given.

    Raises:
        ValueError: If a number of dimensions is not above 0.
    """
    for name, size in (("data_dim", data_dim), ("latent_dim", latent_dim)):
        if not size > 0:
            raise ValueError(f"{name} must be above 0, got {size}")
    return NatsPerDimension(recon / data_dim, kl / latent_dim)
