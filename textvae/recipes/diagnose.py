"""A saved run diagnosed: `diagnose_run`, and several on the same sentences, `diagnose_runs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from textvae.checkpoint import RunDirectory
from textvae.data import BatchLoader, DataError
from textvae.diagnostics import Diagnosis, diagnose
from textvae.hub import find_pretrained
from textvae.recipes.loaders import evaluation_loader, tokenizer_of
from textvae.recipes.measure import Subject, open_run
from textvae.tokenizer import UNK_ID, UNK_TOKEN

__all__ = ["Diagnosed", "diagnose_run", "diagnose_runs"]

MAX_UNKNOWN = 0.5
"""Share of tokens unknown to a model from which a corpus counts as one of another vocabulary."""

MAX_CHECKED = 10_000
"""Sentences looked at to find that share."""


class Diagnosed(NamedTuple):
    """A saved run, diagnosed.

    Attributes:
        subject: Its model, and the sentences it was measured on.
        diagnosis: What was found.
        run: Its directory.
    """

    subject: Subject
    diagnosis: Diagnosis
    run: RunDirectory

    @property
    def name(self) -> str:
        """Name of the run's directory."""
        return self.run.path.resolve().name
