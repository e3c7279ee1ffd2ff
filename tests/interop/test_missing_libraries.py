"""Nothing heavy is imported before it is used, and what is missing is named."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest


def test_the_room_itself_imports_nothing() -> None:
    code = (
        "import sys, textvae.interop; "
        "print([m for m in ('torch', 'lightning', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "library", "name"),
    [
        ("textvae.interop.lightning", "lightning.pytorch", "PyTorch Lightning"),
        ("textvae.interop.transformers", "transformers", "transformers"),
    ],
)
def test_a_missing_library_is_named_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, name: str
) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    message = rf'{module} needs {name}: pip install "textvae\[interop\]"'
    with pytest.raises(ImportError, match=message):
        importlib.import_module(module)
