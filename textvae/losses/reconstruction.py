"""−log p(x|z) of a batch under three kinds of decoder.

Offers `bce_reconstruction` (Bernoulli), `mse_reconstruction` (Gaussian) and
`cross_entropy_reconstruction` (tokens), by name in `RECONSTRUCTIONS`. Each sums over everything
but the batch before it reduces. Their checks read back from the accelerator.

Shapes: B examples or sentences, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.losses.checks import refuse_nan
from textvae.losses.reduction import reduce_batch

__all__ = [
    "RECONSTRUCTIONS",
    "bce_reconstruction",
    "cross_entropy_reconstruction",
    "mse_reconstruction",
]


def bce_reconstruction(recon_x: Tensor, x: Tensor, reduction: str = "sum") -> Tensor:
    """Binary cross-entropy, of a Bernoulli decoder: −Σ x log x̂ + (1 − x) log(1 − x̂).

    Args:
        recon_x: Reconstructed probabilities x̂ in [0, 1], (B, …); no logits.
        x: Data in [0, 1], same shape.
        reduction: `"sum"` over everything, `"mean"` (summed over elements, mean over the batch)
            or `"none"` (summed over elements only).

    Returns:
        Nats, a scalar, or (B,) for `"none"`. Logarithms stop at −100, as PyTorch's do.

    Raises:
        ValueError: If the shapes differ or are empty, if either is not within [0, 1] (NaN is
            not), or if the reduction is unknown.
    """
    _check_shapes(recon_x, x)
    ends = [end for tensor in (recon_x.detach(), x) for end in (tensor.min(), tensor.max())]
    low, high, x_low, x_high = torch.stack(ends).tolist()
    if not (low >= 0 and high <= 1 and x_low >= 0 and x_high <= 1):
        raise ValueError(
            f"recon_x and x must lie in [0, 1], got recon_x from {low} to {high} and x from "
            f"{x_low} to {x_high}"
        )
    loss = F.binary_cross_entropy(recon_x, x, reduction="none")
    return reduce_batch(loss.reshape(len(x), -1).sum(1), reduction)


def mse_reconstruction(recon_x: Tensor, x: Tensor, reduction: str = "sum") -> Tensor:
    """Squared error ‖x − x̂‖², of a Gaussian decoder.

    It is −log p of a Gaussian of variance ½ around x̂, but for a constant; one of unit variance
    would give half of it, so against that one β counts double.

    Args:
        recon_x: Reconstructed means x̂, (B, …).
        x: Data, same shape.
        reduction: `"sum"` over everything, `"mean"` (summed over elements, mean over the batch)
            or `"none"` (summed over elements only).

    Returns:
        A scalar, or (B,) for `"none"`.

    Raises:
        ValueError: If the shapes differ or are empty, if either holds NaN, or if the reduction
            is unknown.
    """
    _check_shapes(recon_x, x)
    refuse_nan(recon_x=recon_x, x=x)
    return reduce_batch((recon_x - x).square().reshape(len(x), -1).sum(1), reduction)


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
        reduction: `"sum"` over everything, `"mean"` (summed over tokens, mean over sentences) or
            `"none"` (summed over tokens only).
        lengths: Tokens of each sentence that count, (B,); those after don't.
        padding_id: Targets of this id don't count. The default marks none of a vocabulary.

    Returns:
        Nats, a scalar, or (B,) for `"none"`.

    Raises:
        ValueError: If the shapes disagree, a target is neither of the vocabulary nor padding, a
            length is not between 0 and T, a score is NaN, or the reduction is unknown.
    """
    if scores.ndim != 3 or scores.shape[:2] != targets.shape:
        raise ValueError(
            f"scores must be (B, T, V) and targets (B, T), got {tuple(scores.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if lengths is not None:
        targets = _pad_after(lengths, targets, padding_id)
    foreign = ((targets < 0) | (targets >= scores.shape[2])) & (targets != padding_id)
    if foreign.any():
        raise ValueError(
            f"targets must be below the {scores.shape[2]} of scores and at least 0, or padding "
            f"({padding_id}), got {targets[foreign][0]}"
        )
    refuse_nan(scores=scores)
    nll = F.cross_entropy(
        scores.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=padding_id
    )
    return reduce_batch(nll.view(targets.shape).sum(1), reduction)


RECONSTRUCTIONS: Mapping[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "bce": bce_reconstruction,
    "mse": mse_reconstruction,
    "cross_entropy": cross_entropy_reconstruction,
}
"""Every reconstruction: name → function of reconstruction (or scores), data and reduction."""


def _check_shapes(recon_x: Tensor, x: Tensor) -> None:
    if recon_x.shape != x.shape or not x.ndim or not x.numel():
        raise ValueError(
            "recon_x and x must have the same shape (B, …) and not be empty, got "
            f"{tuple(recon_x.shape)} and {tuple(x.shape)}"
        )


def _pad_after(lengths: Tensor, targets: Tensor, padding_id: int) -> Tensor:
    num_sentences, num_tokens = targets.shape
    if lengths.shape != (num_sentences,) or ((lengths < 0) | (lengths > num_tokens)).any():
        raise ValueError(
            f"lengths must hold {num_sentences} numbers between 0 and the {num_tokens} tokens of "
            f"targets, got {lengths.tolist()}"
        )
    positions = torch.arange(num_tokens, device=targets.device)
    return targets.masked_fill(positions >= lengths[:, None], padding_id)
