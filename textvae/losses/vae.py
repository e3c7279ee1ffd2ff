"""Losses of any VAE with a diagonal Gaussian posterior, over plain tensors, for your own loop.

A reduction scales the loss and never the balance of its terms: `"sum"` is over everything, `"mean"`
divides that by the batch size alone, for both terms alike (popular versions average over dimensions
too, which is another β: docs/losses.md), `"none"` gives (B,), summed over dimensions only. Nats
throughout. An InputError tells of shapes that disagree, NaN, values out of range and unknown names.
These checks read back from an accelerator a few times per call; `objective` never does.

Shapes: B examples or sentences, T tokens, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.checks import InputError, at_least, choose, one_of
from textvae.losses.objective import FREE_BITS

REDUCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sum": Tensor.sum,
    "mean": Tensor.mean,
    "none": lambda per_example: per_example,
}


class VAETerms(NamedTuple):
    """A batch's loss and its terms, scalars in nats, of the batch or per example."""

    total: Tensor  # what to minimise: recon + β · KL, the KL after free bits
    recon: Tensor
    kl: Tensor  # raw, before free bits and β: report this one


class NatsPerDimension(NamedTuple):
    """Terms that no longer grow with the data and the latent space."""

    recon: Tensor | float  # nats per data dimension, or per token
    kl: Tensor | float  # nats per latent dimension


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) of every dimension, nats, in the shape of both.

    Reference:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes, appendix B.
    """
    if mu.shape != logvar.shape:
        raise InputError(
            f"mu and logvar must have the same shape, got {tuple(mu.shape)} and "
            f"{tuple(logvar.shape)}"
        )
    # expm1 keeps the digits that exp(logvar) - 1 loses where the posterior meets the prior.
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar)


def kl_divergence(mu: Tensor, logvar: Tensor, reduction: str = "sum") -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) of diagonal Gaussians: mu and logvar (B, Z) → nats by the reduction."""
    return _reduced(kl_per_dimension(mu, logvar), reduction)


def bce_reconstruction(recon_x: Tensor, x: Tensor, reduction: str = "sum") -> Tensor:
    """Binary cross-entropy, of a Bernoulli decoder: −Σ x log x̂ + (1 − x) log(1 − x̂).

    Probabilities `recon_x` (no logits) and data `x` in [0, 1], (B, …) both. Logarithms stop at
    −100, as PyTorch's do.
    """
    _refuse_other_shape(recon_x, x)
    ends = [end for tensor in (recon_x.detach(), x) for end in (tensor.min(), tensor.max())]
    low, high, x_low, x_high = torch.stack(ends).tolist()
    if not (low >= 0 and high <= 1 and x_low >= 0 and x_high <= 1):
        raise InputError(
            f"recon_x and x must lie in [0, 1], got recon_x from {low} to {high} and x from "
            f"{x_low} to {x_high}"
        )
    return _reduced(F.binary_cross_entropy(recon_x, x, reduction="none"), reduction)


def mse_reconstruction(recon_x: Tensor, x: Tensor, reduction: str = "sum") -> Tensor:
    """Squared error ‖x − x̂‖², of a Gaussian decoder: means `recon_x` and data `x`, (B, …) both.

    It is −log p of a Gaussian of variance ½ around x̂, but for a constant; one of unit variance
    would give half of it, so against that one β counts double.
    """
    _refuse_other_shape(recon_x, x)
    _refuse_nan(recon_x=recon_x, x=x)
    return _reduced((recon_x - x).square(), reduction)


def cross_entropy_reconstruction(
    scores: Tensor,
    targets: Tensor,
    reduction: str = "sum",
    *,
    lengths: Tensor | None = None,
    padding_id: int = -100,
) -> Tensor:
    """Token cross-entropy, of an autoregressive or any other categorical decoder.

    Holds the scores of all tokens at once; `token_nll` does not.

    Args:
        scores: Unnormalised scores of every token, (B, T, V).
        targets: Token ids, (B, T).
        reduction: See the module.
        lengths: Tokens of each sentence that count, (B,); those after don't.
        padding_id: Targets of this id don't count. The default marks none of a vocabulary.
    """
    if scores.ndim != 3 or scores.shape[:2] != targets.shape:
        raise InputError(
            f"scores must be (B, T, V) and targets (B, T), got {tuple(scores.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if lengths is not None:
        num_sentences, num_tokens = targets.shape
        if lengths.shape != (num_sentences,) or ((lengths < 0) | (lengths > num_tokens)).any():
            raise InputError(
                f"lengths must hold {num_sentences} numbers between 0 and the {num_tokens} tokens "
                f"of targets, got {lengths.tolist()}"
            )
        positions = torch.arange(num_tokens, device=targets.device)
        targets = targets.masked_fill(positions >= lengths[:, None], padding_id)
    foreign = ((targets < 0) | (targets >= scores.shape[2])) & (targets != padding_id)
    if foreign.any():
        raise InputError(
            f"targets must be below the {scores.shape[2]} of scores and at least 0, or padding "
            f"({padding_id}), got {targets[foreign][0]}"
        )
    _refuse_nan(scores=scores)
    nll = F.cross_entropy(
        scores.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=padding_id
    )
    return _reduced(nll.view(targets.shape), reduction)


RECONSTRUCTIONS: Mapping[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "bce": bce_reconstruction,
    "mse": mse_reconstruction,
    "cross_entropy": cross_entropy_reconstruction,
}
"""Every reconstruction: name → function of reconstruction (or scores), data and reduction."""


class VAELoss(nn.Module):
    """Loss of any VAE with a diagonal Gaussian posterior, put together from parts.

    Under an annealer either set `beta` to its value before each batch, or weigh the floored KL:

        loss = criterion.reconstruction_loss(recon_x, x) + annealer(criterion.kl_loss(mu, logvar))

    Args:
        reconstruction_type: A name in `RECONSTRUCTIONS`: `"bce"`, `"mse"`, or `"cross_entropy"`
            over scores (B, T, V) and targets (B, T) in which −100 stands for padding.
        beta: Weight of the KL in `total`, ≥ 0.
        free_bits: Floor under the KL in `total`, nats, ≥ 0. None for none.
        reduction: `"sum"` or `"mean"`.
        free_bits_kind: A name in `FREE_BITS`: what the floor is put under, and its unit.
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
        self._reconstruct = choose(RECONSTRUCTIONS, "reconstruction_type", reconstruction_type)
        self._floor = choose(FREE_BITS, "free_bits_kind", free_bits_kind)
        one_of("reduction", reduction, ("sum", "mean"))
        at_least(0, beta=beta, free_bits=free_bits)
        self.reconstruction_type, self.beta, self.free_bits = reconstruction_type, beta, free_bits
        self.reduction, self.free_bits_kind = reduction, free_bits_kind

    def forward(self, recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> VAETerms:
        """Weigh and add the terms.

        Args:
            recon_x: Reconstruction, (B, …), or scores (B, T, V).
            x: Data, same shape, or target ids (B, T).
            mu: Posterior means, (B, Z).
            logvar: Logarithms of the posterior variances, (B, Z).
        """
        at_least(0, beta=self.beta)
        recon = self.reconstruction_loss(recon_x, x)
        if x.shape[:1] != mu.shape[:1]:
            raise InputError(
                f"x and mu must hold equally many examples, got {tuple(x.shape)} and "
                f"{tuple(mu.shape)}"
            )
        floored = self.kl_loss(mu, logvar)
        return VAETerms(
            recon + self.beta * floored, recon, kl_divergence(mu, logvar, self.reduction)
        )

    def reconstruction_loss(self, recon_x: Tensor, x: Tensor) -> Tensor:
        """The reconstruction alone, a scalar; arguments and errors as of `forward`."""
        return self._reconstruct(recon_x, x, self.reduction)

    def kl_loss(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """The KL after free bits and before β, a scalar; arguments and errors as of `forward`."""
        if mu.ndim != 2:
            raise InputError(f"mu and logvar must be (B, Z), got {tuple(mu.shape)}")
        per_dim = kl_per_dimension(mu, logvar)
        _refuse_nan(mu=mu, logvar=logvar)
        if not self.free_bits:
            return _reduced(per_dim, self.reduction)
        return self._floor(per_dim, self.free_bits) * (len(mu) if self.reduction == "sum" else 1)

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        names = ("reconstruction_type", "beta", "free_bits", "reduction", "free_bits_kind")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def vae_loss(
    recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, reduction: str = "sum"
) -> VAETerms:
    """Negative ELBO with a Bernoulli decoder: binary cross-entropy + KL.

    Arguments, result and errors are those of `VAELoss` and its `forward`.

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

    Only `total` knows of the floor: versions that return the floored KL as third value report nats
    that z does not carry. `total - recon` is the floored one.
    """
    loss = VAELoss("bce", 1.0, free_bits, reduction, free_bits_kind=free_bits_kind)
    return loss.forward(recon_x, x, mu, logvar)


def nats_per_dimension(
    recon: Tensor | float, kl: Tensor | float, data_dim: float, latent_dim: int
) -> NatsPerDimension:
    """Terms per example, divided by dimensions, to compare unlike models; not to be optimised.

    `data_dim` is the number of values per example (784 on MNIST), or the mean number of tokens per
    sentence. Dividing the terms of an objective by different numbers would change β.
    """
    for name, size in (("data_dim", data_dim), ("latent_dim", latent_dim)):
        if not size > 0:
            raise InputError(f"{name} must be above 0, got {size}")
    return NatsPerDimension(recon / data_dim, kl / latent_dim)


def _reduced(values: Tensor, reduction: str) -> Tensor:
    """Summed over each example's values, then reduced over the batch."""
    per_example = values.flatten(1).sum(1) if values.ndim > 1 else values
    return choose(REDUCTIONS, "reduction", reduction)(per_example)


def _refuse_other_shape(recon_x: Tensor, x: Tensor) -> None:
    if recon_x.shape != x.shape or not x.ndim or not x.numel():
        raise InputError(
            "recon_x and x must have the same shape (B, …) and not be empty, got "
            f"{tuple(recon_x.shape)} and {tuple(x.shape)}"
        )


def _refuse_nan(**tensors: Tensor) -> None:
    counts = torch.stack([tensor.isnan().sum() for tensor in tensors.values()]).tolist()
    if any(counts):
        found = " and ".join(f"{n} in {name}" for name, n in zip(tensors, counts, strict=True))
        raise InputError(f"{' and '.join(tensors)} must hold no NaN, got {found}")
