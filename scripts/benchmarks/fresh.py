"""Functions called in processes of their own: `in_fresh_process`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["in_fresh_process"]

CALL = """\
import importlib, json, sys
module, function, *arguments = sys.argv[1:]
found = getattr(importlib.import_module(module), function)(*map(json.loads, arguments))
print(json.dumps(found))
"""


def in_fresh_process(
    module: str, function: str, *arguments: Any, environment: Mapping[str, str]
) -> Any:
    """What a function of a module beside this one returns; all is passed as JSON.

    Its last line of output is the result; what it writes to the error stream is shown.

    Raises:
        RuntimeError: If it fails.
    """
    command = [sys.executable, "-c", CALL, module, function, *map(json.dumps, arguments)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module}.{function} failed with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
