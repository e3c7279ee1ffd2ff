"""Rooms and layers: who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import textvae

PACKAGE = Path(textvae.__file__).parent

LAYERS = {
    "annealers": 0,
    "grammar": 0,
    "config": 0,
    "files": 0,
    "hub": 0,
    "processes": 0,
    "cpu": 1,
    "precision": 1,
    "batch": 1,
    "tokenizer": 1,
    "quality": 1,
    "losses": 2,
    "data": 3,
    "model": 3,
    "interop": 3,
    "diagnostics": 4,
    "generation": 4,
    "checkpoint": 4,
    "training": 5,
    "recipes": 6,
    "report": 7,
    "explore": 8,
    "cli": 9,
}
"""A room imports rooms of lower layers only. A new one is entered here, and in the README."""

MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def imports(source: str) -> list[tuple[str, str]]:
    """Every import in a source, wherever it stands, as (module, name); name is "" for `import m`.

    A relative import has the module ".".
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." if node.level else str(node.module)
            found += [(module, alias.name) for alias in node.names]
    return found


def faults(room: str, source: str) -> list[str]:
    """What is wrong with the imports of a module of a room."""
    found = []
    for module, name in imports(source):
        top, *below = module.split(".")
        if module == ".":
            found.append(f"relative import of {name}")
        elif top == "textvae":
            target = below[0] if below else name
            if (room, module, name) == ("cli", "textvae", "__version__") or target == room:
                continue
            if target not in LAYERS:
                found.append(f"import of {name or module} from the package root")
            elif LAYERS[target] >= LAYERS[room]:
                found.append(f"{room} (layer {LAYERS[room]}) imports {target} ({LAYERS[target]})")
    return found


def test_every_room_has_a_layer_and_every_layer_its_rooms() -> None:
    assert {room_of(module) for module in MODULES} - {"__init__"} == set(LAYERS)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_lower_layers(module: Path) -> None:
    room = room_of(module)
    source = (PACKAGE / module).read_text(encoding="utf-8")
    if room == "__init__":
        assert [name for name, _ in imports(source) if name.startswith((".", "textvae"))] == []
    else:
        assert faults(room, source) == []


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if LAYERS.get(room_of(m)) == 0 or str(m) == "__init__.py"],
    ids=str,
)
def test_layer_0_needs_the_standard_library_only(module: Path) -> None:
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    top = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    foreign = {name.split(".")[0] for name, _ in imports(ast.unparse(top))}
    assert foreign - set(sys.stdlib_module_names) <= {"textvae"}


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("data", "from . import batches", "relative import of batches"),
        ("data", "from .corpus import Corpus", "relative import of Corpus"),
        ("quality", "from textvae.batch import Batch", "quality (layer 1) imports batch (1)"),
        ("losses", "import textvae.model.decoder", "losses (layer 2) imports model (3)"),
        ("model", "def f():\n    from textvae import cli", "model (layer 3) imports cli (9)"),
        ("model", "from textvae import SentenceVAE", "import of SentenceVAE from the package root"),
        ("model", "import textvae", "import of textvae from the package root"),
        ("report", "from textvae import __version__", "import of __version__ from the package"),
        ("model", "from textvae.plots import draw", "import of draw from the package root"),
    ],
)
def test_what_this_test_finds(room: str, source: str, fault: str) -> None:
    assert faults(room, source)[0].startswith(fault)


def test_what_this_test_allows() -> None:
    assert faults("cli", "from textvae import __version__, recipes") == []
    assert (
        faults("data", "from textvae.data.corpus import Corpus\nfrom textvae import grammar") == []
    )


HEAVY = ("torch", "numpy", "datasets", "tokenizers", "accelerate", "safetensors", "huggingface_hub")


@pytest.mark.parametrize(
    "code",
    [
        "import textvae; from textvae import annealers, grammar, config, files, hub, processes",
        "from textvae import cli\n"
        "for arguments in (['--help'], ['train', '--help'], ['sample', '--help']):\n"
        "    try: cli.main(arguments)\n"
        "    except SystemExit as stop: assert stop.code == 0",
    ],
    ids=["layer 0", "help"],
)
def test_no_heavy_library_is_loaded(code: str) -> None:
    code += f"\nimport sys; print('loaded:', *(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
