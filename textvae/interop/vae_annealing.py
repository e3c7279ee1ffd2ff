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
    """Binary cross-entropy and KL divergence of a batch, as two scalars.

    The package's documentation names no reduction. Here both terms are summed over everything, the
    batch included, so that they are on one scale and their sum is the negative ELBO of the batch;
    divide both by B for nats per data point.
    """

    def forward(self, x: Tensor, x0: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        """Compare a batch with its reconstruction, and its posteriors with the prior.

        Args:
            x: Reconstruction, (B, ...), probabilities in [0, 1], as after a sigmoid.
            x0: What was to be reconstructed, same shape, in [0, 1], of any type.
            mu: Posterior means, (B, Z).
            logvar: Logarithms of the posterior variances, (B, Z).

        Returns:
            `(bce, kld)`: −log p(x0|z) and KL(q(z|x0) ‖ N(0, I)), each a scalar, nats, summed.

        Raises:
            InputError: If shapes or numbers of data points disagree, or `x` or `x0` leaves [0, 1].
        """
        if x.shape != x0.shape:
            raise InputError(
                f"x and x0 must have the same shape, got {tuple(x.shape)} and {tuple(x0.shape)}"
            )
        if x.shape[:1] != mu.shape[:1]:
            raise InputError(
                "x and mu must have equally many rows, got the shapes "
                f"{tuple(x.shape)} and {tuple(mu.shape)}"
            )
        for name, values in (("x", x), ("x0", x0)):
            inside = (values >= 0) & (values <= 1)  # NaN is not
            if not inside.all():
                found = values[~inside][0].item()
                raise InputError(f"{name} must be in [0, 1], got {found}")
        bce = F.binary_cross_entropy(x, x0.to(x.dtype), reduction="sum")
        return bce, kl_divergence(mu, logvar)
