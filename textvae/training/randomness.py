"""`Randomness`: where the noise of z and the masks of dropout come from, saved and resumed.

One process that takes a batch at once draws both from torch's default generator. Where a batch is
cut, over processes or into micro-batches, the noise of z is drawn for the whole batch from a copy
of that generator, the same in all processes: without dropout they draw what one would. Masks then
come from each process's default generator, seeded apart.

Shapes: B sentences of the whole batch, b of a process's share, Z latent dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from textvae.runtime import Processes
from textvae.training.shares import Share

__all__ = ["Randomness"]


class Randomness:
    """The random generators of one training.

    Args:
        device: Where noise is wanted.
        processes: Who trains.
        is_cut: Whether batches are cut, over processes or into micro-batches.
    """

    def __init__(self, device: torch.device, processes: Processes, *, is_cut: bool) -> None:
        self._device = device
        self._processes = processes
        self._noise = torch.Generator(device) if is_cut else None
        self._has_begun = False

    def begin(self, seed: int) -> None:
        """Before the first step: part the masks' generators, if batches are cut.

        Args:
            seed: The run's; each process's masks follow from it and from its rank.
        """
        if self._noise is not None and not self._has_begun:
            self._noise.set_state(_default_state(self._device))
            torch.manual_seed(seed + 1 + self._processes.rank)
        self._has_begun = True

    def noise(self, share: Share, latent_dim: int) -> Tensor | None:
        """Noise of a share's rows, (b, Z); None where the model is to draw it itself."""
        if self._noise is None:
            return None
        shape = (share.num_sentences, latent_dim)
        of_all = torch.randn(shape, generator=self._noise, device=self._device)
        own = of_all[self._processes.rank :: self._processes.world]
        return own if share.num_own else of_all[:1]

    def state_dict(self) -> dict[str, Any]:
        """The generators of all processes, which must all call this."""
        own = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(self._device)
        if self._noise is None:
            return dict(own)
        return {"noise": self._noise.get_state(), "masks": self._processes.gather(own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved generators.

        Raises:
            ValueError: If they are those of another number of processes.
        """
        masks = state.get("masks", [state])
        if len(masks) != self._processes.world:
            raise ValueError(
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


def _default_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()
