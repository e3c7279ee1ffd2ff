"""Tests of what is installed: a wheel holds all that the package needs, and works by itself."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

import textvae

ROOT = Path(__file__).parents[1]


def done(*command: str | Path, cwd: Path) -> str:
    """What a program prints; it must end well, and is not led to this checkout."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=cwd, env=surroundings, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "textvae.__version__"
    assert f"## {textvae.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "version:" not in (ROOT / "CITATION.cff").read_text().replace("cff-version:", "")


@pytest.mark.slow
def test_a_wheel_works_outside_the_checkout(tmp_path):
    source = tmp_path / "source"  # what is built there leaves nothing here
    shutil.copytree(ROOT / "textvae", source / "textvae", ignore=shutil.ignore_patterns("__pyc*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    offline = ("--no-index", "--no-deps", "--disable-pip-version-check", "-q")
    pip = (sys.executable, "-m", "pip")
    done(*pip, "wheel", *offline, "--no-build-isolation", "-w", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob(f"textvae-{textvae.__version__}-*.whl")
    held = {name for name in ZipFile(wheel).namelist() if not name.startswith("textvae-")}
    there = {str(path.relative_to(source)) for path in (source / "textvae").rglob("*.*")}
    assert held == {name for name in there if Path(source, name).is_file()}

    home = tmp_path / "home"
    venv.create(home)
    python = home / "bin" / "python"
    done(*pip, "--python", python, "install", *offline, wheel, cwd=tmp_path)
    packages = sysconfig.get_path("purelib", vars={"base": str(home)})
    Path(packages, "all_else.pth").write_text(sysconfig.get_path("purelib"))

    command = home / "bin" / "textvae"
    where = done(python, "-c", "import textvae; print(textvae.__file__)", cwd=tmp_path)
    assert where.startswith(packages)
    assert "verdict: healthy" in done(command, "demo", cwd=tmp_path)
    few = ("--max-steps=3", "--latent-dim=4", "--autoencoder-epochs=0", "--output-dir=run")
    assert "verdict: " in done(command, "train", "grammar", *few, cwd=tmp_path)
    done(command, "diagnose", "run", "--num-samples=1", "--report=page.html", cwd=tmp_path)
    done(command, "schedules", "--plot=schedules.png", cwd=tmp_path)
    for name in ("page.html", "schedules.png"):
        assert (tmp_path / name).stat().st_size > 10_000
