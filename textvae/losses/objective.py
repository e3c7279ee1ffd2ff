"""The terms of the ELBO, free bits, and the objectives made of them, over plain tensors.

`objective` is for sentences and whatever posterior, and reads nothing back from an accelerator.
What stands below it is for any VAE with a diagonal Gaussian posterior, in your own loop. There a
reduction scales the loss and never the balance of its terms: `"sum"` is over everything, `"mean"`
divides that by the batch size alone, for both terms alike (popular versions average over dimensions
too, which is another β: docs/losses.md), `"none"` gives (B,), summed over dimensions only.

Nats throughout. An InputError tells of shapes that disagree, values out of range and unknown names;
NaN comes through. Shapes: S samples, B examples or sentences, T tokens, V vocabulary, Z latent.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textvae.checks import InputError, at_least, choose, integer, number, one_of

# Free bits: raw KL of sentences and dimensions (B, Z) and nats λ, at least 0, to a scalar in nats
# per sentence. At 0 nats all of them give the raw KL.


def free_bits_per_dimension(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """Σ_d max(λ, mean_b KL[b, d]): Kingma et al. (2016), equation 15, a group per dimension."""
    return _checked(kl_per_dim, free_bits).mean(0).clamp_min(free_bits).sum()


def free_bits_max(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """mean_b Σ_d max(λ, KL[b, d]): a floor under every single KL, the clamp of textbooks."""
    return _checked(kl_per_dim, free_bits).clamp_min(free_bits).sum(1).mean()


def free_bits_mask(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """mean_b Σ_d KL[b, d] · 1[KL[b, d] > λ]: the published code of Li et al. (2019)."""
    is_under = _checked(kl_per_dim, free_bits) <= free_bits
    # Not `where(kl > λ, kl, 0)`, which would make a 0 of NaN.
    return kl_per_dim.masked_fill(is_under, 0.0).sum(1).mean()


def free_bits_total(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """max(λ, mean_b Σ_d KL[b, d]): equation 15 with one group; none where Z is 0."""
    floor = free_bits if _checked(kl_per_dim, free_bits).shape[1] else 0.0
    return kl_per_dim.sum(1).mean().clamp_min(floor)


def target_kl(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    """|mean_b Σ_d KL[b, d] − λ|: Burgess et al. (2018), whose C is λ; the KL where Z is 0."""
    target = free_bits if _checked(kl_per_dim, free_bits).shape[1] else 0.0
    return (kl_per_dim.sum(1).mean() - target).abs()


FREE_BITS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "batch": free_bits_per_dimension,
    "max": free_bits_max,
    "mask": free_bits_mask,
    "total": free_bits_total,
    "target": target_kl,
}
"""Every kind of free bits by name. Their values and gradients side by side: docs/losses.md.

Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow; Li et al.
(2019), A Surprisingly Effective Fix for Deep Latent Variable Modeling of Text; Burgess et al.
(2018), Understanding disentangling in β-VAE."""


class StepTerms(NamedTuple):
    """One batch's objective and its terms, each a scalar in nats per sentence."""

    loss: Tensor  # what to minimise: rec + weighed KL + weighed auxiliary terms
    rec: Tensor  # reconstruction, summed over tokens, mean over sentences
    kl: Tensor  # raw, summed over dimensions, mean over sentences: report this one
    kl_objective: Tensor  # `kl` after free bits: what was given to the annealer
    auxiliary: dict[str, Tensor]  # the other terms by name, before their weights


def objective(
    terms: Mapping[str, Tensor],
    kl: Tensor,
    annealer: Callable[[Tensor], Tensor] = lambda kl: kl,
    *,
    weights: Mapping[str, float] = MappingProxyType({}),
    free_bits: float = 0.0,
    free_bits_kind: str = "batch",
    encoder_follows: str = "bound",
) -> StepTerms:
    """The loss of a batch: mean over sentences of rec + β · KL + Σ weight · auxiliary term.

    Where there is a `log_ratio`, `importance_weighted` takes the place of rec + β · KL.

    Args:
        terms: Nats per sentence by name, (B,) or (S, B): `rec`, −log p(x|z) summed over tokens,
            and any others. `VAEOutput.terms` is such a table.
        kl: Raw KL of every sentence and dimension, (B, Z), nats: `posterior.kl()`.
        annealer: Weighs the KL; called once. By default the weight is 1.
        weights: Weights of the terms; 1 where none is given.
        free_bits: Floor (or target) of the KL, nats; 0 leaves the raw KL.
        free_bits_kind: A name in `FREE_BITS`: what the floor is put under, and its unit.
        encoder_follows: Under a `log_ratio`, what the KL's gradient is of: see `split_gradient`.

    Raises:
        InputError: If a term has not one value per sentence, or free bits can't be these.
    """
    for name, values in terms.items():
        if values.shape[-1:] != kl.shape[:1]:
            shape, each = tuple(values.shape), f"each of the {len(kl)} sentences of kl"
            raise InputError(f"{name} must hold one value for {each}, got shape {shape}")
    floored = choose(FREE_BITS, "free_bits_kind", free_bits_kind)
    raw = kl.sum(-1).mean()
    kl_objective = floored(kl, free_bits) if free_bits else raw
    rec = terms["rec"].mean()
    weighed = annealer(kl_objective)
    loss = weights.get("rec", 1.0) * rec + weighed
    if (log_ratio := terms.get("log_ratio")) is not None:
        beta = (weighed / kl_objective).detach().nan_to_num(1.0)
        if encoder_follows == "elbo":
            bound = importance_weighted(terms["rec"], log_ratio.detach(), beta)
            loss = bound.mean() + weighed - weighed.detach()
        else:
            loss = importance_weighted(terms["rec"], log_ratio, beta).mean()
    of_elbo = ("rec", "log_ratio")
    auxiliary = {name: values.mean() for name, values in terms.items() if name not in of_elbo}
    for name, value in auxiliary.items():
        loss = loss + weights.get(name, 1.0) * value
    return StepTerms(loss, rec, raw, kl_objective, auxiliary)


def importance_weighted(rec: Tensor, log_ratio: Tensor, beta: Tensor | float = 1.0) -> Tensor:
    """−log (1/S) Σ_s exp(−rec_s − β · log_ratio_s): Burda et al. (2016), equation 8.

    Of S codes z_s of each sentence, (S, B) → (B,), nats: log_ratio is log q(z_s|x) − log p(z_s).
    """
    return math.log(len(rec)) - (-rec - beta * log_ratio).logsumexp(0)


def split_gradient(rec: Tensor, z: Tensor, encoder_follows: str) -> None:
    """Give codes another gradient of an `importance_weighted` loss than the decoder; see there.

    Code s has the weight w_s ∝ p(x, z_s) / q(z_s|x) in the decoder's gradient. What reaches z, and
    by it the encoder, has w_s² (DReG: Tucker et al. 2019, equation 8; `log_ratio` must depend on
    the encoder by z alone), or, if it follows the "elbo", 1 / S (PIWAE: Rainforth et al. 2018).

    Args:
        rec: (S, B), computed from z and not yet differentiated.
        z: (S, B, Z); all that reads it counts.
        encoder_follows: "bound" or "elbo".
    """
    weights: list[Tensor] = []
    # The gradient of rec is its weight, but for a factor: that of the mean over sentences.
    rec.register_hook(lambda d_rec: weights.append((d_rec / d_rec.sum(0)).nan_to_num()))  # type: ignore[no-untyped-call]

    def of_encoder(d_z: Tensor) -> Tensor:
        w = weights.pop()[..., None]
        return d_z * w if encoder_follows == "bound" else d_z / (len(w) * w.clamp_min(1e-30))

    z.register_hook(of_encoder)  # type: ignore[no-untyped-call]


class VAETerms(NamedTuple):
    """A batch's loss and its terms, scalars in nats, of the batch or per example."""

    total: Tensor  # what to minimise: recon + β · KL, the KL after free bits
    recon: Tensor
    kl: Tensor  # raw, before free bits and β: report this one


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) of every dimension: Kingma & Welling (2014), appendix B."""
    _must(mu.shape == logvar.shape, "mu and logvar must have the same shape", mu, logvar)
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
    for name, values in (("recon_x", recon_x.detach()), ("x", x)):
        low, high = (end.item() for end in values.aminmax())
        if not (low >= 0 and high <= 1):  # NaN is neither
            raise InputError(f"{name} must lie in [0, 1], got values from {low} to {high}")
    return _reduced(F.binary_cross_entropy(recon_x, x, reduction="none"), reduction)


def mse_reconstruction(recon_x: Tensor, x: Tensor, reduction: str = "sum") -> Tensor:
    """Squared error ‖x − x̂‖², of a Gaussian decoder: means `recon_x` and data `x`, (B, …) both.

    It is −log p of a Gaussian of variance ½ around x̂, but for a constant; one of unit variance
    would give half of it, so against that one β counts double.
    """
    _refuse_other_shape(recon_x, x)
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
    is_text = scores.ndim == 3 and scores.shape[:2] == targets.shape
    _must(is_text, "scores must be (B, T, V) and targets (B, T)", scores, targets)
    size, longest, vocab_size = scores.shape
    if lengths is not None:
        if lengths.shape != (size,) or ((lengths < 0) | (lengths > longest)).any():
            allowed = f"{size} numbers between 0 and the {longest} tokens of targets"
            raise InputError(f"lengths must hold {allowed}, got {lengths.tolist()}")
        positions = torch.arange(longest, device=targets.device)
        targets = targets.masked_fill(positions >= lengths[:, None], padding_id)
    foreign = ((targets < 0) | (targets >= vocab_size)) & (targets != padding_id)
    if foreign.any():
        allowed = f"from 0 to {vocab_size - 1}, or padding ({padding_id})"
        raise InputError(f"targets must be {allowed}, got {targets[foreign][0]}")
    by_token = scores.movedim(-1, 1)  # (B, V, T)
    nll = F.cross_entropy(by_token, targets, reduction="none", ignore_index=padding_id)
    return _reduced(nll, reduction)


RECONSTRUCTIONS: Mapping[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "bce": bce_reconstruction,
    "mse": mse_reconstruction,
    "cross_entropy": cross_entropy_reconstruction,
}
"""Every reconstruction: name → function of reconstruction (or scores), data and reduction."""


@dataclass(eq=False)
class VAELoss(nn.Module):
    """Loss of any VAE with a diagonal Gaussian posterior, put together from parts.

    Under an annealer either set `beta` to its value before each batch, or weigh the floored KL:

        loss = criterion.reconstruction_loss(recon_x, x) + annealer(criterion.kl_loss(mu, logvar))
    """

    # A name in `RECONSTRUCTIONS`: "bce", "mse", or "cross_entropy" over scores (B, T, V) and
    # targets (B, T) in which −100 stands for padding.
    reconstruction_type: str = "bce"
    beta: float = 1.0  # weight of the KL in `total`, ≥ 0
    free_bits: float | None = None  # floor under the KL in `total`, nats, ≥ 0; None for none
    reduction: str = "sum"  # or "mean"
    _: KW_ONLY
    free_bits_kind: str = "max"  # a name in `FREE_BITS`: what the floor is put under, and its unit

    def __post_init__(self) -> None:
        super().__init__()
        one_of("reconstruction_type", self.reconstruction_type, RECONSTRUCTIONS)
        one_of("free_bits_kind", self.free_bits_kind, FREE_BITS)
        one_of("reduction", self.reduction, ("sum", "mean"))
        at_least(0, beta=self.beta, free_bits=self.free_bits)

    def forward(self, recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> VAETerms:
        """Of data (B, …), or scores (B, T, V) and targets (B, T), and mu and logvar (B, Z)."""
        at_least(0, beta=self.beta)
        recon = self.reconstruction_loss(recon_x, x)
        _must(x.shape[:1] == mu.shape[:1], "x and mu must hold equally many examples", x, mu)
        total = recon + self.beta * self.kl_loss(mu, logvar)
        return VAETerms(total, recon, kl_divergence(mu, logvar, self.reduction))

    def reconstruction_loss(self, recon_x: Tensor, x: Tensor) -> Tensor:
        """The reconstruction alone, a scalar."""
        return RECONSTRUCTIONS[self.reconstruction_type](recon_x, x, self.reduction)

    def kl_loss(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """The KL after free bits and before β, a scalar."""
        _must(mu.ndim == 2, "mu and logvar must be (B, Z)", mu)
        per_dim = kl_per_dimension(mu, logvar)
        if not self.free_bits:
            return _reduced(per_dim, self.reduction)
        floored = FREE_BITS[self.free_bits_kind](per_dim, self.free_bits)
        return floored * (len(mu) if self.reduction == "sum" else 1)


def vae_loss(
    recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, reduction: str = "sum"
) -> VAETerms:
    """Negative ELBO of a Bernoulli decoder: BCE + KL (Kingma & Welling 2014, equation 10)."""
    return beta_vae_loss(recon_x, x, mu, logvar, 1.0, reduction)


def beta_vae_loss(
    recon_x: Tensor,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    beta: float = 4.0,
    reduction: str = "sum",
) -> VAETerms:
    """`vae_loss` with β · KL: above 1 for disentangled codes (Higgins et al. 2017, equation 4)."""
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

    Only `total` knows of the floor: nats that z does not carry are not reported as `kl`.
    """
    loss = VAELoss("bce", 1.0, free_bits, reduction, free_bits_kind=free_bits_kind)
    return loss.forward(recon_x, x, mu, logvar)


def nats_per_dimension(
    recon: Tensor | float, kl: Tensor | float, data_dim: float, latent_dim: int
) -> tuple[Tensor | float, Tensor | float]:
    """Terms per example, divided by dimensions, to compare unlike models; not to be optimised.

    `data_dim` is the number of values per example (784 on MNIST), or of tokens per sentence.
    """
    number("data_dim", data_dim, "(0, inf)")
    return recon / data_dim, kl / integer("latent_dim", latent_dim, 1)


def _checked(kl_per_dim: Tensor, free_bits: float) -> Tensor:
    _must(kl_per_dim.ndim == 2, "kl_per_dim must be (B, Z)", kl_per_dim)
    at_least(0, free_bits=free_bits)
    return kl_per_dim


def _reduced(values: Tensor, reduction: str) -> Tensor:
    """Summed over each example's values, then reduced over the batch."""
    one_of("reduction", reduction, ("sum", "mean", "none"))
    per_example = values.flatten(1).sum(1) if values.ndim > 1 else values
    if reduction == "none":
        return per_example
    return per_example.sum() if reduction == "sum" else per_example.mean()


def _must(holds: bool, what: str, *tensors: Tensor) -> None:
    if not holds:
        raise InputError(f"{what}, got {' and '.join(str(tuple(t.shape)) for t in tensors)}")


def _refuse_other_shape(recon_x: Tensor, x: Tensor) -> None:
    is_same = recon_x.shape == x.shape and x.ndim > 0 and x.numel() > 0
    _must(is_same, "recon_x and x must have the same shape (B, …) and not be empty", recon_x, x)
