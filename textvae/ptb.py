"""Penn Treebank in Mikolov's version: where it is, and whether it is the one everyone trains on.

`textvae.corpus` reads the files that are found here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from textvae.checks import InputError
from textvae.files import require_repository

HUB_ID = "ptb-text-only/ptb_text_only"
HUB_REVISION = "refs/convert/parquet"

WAYS = (
    "put ptb.train.txt, ptb.valid.txt and ptb.test.txt into data/ptb/, or",
    "name the directory that holds them (--data-dir), or",
    f"be online: the hub's copy is {HUB_ID}",
)


class DataError(InputError):
    """A corpus that can't be used; the message says what is wrong, where, and what is allowed."""


class CorpusNotFound(DataError):  # noqa: N818 - reads as what it is where it is caught
    """A corpus that isn't there, or can't be reached.

    Attributes:
        ways: Ways to get it, a line each; empty where there is nothing to say.
    """

    def __init__(self, message: str, ways: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ways = tuple(ways)


class Expected(NamedTuple):
    """What one file of the corpus holds: words without any end of sentence."""

    lines: int
    words: int
    sha256: str


EXPECTED = {
    "train": Expected(
        42_068, 887_521, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"
    ),
    "valid": Expected(
        3_370, 70_390, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"
    ),
    "test": Expected(
        3_761, 78_669, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"
    ),
}
"""The files everyone trains on."""


def find_directory(data_dir: str | None) -> Path | None:
    """`data_dir` if given; else the first of those looked in that holds a file; None for the hub.

    Looked in are `data/ptb/` under the current directory, then beside the package.
    """
    if data_dir is not None:
        return Path(data_dir)
    usual = (Path("data/ptb"), Path(__file__).resolve().parents[1] / "data" / "ptb")
    return next((place for place in usual if any(map(Path.is_file, _files(place).values()))), None)


def checked_files(directory: Path) -> dict[str, Path]:
    """The file of every split, once it is known to be the right one.

    Differences in whitespace alone are none.
    """
    files = _files(directory)
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise CorpusNotFound(
            f"Penn Treebank not found: no {', '.join(missing)} in {directory}", WAYS
        )
    for split, path in files.items():
        _check_file(path, EXPECTED[split])
    return files


def download() -> dict[str, str]:
    """The hub's parquet file of every split; that it is out of reach is known in five seconds."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(*, local_files_only: bool) -> dict[str, str]:
        on_hub = {"train": "train", "valid": "validation", "test": "test"}
        return {
            split: hf_hub_download(
                HUB_ID,
                f"penn_treebank/{name}/0000.parquet",
                repo_type="dataset",
                revision=HUB_REVISION,
                local_files_only=local_files_only,
            )
            for split, name in on_hub.items()
        }

    try:
        return fetch(local_files_only=True)
    except LocalEntryNotFoundError:
        reason = "the hub is not asked, as HF_HUB_OFFLINE is set"
    if not constants.is_offline_mode():
        try:
            require_repository(HUB_ID, "dataset")
            return fetch(local_files_only=False)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
    raise CorpusNotFound(f"Penn Treebank not found: it is not in data/ptb/, and {reason}", WAYS)


def check_sentences(sentences: Iterable[str], split: str, where: str) -> None:
    """Refuse a split of the hub's copy with other numbers of lines or words."""
    sizes = [len(text.split()) for text in sentences]
    expected, words = EXPECTED[split], sum(sizes)
    if (len(sizes), words) != (expected.lines, expected.words):
        raise DataError(
            f"{where} is a different one: expected {expected.lines} lines and {expected.words} "
            f"words; found {len(sizes)} lines and {words} words"
        )


def _files(directory: Path) -> dict[str, Path]:
    return {split: directory / f"ptb.{split}.txt" for split in EXPECTED}


def _check_file(path: Path, expected: Expected) -> None:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() == expected.sha256:
        return
    lines = [line.split() for line in content.splitlines()]
    # As in the original, a space at both ends: copies that lost it, or have other line ends, hold
    # the same text.
    text = b"".join(b" " + b" ".join(words) + b" \n" for words in lines)
    found = Expected(len(lines), sum(map(len, lines)), hashlib.sha256(text).hexdigest())
    if found != expected:
        raise DataError(
            f"{path} is not the Penn Treebank file of that name: expected {_describe(expected)}; "
            f"found {_describe(found)}"
        )


def _describe(file: Expected) -> str:
    return f"{file.lines} lines, {file.words} words, sha256 {file.sha256[:12]}…"
