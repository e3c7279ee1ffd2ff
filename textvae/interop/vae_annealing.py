"""Drop-in for https://github.com/hubertrybka/vae-annealing: `Annealer` and `VAELoss`.

Both do what the package's documentation says, also where its code does not: it hands the arguments
of the cross-entropy over in the wrong order, and its logistic overflows.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from textvae.annealers import Annealer as Annealer  # offered here under the package's name
from textvae.checks import InputError
from textvae.losses import kl_divergence


class VAELoss(nn.Module):
    """Binary cross-entropy and KL of a batch, two scalars whose sum is its negative ELBO.

    Both are summed over everything, the batch included: divide by B for nats per data point.
    """

    def forward(self, x: Tensor, x0: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        """−log p(x0|z) and KL(q(z|x0) ‖ N(0, I)), each a scalar, nats.

        Reconstruction `x`, as after a sigmoid, and data `x0`, of any type, are in [0, 1] and of one
        shape (B, ...); posterior means `mu` and log-variances `logvar` are (B, Z).
        """
        if x.shape != x0.shape or x.shape[:1] != mu.shape[:1]:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x, x0, mu))
            raise InputError(
                f"x and x0 must have the same shape, and mu as many rows, got {shapes}"
            )
        for name, values in (("x", x), ("x0", x0)):
            inside = (values >= 0) & (values <= 1)  # NaN is not
            if not inside.all():
                raise InputError(f"{name} must be in [0, 1], got {values[~inside][0].item()}")
        bce = F.binary_cross_entropy(x, x0.to(x.dtype), reduction="sum")
        return bce, kl_divergence(mu, logvar)
