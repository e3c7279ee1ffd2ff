"""Files that are whole or not there at all, and saved models by directory or hub id."""

import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from textvae.checks import InputError

MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors")
RUN_FILES = (*MODEL_FILES, "training_state.safetensors", "metrics.jsonl", "results.json")
DEMO = Path(__file__).with_name("demo")  # the trained model that ships with the package
FORMAT = 1  # of `config.json`; counted up when older versions would misread it
UNSEALED = "0" * 64  # under "sha256" in a safetensors file's metadata, until `seal`
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SECONDS = 3.0  # in which the hub answers, or it counts as out of reach
HUB_ID = re.compile(
    r"[\w-][\w.-]*/[\w-][\w.-]*(?<!\.txt)(?<!\.json)(?<!\.jsonl)(?<!\.ndjson)(?<!\.[ct]sv)(?<!\.parquet)(?<!\.gz)"
)
_SEAL = re.compile(rb'"sha256":"([^"]{64})"')
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_LEFT_OVER = re.compile(r"\..+\.\d+\.tmp|\.tmp\w{6}")  # ours, and those of safetensors


def output_file(path: str | Path, *kinds: str) -> Path:
    """The path of a file that a user wants written, which ends in one of these kinds.

    Raises:
        InputError: If it ends otherwise, or is one of a run's own files.
        OSError: If it is a directory, or in none.
    """
    path = Path(path)
    end = _end(path)
    if path.suffix.lower() not in kinds:
        raise InputError(f"the file's name must end in one of {', '.join(kinds)}, got '{path}'")
    if end.name in RUN_FILES and (end.parent / "config.json").exists():
        raise InputError(f"{path} is a file of the run in {end.parent}: choose another name")
    return path


def _end(path: Path) -> Path:
    """Where links lead to; an OSError if no file can be there."""
    end = Path(os.path.realpath(path))
    if end.is_dir():
        raise IsADirectoryError(f"{path} must be a file to write to, it is a directory")
    if not end.parent.is_dir():
        raise FileNotFoundError(f"no directory {path.parent} to write {path.name} to")
    return end


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; put it in `path`'s place if nothing raised.

    A crash at any moment leaves either the old file or the new one. Where no file can be put, an
    OSError says so at once. A link stays, a device or a pipe is written to, not replaced.
    """
    end = _end(path)
    if end.exists() and not end.is_file():
        yield end
        return
    temporary = end.with_name(f".{end.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the user's umask has it, which safetensors ignores
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(end)
    except Exception as error:
        # safetensors tells of a full disk in an error of its own.
        told = _OS_ERROR.search(str(error))
        number = int(told[1]) if told else getattr(error, "errno", None)
        if number in DISK_FULL:
            raise OSError(number, os.strerror(number), str(path)) from None
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def left_over(directory: Path) -> list[Path]:
    """Temporary files of a process that was killed while it wrote."""
    return [path for path in directory.iterdir() if _LEFT_OVER.fullmatch(path.name)]


def seal(path: Path, beside: bytes = b"") -> None:
    """Write the digest of a safetensors file into its metadata, where `UNSEALED` stands.

    It is also one of what stands `beside` the file, and says how that is used.
    """
    found, digest = _digest(path, beside)
    assert found is not None
    with path.open("rb+") as file:
        file.seek(8 + found.start(1))
        file.write(digest.encode())


def check_seal(path: Path, beside: bytes = b"") -> None:
    """Refuse a safetensors file that is not as it was sealed; one without a seal passes."""
    found, digest = _digest(path, beside)
    if found is not None and found[1] != digest.encode():
        edited = ", or config.json or tokenizer.json beside it was changed" if beside else ""
        raise InputError(f"{path} is damaged{edited}: its sha256 is not the one that it was given")


def _digest(path: Path, beside: bytes) -> tuple[re.Match[bytes] | None, str]:
    """Where the seal stands in the header, and the SHA-256 of all but the seal."""
    with path.open("rb") as file:
        length = file.read(8)  # of the header; nonsense in a damaged file
        header = file.read(min(int.from_bytes(length, "little"), path.stat().st_size))
        found = _SEAL.search(header)
        if found is not None:
            header = header[: found.start(1)] + UNSEALED.encode() + header[found.end(1) :]
        digest = hashlib.sha256(beside + length + header)
        hashlib.file_digest(file, lambda: digest)
    return found, digest.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; what is none is an `InputError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def read_config(directory: str | Path, section: str) -> dict[str, Any]:
    """All of a `config.json`; an InputError if it lacks this section or is of a newer format."""
    path = Path(directory) / "config.json"
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get(section), dict):
        wrote = ": no training run wrote it" if section == "run" else ""
        raise InputError(f"{path} has no section '{section}'{wrote}")
    if content.get("format", FORMAT) not in range(FORMAT + 1):
        newer = f"is of format {content['format']!r}, and this version reads up to {FORMAT}"
        raise InputError(f"{path} {newer}: update it with pip install -U textvae")
    return content


def update_config(directory: Path, **sections: Any) -> None:
    """Write sections of a `config.json`, and keep the others."""
    path = directory / "config.json"
    content = read_json(path) if path.exists() else {}
    write_json(path, {**content, "format": FORMAT, **sections})


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

    if not HUB_ID.fullmatch(name):
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
    """The directory of a model's files: a local one, a hub repository's copy, or that of "demo".

    Where there is none, or files are missing in it, a FileNotFoundError says why.
    """
    directory = DEMO if name == DEMO.name else Path(name)
    if not directory.is_dir():
        from huggingface_hub import hf_hub_download

        try:
            require_repository(str(name), "model")
            paths = [hf_hub_download(str(name), file) for file in MODEL_FILES]
        except OSError as error:
            reason = f"no run directory at {str(name)!r}, and {first_line(error)}"
            raise FileNotFoundError(reason) from None
        with suppress(OSError):  # the log of a training, where there was one
            hf_hub_download(str(name), "metrics.jsonl")
        directory = Path(paths[0]).parent
    if missing := [file for file in MODEL_FILES if not (directory / file).is_file()]:
        told = f"{', '.join(missing)} not found there"
        raise FileNotFoundError(f"{directory} is not a run directory: {told}")
    return directory
