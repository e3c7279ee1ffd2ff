"""What a person reads: tables and bars for the terminal, pictures, pages.

Everything here returns text or writes the file it is given, and no model is run. The names are
loaded when first used, so that a picture of a schedule needs no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "check_page": "page",
    "closing": "text",
    "comparison_text": "text",
    "diagnosis_text": "text",
    "evaluation": "text",
    "examples_text": "text",
    "kl_bars": "tables",
    "run_heading": "text",
    "table": "tables",
    "write_comparison": "page",
    "write_page": "page",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"textvae.report.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'textvae.report' has no attribute {name!r}")
