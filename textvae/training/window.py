"""`Window`: running sums between two log lines, kept on the device and read back only then."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from textvae.diagnostics import GradientNorms
from textvae.losses import ELBOTerms
from textvae.training.shares import Share

__all__ = ["Means", "Window"]


class Means(NamedTuple):
    """A window read back.

    Attributes:
        rec: Reconstruction, mean over sentences, nats.
        kl: Raw KL, mean over sentences, nats.
        gradient_norm: Norm before clipping, mean over steps.
        encoder_gradient_norm: The same of the encoder and the posterior heads alone.
        decoder_gradient_norm: The same of the decoder alone.
        num_tokens: Predicted tokens in the window.
    """

    rec: float
    kl: float
    gradient_norm: float
    encoder_gradient_norm: float
    decoder_gradient_norm: float
    num_tokens: int


class Window:
    """Sums of what is worth logging, and the first step whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._bad_step = torch.zeros((), dtype=torch.int64, device=device)
        self._reset()

    def add(
        self, step: int, share: Share, loss: Tensor, terms: ELBOTerms, norms: GradientNorms
    ) -> None:
        """Add training step number `step` (from 1), whose terms are those of the whole batch."""
        self._steps += 1
        self._sentences += share.num_sentences
        self._rec += terms.rec.detach() * share.num_sentences
        self._kl += terms.kl.detach() * share.num_sentences
        self._gradient_norms += torch.stack(norms)
        self._tokens += share.num_tokens
        is_finite = torch.isfinite(loss.detach()) & torch.isfinite(norms.total)
        is_first = ~is_finite & (self._bad_step == 0)
        self._bad_step = torch.where(is_first, step, self._bad_step)

    def read(self) -> Means:
        """Means over the steps since the last reading; begins a new window."""
        total, encoder, decoder = (self._gradient_norms / self._steps).tolist()
        means = Means(
            float(self._rec) / self._sentences,
            float(self._kl) / self._sentences,
            total,
            encoder,
            decoder,
            int(self._tokens),
        )
        self._reset()
        return means

    @property
    def first_bad_step(self) -> int | None:
        """The first step whose loss or gradient was not finite, if any."""
        return int(self._bad_step) or None

    def state_dict(self) -> dict[str, Any]:
        """The sums, so that a resumed run logs the same lines."""
        return {"counts": [self._steps, self._sentences], "sums": self._sums()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from saved sums."""
        self._steps, self._sentences = state["counts"]
        for mine, saved in zip(self._sums(), state["sums"], strict=True):
            mine.copy_(saved)

    def _sums(self) -> list[Tensor]:
        return [self._rec, self._kl, self._gradient_norms, self._tokens]

    def _reset(self) -> None:
        self._steps = self._sentences = 0
        self._rec, self._kl = (torch.zeros((), device=self._device) for _ in range(2))
        self._gradient_norms = torch.zeros(3, device=self._device)
        self._tokens = torch.zeros((), dtype=torch.int64, device=self._device)
