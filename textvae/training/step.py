"""One update of a model, whose order stands in `Stepper.update`.

Several processes compute one batch together: each takes a part of its rows, all see the terms of
the whole. Value and gradient are those of the whole: of means over its sentences. That is not the
mean of its parts' losses, for parts differ in size, and a floor under a batch's mean KL is not the
mean of floors.

Shapes: B sentences of the whole batch, b of a process's part, Z latent dimensions, K terms, S
codes of a sentence.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

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
from textvae.losses import StepTerms, objective, split_gradient
from textvae.model import SentenceVAE, VAEOutput
from textvae.runtime import Processes, autocast, resolve_precision, sum_of_all
from textvae.training.schedule import KLWeight, Stateful


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
    def of(cls, loader: BatchLoader, rows: NDArray[np.int32], processes: Processes) -> Self:
        """This process's rows of the batch of the sentences at these positions."""
        # Cut before they are read: reading all rows in every process can take longer than a step.
        own = rows[processes.rank :: processes.world]
        batch = loader.batch(own if len(own) else rows[:1])
        return cls(batch, len(own), len(rows), int(loader.split.lengths[rows].sum()))


class RunningMeans(Stateful):
    """Weighted means by name between two log lines, kept on the device and read back only then."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, values: Mapping[str, Tensor], weight: int = 1) -> None:
        """Add scalars, each counted `weight` times."""
        for name, value in values.items():
            total, weights = self.sums.get(name, (0.0, 0))
            self.sums[name] = total + value.detach() * weight, weights + weight

    def read(self) -> dict[str, float]:
        """The means since the last reading; begins anew."""
        means = {name: float(total) / weights for name, (total, weights) in self.sums.items()}
        self.sums = {}
        return means


class Stepper:
    """Updates a model, batch by batch; the annealer is called here and stepped by the trainer.

    One process draws the noise of z and the masks of dropout from torch's default generator. Of
    several, each draws the noise of the whole batch from a copy of that generator, the same in all,
    so that without dropout they draw what one would; masks come from their own, seeded apart.
    """

    def __init__(
        self, model: SentenceVAE, weight: KLWeight, config: TrainingConfig, processes: Processes
    ) -> None:
        self._model, self._weight, self._config = model, weight, config
        for name, weights in model.named_parameters(remove_duplicate=False):
            if config.freezes(name):
                weights.requires_grad_(False)
        # Its own mixed precision is off, whatever `accelerate launch` was told: ours is below.
        accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision="no")
        self._processes, self._device = processes, accelerator.device
        self._parallel = accelerator.prepare_model(model)  # which it moves to the device
        self._noise: torch.Generator | None = None  # of several processes
        self._num_codes = config.importance_samples if model.latent_dim > 0 else 1  # of a sentence
        self.precision = resolve_precision(config.precision, self._device)
        self.restart(config.lr)

    def restart(self, lr: float) -> None:
        """Forget moments and momentum: begin with a new optimizer at some learning rate."""
        config = self._config
        # One fused kernel over all parameters: ten times faster than the default on a CPU.
        fused = self._device.type in ("cpu", "cuda")
        options: dict[str, Any] = {"lr": lr, "weight_decay": config.weight_decay, "fused": fused}
        if config.optimizer == "sgd":
            options["momentum"] = config.momentum
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        trained = [weights for weights in self._model.parameters() if weights.requires_grad]
        self.optimizer = kinds[config.optimizer](trained, **options)

    @property
    def lr(self) -> float:
        """The learning rate in force."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(
        self, local: LocalBatch, only: Literal["encoder", "decoder"] | None = None
    ) -> tuple[StepTerms, GradientNorms]:
        """Update the model, or `only` one part of it and of the optimizer's state, by a batch.

        NotFiniteError if loss or gradient is not finite; nothing was updated then.
        """
        # Forward.
        with autocast(self._device, self.precision):
            out = self._parallel(local.batch.to(self._device), self._noise_of(local))
        if self._num_codes > 1:
            split_gradient(out.terms["rec"], out.z, self._config.encoder_follows)
        # Objective, of the whole batch.
        terms = objective(
            *self._of_all(out, local),
            self._weight,
            weights=self._model.term_weights,
            free_bits=self._config.free_bits,
            free_bits_kind=self._config.free_bits_kind,
            encoder_follows=self._config.encoder_follows,
        )
        # Backward.
        terms.loss.backward()  # type: ignore[no-untyped-call]
        if only is not None:
            for name, parameter in self._model.named_parameters():
                if name.startswith(("encoder.", "head.")) != (only == "encoder"):
                    parameter.grad = None
        # Clip.
        norms = gradient_norms(self._model)
        clip_grads_with_norm_(self._model.parameters(), self._config.clip_norm, norms.total)
        # Check.
        if not math.isfinite(terms.loss.detach() + norms.total):
            self.optimizer.zero_grad()
            raise NotFiniteError
        # Step.
        self.optimizer.step()
        self.optimizer.zero_grad()
        return terms, norms

    def _of_all(self, own: VAEOutput, local: LocalBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Terms and KL of all rows of the batch."""
        kl = own.posterior.kl()
        if self._processes.world == 1:
            return own.terms, kl
        columns = [values.reshape(-1, len(kl)).T for values in own.terms.values()]  # (b, 1 or S)
        widths = [column.shape[1] for column in columns]
        rows = torch.cat([*columns, kl], 1)[: local.num_own]  # (b, K + Z)
        of_all = rows.new_zeros(local.num_sentences, rows.shape[1])  # (B, K + Z)
        of_all[self._processes.rank :: self._processes.world] = rows
        # Its gradient is summed too. The parameters', of which processes take the mean, is right.
        *terms, kl = torch.split(sum_of_all(of_all), [*widths, kl.shape[1]], 1)
        return {name: term.T for name, term in zip(own.terms, terms, strict=True)}, kl

    def _noise_of(self, local: LocalBatch) -> Tensor | None:
        """Noise of this process's rows, (b, Z) or (S, b, Z); None where the model is to draw it."""
        rank, world, device = self._processes.rank, self._processes.world, self._device
        if world == 1 and self._num_codes == 1:
            return None
        if world > 1 and self._noise is None:
            # The first step: from here on the default generators differ.
            self._noise = torch.Generator(device)
            self._noise.set_state(self._generators()[device.type])
            torch.manual_seed(self._config.seed + 1 + rank)
        shape = [self._num_codes, local.num_sentences, self._model.latent_dim]
        of_all = torch.randn(shape[self._num_codes == 1 :], generator=self._noise, device=device)
        return of_all[..., rank::world, :] if local.num_own else of_all[..., :1, :]

    def _generators(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def state_dict(self) -> dict[str, Any]:
        """Optimizer, and the generators of all processes, which must all call this."""
        noise = None if self._noise is None else self._noise.get_state()
        masks = self._processes.gather(self._generators())
        return {"optimizer": self.optimizer.state_dict(), "noise": noise, "masks": masks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; an InputError if of another number of processes."""
        masks, world = state["masks"], self._processes.world
        if len(masks) != world:
            raise InputError(
                f"the run was trained in {len(masks)} processes and goes on to the same result in "
                f"as many only, got {world}"
            )
        self.optimizer.load_state_dict(state["optimizer"])
        own = masks[self._processes.rank]
        torch.set_rng_state(own["cpu"])
        if "cuda" in own:
            torch.cuda.set_rng_state(own["cuda"], self._device)
        if state["noise"] is not None:
            self._noise = torch.Generator(self._device)
            self._noise.set_state(state["noise"])
