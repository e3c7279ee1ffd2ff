"""Penn Treebank in Mikolov's version, found, fetched and checked: `load_ptb`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from textvae.data.corpus import Corpus, CorpusNotFound, DataError
from textvae.data.local import read_splits
from textvae.data.rows import clean
from textvae.data.store import cache_root, file_digest
from textvae.data.texts import TextSplit
from textvae.files import require_repository

__all__ = ["EXPECTED", "Expected", "load_ptb"]

HUB_ID = "ptb-text-only/ptb_text_only"
HUB_REVISION = "refs/convert/parquet"

WAYS = (
    "put ptb.train.txt, ptb.valid.txt and ptb.test.txt into data/ptb/, or",
    "name the directory that holds them (--data-dir), or",
    f"be online: the hub's copy is {HUB_ID}",
)


class Expected(NamedTuple):
    """What one file of the corpus holds.

    Attributes:
        lines: Sentences.
        words: Words, without any end of sentence.
        sha256: Of the file as Mikolov made it.
    """

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


def load_ptb(data_dir: str | Path | None = None, *, cache_dir: str | None = None) -> Corpus:
    """Find Penn Treebank, make sure that it is the one everyone trains on, and load it.

    Looked for in `data_dir` if given; else in `data/ptb/` under the current directory, then
    beside the package, then on the hub.

    Args:
        data_dir: Directory that holds `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`.
        cache_dir: Where the Arrow files lie; if None, where `datasets` keeps its own.

    Returns:
        The corpus. Lines lose the space at both ends, which the hub's copy does not have.

    Raises:
        CorpusNotFound: If it is nowhere to be had; known within five seconds.
        DataError: If a file under one of those names is a different one. Differences in
            whitespace alone are none.
    """
    if data_dir is not None:
        return _load_local(Path(data_dir), cache_dir)
    beside = Path(__file__).resolve().parents[2] / "data" / "ptb"
    for directory in (Path("data/ptb"), beside):
        if any(_path(directory, split).is_file() for split in EXPECTED):
            return _load_local(directory, cache_dir)
    return _load_hub(cache_dir)


def _path(directory: Path, split: str) -> Path:
    return directory / f"ptb.{split}.txt"


def _load_local(directory: Path, cache_dir: str | None) -> Corpus:
    files = {split: _path(directory, split) for split in EXPECTED}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise CorpusNotFound(
            f"Penn Treebank not found: no {', '.join(missing)} in {directory}", WAYS
        )
    for split, path in files.items():
        _check_file(path, EXPECTED[split])
    splits, skipped = read_splits(files, cache_dir=cache_dir)
    return Corpus("ptb", splits, f"ptb:{directory.resolve()}", skipped)


def _check_file(path: Path, expected: Expected) -> None:
    if file_digest(path) == expected.sha256:
        return
    lines = [line.split() for line in path.read_bytes().splitlines()]
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


def _load_hub(cache_dir: str | None) -> Corpus:
    import datasets

    files = _download()
    splits: dict[str, TextSplit] = {}
    skipped: dict[str, int] = {}
    for split, path in files.items():
        where = f"the hub's copy of Penn Treebank ({HUB_ID}, {split})"
        raw = datasets.load_dataset(
            "parquet", data_files={split: path}, split=split, cache_dir=cache_dir
        )
        splits[split], skipped[split] = clean(
            raw, where, text_field="sentence", root=cache_root(cache_dir)
        )
        _check_rows(splits[split], where, EXPECTED[split])
    return Corpus("ptb", splits, "ptb", skipped)


def _check_rows(split: TextSplit, where: str, expected: Expected) -> None:
    words = sum(len(text.split()) for text in split["text"])
    if (split.num_rows, words) != (expected.lines, expected.words):
        raise DataError(
            f"{where} is a different one: expected {expected.lines} lines and {expected.words} "
            f"words; found {split.num_rows} lines and {words} words"
        )


def _download() -> dict[str, str]:
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
