"""Sentences that show what a run can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textvae.generation import interpolate, reconstruct, sample
from textvae.recipes.loaded import LoadedRun


@dataclass(frozen=True)
class Examples:
    """Sentences of a run; a language model has samples only.

    Attributes:
        samples: Drawn from the prior.
        reconstructions: Held-out sentences, and each through its posterior mean, greedily decoded.
        interpolation: From the first of these to the last.
    """

    samples: list[str]
    reconstructions: list[tuple[str, str]]
    interpolation: list[str]


def examples_of(
    run: LoadedRun, *, num_samples: int = 5, num_steps: int = 5, seed: int = 0
) -> Examples:
    """Make a run's examples; the same seed gives the same ones."""
    samples = sample(run.model, num_samples, seed=seed)
    if run.model.latent_dim == 0:
        return Examples(samples, [], [])
    texts = readable(run.corpus[run.split]["text"][:])
    return Examples(
        samples,
        list(zip(texts, reconstruct(run.model, texts), strict=True)),
        interpolate(run.model, texts[0], texts[-1], steps=num_steps),
    )


def readable(texts: Sequence[str]) -> list[str]:
    """The first four texts that fit a line and say something, as far as there are."""
    candidates = list(texts[:200])
    fitting = [text for text in candidates if 25 <= len(text) <= 60 and "<unk>" not in text]
    return (fitting + candidates)[:4]
