"""Every test runs offline, on one thread, and leaves nothing in anyone's caches."""

from __future__ import annotations

import os
import tempfile

# Before anything imports the libraries that read them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="textvae-tests-")

import shutil
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# A busy machine is no fault of the code.
settings.register_profile("textvae", deadline=None)
settings.load_profile("textvae")


@pytest.fixture(scope="session", autouse=True)
def _surroundings() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)
