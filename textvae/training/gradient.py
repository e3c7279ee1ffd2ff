"""`Gradient`: forward, loss with the annealer's weight, backward, for one batch.

However the batch is cut, over processes or into micro-batches, value and gradient are those of the
whole: of means over its sentences. That is not the mean of its parts' losses, for parts differ in
size, and a floor under a batch's mean KL is not the mean of floors.

Shapes: B sentences of the whole batch, b of a process's share, Z latent dimensions.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from textvae.annealers import KLAnnealer
from textvae.batch import Batch
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
        if self._config.accumulate == 1:
            return self._add_at_once(share, noise)
        assert noise is not None
        return self._add_in_parts(share, noise)

    def _add_at_once(self, share: Share, noise: Tensor | None) -> Pass:
        with autocast(self._accelerator.device, self._precision):
            out = self._parallel(share.batch, noise)
        rec, mu, logvar = self._of_all(out, share)
        terms = self._terms(rec, mu, logvar)
        weighed_kl = self._annealer(terms.kl_objective)
        loss = terms.rec + weighed_kl
        self._backward(loss)
        return Pass(terms, weighed_kl, loss)

    def _of_all(self, own: VAEOutput, share: Share) -> VAEOutput:
        """Outputs of all rows of the batch; the gradient goes to this process's only."""
        if self._processes.world == 1:
            return own
        rows = torch.cat([own.rec[:, None], own.mu, own.logvar], 1)[: share.num_own]
        of_all = self._processes.gather_rows(rows, share.num_sentences)  # (B, 1 + 2Z)
        of_all[self._processes.rank :: self._processes.world] = rows
        return VAEOutput(of_all[:, 0], *of_all[:, 1:].chunk(2, 1))

    def _add_in_parts(self, share: Share, noise: Tensor) -> Pass:
        """The same in micro-batches, with no more than one of them in memory.

        The annealer and the floor have to see the whole batch's KL before the first part's
        backward pass. So posteriors come first, without a graph; the loss' gradient with respect
        to them is what each part then carries back through the encoder. Encoding twice costs
        little beside decoding.
        """
        count = min(self._config.accumulate, share.batch.num_sentences)
        parts = [share.batch.part(number, count) for number in range(count)]
        posteriors = self._posteriors(parts, share).requires_grad_()  # (B, 2Z)
        mu, logvar = posteriors.chunk(2, 1)
        terms = self._terms(mu.new_zeros(share.num_sentences), mu, logvar)
        weighed_kl = self._annealer(terms.kl_objective)
        (slopes,) = torch.autograd.grad(weighed_kl, posteriors)
        slopes = slopes[self._processes.rank :: self._processes.world]  # (b, 2Z)
        recs = mu.new_zeros(share.batch.num_sentences, 1)
        for number, part in enumerate(parts):
            is_last = number == count - 1
            # Gradients are added up over processes once, with the last part.
            with nullcontext() if is_last else self._accelerator.no_sync(self._parallel):
                with autocast(self._accelerator.device, self._precision):
                    out = self._parallel(part, noise[number::count])
                recs[number::count, 0] = out.rec.detach()
                kl = torch.cat([out.mu, out.logvar], 1)[: share.num_own] * slopes[number::count]
                self._backward(out.rec[: share.num_own].sum() / share.num_sentences + kl.sum())
        rec = self._processes.gather_rows(recs[: share.num_own], share.num_sentences).mean()
        return Pass(terms._replace(rec=rec), weighed_kl, rec + weighed_kl)

    @torch.no_grad()
    def _posteriors(self, parts: list[Batch], share: Share) -> Tensor:
        """Means and log-variances of all rows of the batch, (B, 2Z)."""
        rows = torch.empty(
            share.batch.num_sentences, 2 * self._model.latent_dim, device=self._accelerator.device
        )
        for number, part in enumerate(parts):
            with autocast(self._accelerator.device, self._precision):
                rows[number :: len(parts)] = torch.cat(self._model.encode(part), 1)
        return self._processes.gather_rows(rows[: share.num_own], share.num_sentences)

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
