"""Files that are whole or not there at all, and saved models by directory or hub id."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from textvae.checks import InputError

MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors")

SECONDS = 3.0
"""How long the hub may take to answer before it counts as out of reach."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; put it in `path`'s place if nothing raised.

    A crash at any moment leaves either the old file or the new one.

    Raises:
        OSError: At once where no file can be put: at a directory, or in one that does not exist.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a file to write to, it is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no directory {path.parent} to write {path.name} to")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; what is none is an `InputError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def require_repository(name: str, kind: Literal["dataset", "model"]) -> None:
    """Return if the hub knows the repository `owner/name` and answers in time; never retries.

    With `HF_HUB_OFFLINE=1` nothing is asked: the caller then works on what was downloaded before.

    Raises:
        FileNotFoundError: If the hub has no such repository, or does not show it to us.
        ConnectionError: If the hub can't be reached within three seconds; says why, in one line.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError

    if constants.is_offline_mode():
        return
    faults: list[Exception] = []

    def ask() -> None:
        try:
            HfApi().repo_info(name, repo_type=kind, timeout=SECONDS)
        except Exception as fault:
            faults.append(fault)

    # A thread, because looking up the host's name obeys no time-out.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS + 0.5)
    if asking.is_alive():
        raise ConnectionError(f"the hub did not answer within {SECONDS:g} seconds")
    if faults and isinstance(faults[0], RepositoryNotFoundError):
        raise FileNotFoundError(f"the hub has no {kind} {name!r}, or it is private")
    if faults:
        reason = (str(faults[0]).strip().splitlines() or [type(faults[0]).__name__])[0]
        raise ConnectionError(f"the hub can't be reached ({reason})")


def find_pretrained(name: str | Path) -> Path:
    """The directory that holds a model's files: a local one, or a hub repository's downloaded copy.

    Raises:
        FileNotFoundError: If there is no such directory and it can't be a hub id or can't be
            fetched, or if a file is missing in it.
    """
    directory = Path(name)
    if not directory.is_dir():
        directory = _download(str(name))
    missing = [file for file in MODEL_FILES if not (directory / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{directory} is not a run directory: {', '.join(missing)} not found there"
        )
    return directory


def _download(name: str) -> Path:
    # A mistyped local path must not cost a look-up: only the exact form `owner/name`, with no such
    # owner beside us on disk, can be a hub id.
    owner, _, _ = name.partition("/")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) or Path(owner).is_dir():
        raise FileNotFoundError(f"no run directory at {name!r}")
    from huggingface_hub import hf_hub_download

    try:
        require_repository(name, "model")
        paths = [hf_hub_download(name, file) for file in MODEL_FILES]
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(f"no run directory at {name!r}, and {reason}") from None
    return Path(paths[0]).parent
