"""Sentences that show what a saved run can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from textvae import generation
from textvae.model import SentenceVAE
from textvae.recipes.loaded import LoadedRun


@dataclass(frozen=True)
class Examples:
    """Sentences that show what a run can do; a language model has samples only."""

    samples: list[str]
    reconstructions: list[tuple[str, str]]  # held-out, and through the posterior mean, greedily
    interpolation: list[str]  # from the first of these to the last


def examples_of(run: LoadedRun, *, num_samples: int = 5, num_steps: int = 5) -> Examples:
    """Make a run's examples, always the same ones.

    Of the ways between any two of the reconstructed sentences, the one with most to say is taken.
    """
    samples = generation.sample(run.model, num_samples)
    if run.model.latent_dim == 0:
        return Examples(samples, [], [])
    texts, path = lively_path(run.model, readable(run.corpus[run.split]["text"][:]), num_steps)
    back = generation.reconstruct(run.model, texts)
    return Examples(samples, [*zip(texts, back, strict=True)], path)


def lively_path(
    model: SentenceVAE, texts: Sequence[str], num_steps: int = 5
) -> tuple[list[str], list[str]]:
    """Texts, the first and last of which have most between them, and the sentences on that way."""
    pairs = [*combinations(texts, 2)] or [(texts[0], texts[0])]
    codes = torch.cat([generation.path_codes(model, *ends, steps=num_steps) for ends in pairs])
    labels = generation.likeliest_labels(model, [first for first, _ in pairs])
    labels = labels.repeat_interleave(num_steps, 0)
    written = generation.generate_text(model, codes, labels=labels)
    paths = [written[at : at + num_steps] for at in range(0, len(written), num_steps)]
    path = max(paths, key=lambda path: len({*path}))
    first, last = pairs[paths.index(path)]
    rest = (text for text in texts if text not in (first, last))
    return [first, *rest, last][-len(texts) :], path


def readable(texts: Sequence[str]) -> list[str]:
    """The first four texts that fit a line and say something, as far as there are."""
    candidates = list(texts[:200])
    fitting = [text for text in candidates if 25 <= len(text) <= 60 and "<unk>" not in text]
    return [*dict.fromkeys(fitting + candidates)][:4]
