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
SECONDS = 3.0  # in which the hub answers, or it counts as out of reach
_HUB_ID = re.compile(
    r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.txt)(?<!\.json)(?<!\.jsonl)(?<!\.ndjson)(?<!\.[ct]sv)(?<!\.parquet)(?<!\.gz)"
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; put it in `path`'s place if nothing raised.

    A crash at any moment leaves either the old file or the new one. Where no file can be put, an
    OSError says so at once.
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


def first_line(error: Exception) -> str:
    """The first line of what an error says; its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def require_repository(name: str, kind: Literal["dataset", "model"]) -> None:
    """Return if the hub knows the repository `owner/name` and answers in time; never retries.

    With `HF_HUB_OFFLINE=1` nothing is asked: the caller then works on what was downloaded before.

    Raises:
        FileNotFoundError: If the hub has no such repository, or `name` can only be a mistyped path.
        ConnectionError: If the hub can't be reached within three seconds; says why, in one line.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError

    if not _HUB_ID.fullmatch(name):
        raise FileNotFoundError("it is no hub id, owner/name")
    if Path(owner := name.partition("/")[0]).is_dir():
        raise FileNotFoundError(f"the hub was not asked, as there is a directory {owner!r}")
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
    for fault in faults:
        if isinstance(fault, RepositoryNotFoundError):
            raise FileNotFoundError(f"the hub has no {kind} {name!r}, or it is private")
        raise ConnectionError(f"the hub can't be reached ({first_line(fault)})")


def find_pretrained(name: str | Path) -> Path:
    """The directory of a model's files, a local one or a hub repository's downloaded copy.

    Where there is none, or files are missing in it, a FileNotFoundError says why.
    """
    directory = Path(name)
    if not directory.is_dir():
        from huggingface_hub import hf_hub_download

        try:
            require_repository(str(name), "model")
            paths = [hf_hub_download(str(name), file) for file in MODEL_FILES]
        except OSError as error:
            reason = f"no run directory at {str(name)!r}, and {first_line(error)}"
            raise FileNotFoundError(reason) from None
        directory = Path(paths[0]).parent
    missing = [file for file in MODEL_FILES if not (directory / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{directory} is not a run directory: {', '.join(missing)} not found there"
        )
    return directory
