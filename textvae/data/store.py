"""Arrow files that are named after what they hold: made once, found again, gone on with.

Offers `cache_root` (where they lie), `digest` and `file_digest` (what they are named after),
`stored` (finds or makes them), `read_shard` and `map_shard` (open one, memory-mapped).

A table lies in shards of some 100,000 rows, each of them written whole or not at all. Work that
was broken off leaves the shards it had finished, and the next attempt makes those that are
missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tqdm import tqdm

from textvae.files import read_json, replacing, write_json

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "SHARD_ROWS",
    "Stored",
    "cache_root",
    "digest",
    "file_digest",
    "map_shard",
    "read_shard",
    "stored",
]

SHARD_ROWS = 100_000
"""Rows read into a shard: a few megabytes, a second's work."""

PROGRESS_DELAY = 2.0
"""Seconds of work before a progress bar shows."""

Part = TypeVar("Part", bound="pyarrow.Table | list[str] | list[dict[str, str]]")


class Stored(NamedTuple):
    """A table in shards.

    Attributes:
        paths: The shards' files, in order.
        sizes: Rows in each.
        num_read: Rows that they were made of, those left out counted too.
    """

    paths: tuple[Path, ...]
    sizes: tuple[int, ...]
    num_read: int


def cache_root(cache_dir: str | None = None) -> Path:
    """Where all tables lie: in `cache_dir`, else where `datasets` keeps its own.

    That is `$HF_DATASETS_CACHE`, or `datasets` in the hub's directory (`$HF_HOME`).
    """
    if cache_dir is None:
        from huggingface_hub import constants

        cache_dir = os.environ.get("HF_DATASETS_CACHE") or str(Path(constants.HF_HOME, "datasets"))
    return Path(cache_dir).expanduser() / "textvae"


def digest(*parts: object) -> str:
    """A hash of strings and numbers."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, whatever its name and date."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored(
    directory: Path,
    parts: Callable[[], Iterable[Part]],
    make: Callable[[int, Part], pyarrow.Table],
    *,
    title: str,
    total: int | None = None,
) -> Stored:
    """Find a table, or make what is missing of it.

    Args:
        directory: Where its shards lie; its name must tell of all that they depend on.
        parts: Gives what each shard is made of.
        make: Makes a shard of the number of rows in the parts before, and its own part.
        title: What is being done, for the progress bar, which shows after two seconds.
        total: Rows in all parts, if known.
    """
    index = directory / "index.json"
    if not index.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        sizes, num_read = list[int](), 0
        with tqdm(
            total=total,
            desc=title,
            unit=" sentences",
            unit_scale=True,
            dynamic_ncols=True,
            delay=PROGRESS_DELAY,
            leave=False,
        ) as bar:
            for part in parts():
                path = _shard(directory, len(sizes))
                if not path.is_file():
                    _write(make(num_read, part), path)
                sizes.append(read_shard(path).num_rows)
                num_read += len(part)
                bar.update(len(part))
        # Last of all, so that it is a sign that all shards are there.
        write_json(index, {"sizes": sizes, "num_read": num_read})
    found = read_json(index)
    paths = tuple(_shard(directory, number) for number in range(len(found["sizes"])))
    return Stored(paths, tuple(found["sizes"]), found["num_read"])


def map_shard(path: Path) -> tuple[pyarrow.Table, mmap]:
    """One shard, memory-mapped, and the map that it lies in."""
    import pyarrow as pa

    with path.open("rb") as file:
        mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped))).read_all(), mapped


def read_shard(path: Path) -> pyarrow.Table:
    """One shard, memory-mapped; its pages leave memory with the last reference to it."""
    return map_shard(path)[0]


def _shard(directory: Path, number: int) -> Path:
    return directory / f"{number:05}.arrow"


def _write(table: pyarrow.Table, path: Path) -> None:
    import pyarrow as pa

    with replacing(path) as temporary:
        # One record batch, so that a column is one flat array.
        whole = table.combine_chunks()
        with pa.ipc.new_file(str(temporary), whole.schema) as writer:
            writer.write_table(whole)
