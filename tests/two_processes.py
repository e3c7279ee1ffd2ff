"""Two processes of a Python module, put together as a launcher would."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def run_in_two(module: str, arguments: Sequence[str], directory: Path) -> list[Ended]:
    """Run `python -m module arguments` as processes 0 and 1; what they say goes to `directory`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_started(rank, port, module, arguments, directory) for rank in (0, 1)]
    try:
        codes = [process.wait(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [
        Ended(code, *((directory / f"{rank}.{name}").read_text() for name in ("out", "err")))
        for rank, code in enumerate(codes)
    ]


def _started(
    rank: int, port: int, module: str, arguments: Sequence[str], directory: Path
) -> subprocess.Popen[bytes]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    with (directory / f"{rank}.out").open("w") as out, (directory / f"{rank}.err").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=os.environ | {name: str(value) for name, value in (place | meeting).items()},
            stdout=out,
            stderr=err,
        )
