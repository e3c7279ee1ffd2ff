"""`Gradient`: forward, loss with the annealer's weight, backward, for one batch.

However the batch is cut, over processes or into micro-batches, value and gradient are those of the
whole: of means over its sentences. That is not the mean of its parts' losses, for parts differ in
size, and a floor under a batch's mean KL is not the mean of floors.

Shapes: B sentences of the whole batch, b of a process's share, Z latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from textvae.annealers import KLAnnealer
from textvae.config import TrainingConfig
from textvae.losses import ELBOTerms, elbo_terms
from textvae.model import SentenceVAE, VAEOutput
from textvae.runtime import Processes, autocast
from textvae.training.randomness import Randomness
from textvae.training.shares import Share

__all__ = ["Gradient", "Pass"]


class Pass(NamedTuple):
    """What a pass over a whole batch gave, scalars, the same in all processes.

    Attributes:
        terms: The batch's terms.
        weighed_kl: Its KL objective after the annealer.
        loss: What was optimised.
    """

    terms: ELBOTerms
    weighed_kl: Tensor
    loss: Tensor


class Gradient:
    """Adds a batch's gradient to the parameters.

    Args:
        model: The model.
        annealer: Called once for each batch, on the whole batch's KL.
        config: Free bits, and how many micro-batches a share is cut into.
        accelerator: Lets the processes, if there are several, add their gradients up.
        processes: Who shares the batches.
        precision: Arithmetic of the forward pass.
        randomness: Where noise comes from.
    """

    def __init__(
        self,
        model: SentenceVAE,
        annealer: KLAnnealer,
        config: TrainingConfig,
        *,
        accelerator: Accelerator,
        processes: Processes,
        precision: torch.dtype,
        randomness: Randomness,
    ) -> None:
        self._model = model
        self._annealer = annealer
        self._config = config
        self._accelerator = accelerator
        self._processes = processes
        self._precision = precision
        self._randomness = randomness
        self._parallel = accelerator.prepare_model(model)

    def add(self, share: Share) -> Pass:
        """Add the gradient of a batch, of which this process computes a share."""
        noise = self._randomness.noise(share, self._model.latent_dim)
        share = share._replace(batch=share.batch.to(self._accelerator.device))
        with autocast(self._accelerator.device, self._precision):
            out = self._parallel(share.batch, noise)
        terms = self._terms(*self._of_all(out, share))
        weighed_kl = self._annealer(terms.kl_objective)
        loss = terms.rec + weighed_kl
        self._backward(loss)
        return Pass(terms, weighed_kl, loss)

    def _of_all(self, own: VAEOutput, share: Share) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of all rows of the batch; the gradient goes to this process's only."""
        rec, (mu, logvar) = own.terms["rec"], own.posterior.parameters
        if self._processes.world == 1:
            return rec, mu, logvar
        rows = torch.cat([rec[:, None], mu, logvar], 1)[: share.num_own]
        of_all = self._processes.gather_rows(rows, share.num_sentences)  # (B, 1 + 2Z)
        of_all[self._processes.rank :: self._processes.world] = rows
        return of_all[:, 0], *of_all[:, 1:].chunk(2, 1)

    def _terms(self, rec: Tensor, mu: Tensor, logvar: Tensor) -> ELBOTerms:
        return elbo_terms(
            rec,
            mu,
            logvar,
            free_bits=self._config.free_bits,
            free_bits_kind=self._config.free_bits_kind,
        )

    def _backward(self, loss: Tensor) -> None:
        # The processes' gradients are averaged; what is wanted is their sum.
        several = self._processes.world > 1
        self._accelerator.backward(loss * self._processes.world if several else loss)
