"""One update of a model, whose order stands in `Stepper.update`.

Several processes compute one batch together: each takes a part of its rows, all see the terms of
the whole. Value and gradient are those of the whole: of means over its sentences. That is not the
mean of its parts' losses, for parts differ in size, and a floor under a batch's mean KL is not the
mean of floors.

Shapes: B sentences of the whole batch, b of a process's part, Z latent dimensions, K terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from textvae.batches import Batch, BatchLoader
from textvae.checks import InputError
from textvae.config import TrainingConfig
from textvae.diagnostics import GradientNorms, gradient_norms
from textvae.losses import StepTerms, objective
from textvae.model import SentenceVAE, VAEOutput
from textvae.runtime import Processes, autocast
from textvae.training.schedule import KLWeight, configured_optimizer

Part = Literal["encoder", "decoder"]


class NotFiniteError(ArithmeticError):
    """A loss or gradient is not finite; the model is as it was before the step."""


class LocalBatch(NamedTuple):
    """One process's rows of a batch: process r of W takes every W-th from number r on.

    Where none are left for it, the batch's first is a stand-in: all take part in every step.
    """

    batch: Batch
    num_own: int  # rows that count: all, or 0 of a stand-in
    num_sentences: int  # of the whole batch, B
    num_tokens: int  # predicted, of the whole batch

    @classmethod
    def of(cls, loader: BatchLoader, rows: NDArray[np.int32], processes: Processes) -> LocalBatch:
        """This process's rows of the batch of the sentences at these positions."""
        # Cut before they are read: reading all rows in every process can take longer than a step.
        own = rows[processes.rank :: processes.world]
        return cls(
            loader.batch(own if len(own) else rows[:1]),
            len(own),
            len(rows),
            int(loader.split.lengths[rows].sum()),
        )


def local_batches(
    loader: BatchLoader, epoch: int, start: int, processes: Processes
) -> Iterator[LocalBatch]:
    """This process's rows of each batch of an epoch, from number `start` on."""
    for rows in loader.plan(epoch)[start:]:
        yield LocalBatch.of(loader, rows, processes)


def part_of(parameter: str) -> Part:
    """The part of a model that a parameter of this name belongs to."""
    return "encoder" if parameter.startswith(("encoder.", "head.")) else "decoder"


class Randomness:
    """Where the noise of z and the masks of dropout come from, saved and resumed.

    One process draws both from torch's default generator. Of several, each draws the noise of the
    whole batch from a copy of that generator, the same in all, so that without dropout they draw
    what one would; masks come from each one's default generator, seeded apart.
    """

    def __init__(self, device: torch.device, processes: Processes) -> None:
        self._device, self._processes = device, processes
        self._noise = torch.Generator(device) if processes.world > 1 else None
        self._has_begun = False

    def begin(self, seed: int) -> None:
        """Before the first step: part the processes' generators."""
        if self._noise is not None and not self._has_begun:
            on_cuda = self._device.type == "cuda"
            self._noise.set_state(
                torch.cuda.get_rng_state(self._device) if on_cuda else torch.get_rng_state()
            )
            torch.manual_seed(seed + 1 + self._processes.rank)
        self._has_begun = True

    def noise(self, local: LocalBatch, latent_dim: int) -> Tensor | None:
        """Noise of a process's rows, (b, Z); None where the model is to draw it itself."""
        if self._noise is None:
            return None
        shape = (local.num_sentences, latent_dim)
        of_all = torch.randn(shape, generator=self._noise, device=self._device)
        own = of_all[self._processes.rank :: self._processes.world]
        return own if local.num_own else of_all[:1]

    def state_dict(self) -> dict[str, Any]:
        """The generators of all processes, which must all call this."""
        own = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(self._device)
        noise = None if self._noise is None else self._noise.get_state()
        return {"noise": noise, "masks": self._processes.gather(own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved generators; an InputError if of another number of processes."""
        masks = state["masks"]
        if len(masks) != self._processes.world:
            raise InputError(
                f"the run was trained in {len(masks)} processes and goes on to the same result in "
                f"as many only, got {self._processes.world}"
            )
        own = masks[self._processes.rank]
        torch.set_rng_state(own["cpu"])
        if "cuda" in own:
            torch.cuda.set_rng_state(own["cuda"], self._device)
        if self._noise is not None:
            self._noise.set_state(state["noise"])
        self._has_begun = True


class Update(NamedTuple):
    """What one update was made of."""

    terms: StepTerms
    norms: GradientNorms


class Stepper:
    """Updates a model, batch by batch; the annealer is called here and stepped by the trainer."""

    def __init__(
        self,
        model: SentenceVAE,
        weight: KLWeight,
        config: TrainingConfig,
        accelerator: Accelerator,
        *,
        processes: Processes,
        precision: torch.dtype,
    ) -> None:
        self._model, self._weight, self._config = model, weight, config
        self._accelerator, self._processes = accelerator, processes
        self._precision = precision
        self._parallel = accelerator.prepare_model(model)
        self.randomness = Randomness(accelerator.device, processes)
        self.restart(config.lr)

    def restart(self, lr: float) -> None:
        """Forget moments and momentum: begin with a new optimizer at some learning rate."""
        device = self._accelerator.device
        self.optimizer = configured_optimizer(self._config, self._model, device, lr)

    @property
    def lr(self) -> float:
        """The learning rate in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, local: LocalBatch, only: Part | None = None) -> Update:
        """Update the model, or one part of it, by the gradient of a batch.

        Args:
            local: This process's rows of the batch.
            only: Leave the other part alone, the optimizer's state of it too.

        Raises:
            NotFiniteError: If loss or gradient is not finite; nothing was updated.
        """
        noise = self.randomness.noise(local, self._model.latent_dim)
        device, config, world = self._accelerator.device, self._config, self._processes.world

        # Forward.
        with autocast(device, self._precision):
            out = self._parallel(local.batch.to(device), noise)
        # Objective, of the whole batch.
        terms = objective(
            *self._of_all(out, local),
            self._weight,
            weights=self._model.term_weights,
            free_bits=config.free_bits,
            free_bits_kind=config.free_bits_kind,
        )
        # Backward. Processes' gradients are averaged; what is wanted is their sum.
        self._accelerator.backward(terms.loss * world if world > 1 else terms.loss)
        if only is not None:
            self._drop_gradients(keep=only)
        # Clip.
        norms = gradient_norms(self._model)
        clip_grads_with_norm_(self._model.parameters(), config.clip_norm, norms.total)
        # Check.
        if not math.isfinite(terms.loss.detach() + norms.total):
            self.optimizer.zero_grad()
            raise NotFiniteError
        # Step.
        self.optimizer.step()
        self.optimizer.zero_grad()
        return Update(terms, norms)

    def _of_all(self, own: VAEOutput, local: LocalBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Terms and KL of all rows of the batch; the gradient goes to this process's only."""
        kl = own.posterior.kl()
        if self._processes.world == 1:
            return own.terms, kl
        columns = [values[:, None] for values in own.terms.values()]
        rows = torch.cat([*columns, kl], 1)[: local.num_own]  # (b, K + Z)
        of_all = self._processes.gather_rows(rows, local.num_sentences)  # (B, K + Z)
        of_all[self._processes.rank :: self._processes.world] = rows
        names = list(own.terms)
        return dict(zip(names, of_all.T, strict=False)), of_all[:, len(names) :]

    def _drop_gradients(self, *, keep: Part) -> None:
        for name, parameter in self._model.named_parameters():
            if part_of(name) != keep:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with a saved optimizer."""
        self.optimizer.load_state_dict(state)
