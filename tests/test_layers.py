"""Rooms and layers: who may import whom, and what importing costs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import textvae

PACKAGE = Path(textvae.__file__).parent

ROOMS = (
    "checks",
    "annealers",
    "grammar",
    "config",
    "files",
    "hub",
    "runtime",
    "tokenizer",
    "corpus",
    "batches",
    "losses",
    "model",
    "run",
    "interop",
    "quality",
    "diagnostics",
    "generation",
    "training",
    "recipes",
    "report",
    "explore",
    "cli",
    "__main__",
)
"""A room imports only rooms that stand above it here; docs/design.md tells what lives in each."""

LIGHT = ROOMS[: ROOMS.index("tokenizer")]
"""Rooms that load the standard library only, so that help and annealers cost no torch."""

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
            if target not in ROOMS:
                found.append(f"import of {name or module} from the package root")
            elif ROOMS.index(target) >= ROOMS.index(room):
                found.append(f"{room} imports {target}, which is below it")
    return found


def test_every_room_has_its_place():
    assert {room_of(module) for module in MODULES} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_rooms_above_it(module):
    room = room_of(module)
    source = (PACKAGE / module).read_text(encoding="utf-8")
    if room == "__init__":
        assert [name for name, _ in imports(source) if name.startswith((".", "textvae"))] == []
    else:
        assert faults(room, source) == []


LIGHT_MODULES = [m for m in MODULES if room_of(m) in LIGHT or str(m) == "__init__.py"]


@pytest.mark.parametrize("module", LIGHT_MODULES, ids=str)
def test_light_rooms_need_the_standard_library_only(module):
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    top = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    foreign = {name.split(".")[0] for name, _ in imports(ast.unparse(top))}
    assert foreign - set(sys.stdlib_module_names) <= {"textvae"}


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("corpus", "from . import batches", "relative import of batches"),
        ("losses", "import textvae.model.decoder", "losses imports model, which is below it"),
        ("model", "def f():\n    from textvae import cli", "model imports cli, which is below it"),
        ("model", "import textvae", "import of textvae from the package root"),
        ("report", "from textvae import __version__", "import of __version__ from the package"),
    ],
)
def test_what_this_test_finds(room, source, fault):
    assert faults(room, source)[0].startswith(fault)


def test_what_this_test_allows():
    assert faults("cli", "from textvae import __version__, recipes") == []
    source = "from textvae.corpus import load_corpus\nfrom textvae import grammar, files"
    assert faults("corpus", source) == []


HEAVY = ("torch", "numpy", "datasets", "tokenizers", "accelerate", "safetensors", "huggingface_hub")
HEAVY += ("lightning", "transformers")


@pytest.mark.parametrize(
    "code",
    [
        f"import textvae; from textvae import interop, {', '.join(LIGHT)}",
        "from textvae import cli\n"
        "for arguments in (['--help'], ['train', '--help'], ['sample', '--help']):\n"
        "    try: cli.main(arguments)\n"
        "    except SystemExit as stop: assert stop.code == 0",
    ],
    ids=["light", "help"],
)
def test_no_heavy_library_is_loaded(code):
    code += f"\nimport sys; print('loaded:', *(m for m in {HEAVY} if m in sys.modules))"
    command = [sys.executable, "-W", "error", "-c", code]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "loaded:"


def test_no_function_is_longer_than_sixty_lines():
    long = [
        f"{module}: {node.name}"
        for module in MODULES
        for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []
