"""Penn Treebank in Mikolov's version: where it is, and whether it is the one everyone trains on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

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
    """A corpus that isn't there or can't be reached; `ways` to get it, where some are known."""

    def __init__(self, message: str, ways: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ways = tuple(ways)


EXPECTED = {  # lines, words and SHA-256 of the files everyone trains on
    "train": (42_068, 887_521, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    "valid": (3_370, 70_390, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    "test": (3_761, 78_669, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
}


def find_files(data_dir: str | None) -> dict[str, Path]:
    """The file of every split, once it is known to be the right one; none if the hub is left.

    Looked for in `data_dir` if given; else in `data/ptb/` under the current directory, then beside
    the package. Differences in whitespace alone are none.
    """
    usual = (Path("data/ptb"), Path(__file__).resolve().parents[1] / "data" / "ptb")
    for directory in usual if data_dir is None else (Path(data_dir),):
        files = {split: directory / f"ptb.{split}.txt" for split in EXPECTED}
        missing = [path.name for path in files.values() if not path.is_file()]
        if data_dir is None and len(missing) == len(files):
            continue
        if missing:
            raise CorpusNotFound(
                f"Penn Treebank not found: no {', '.join(missing)} in {directory}", WAYS
            )
        for split, path in files.items():
            _check_file(path, EXPECTED[split])
        return files
    return {}


def download() -> dict[str, str]:
    """The hub's parquet file of every split; that it is out of reach is known in five seconds."""
    from huggingface_hub import constants, hf_hub_download

    files = {split: f"penn_treebank/{split}/0000.parquet" for split in EXPECTED}
    files["valid"] = "penn_treebank/validation/0000.parquet"
    fetch = partial(hf_hub_download, HUB_ID, repo_type="dataset", revision=HUB_REVISION)
    reason = "the hub is not asked, as HF_HUB_OFFLINE is set"
    for is_here in (True,) if constants.is_offline_mode() else (True, False):
        try:
            if not is_here:
                require_repository(HUB_ID, "dataset")
            return {split: fetch(file, local_files_only=is_here) for split, file in files.items()}
        except (OSError, ValueError) as error:
            if not is_here:
                reason = str(error).strip().splitlines()[0]
    raise CorpusNotFound(f"Penn Treebank not found: it is not in data/ptb/, and {reason}", WAYS)


def check_sentences(sentences: Iterable[str], split: str, where: str) -> None:
    """Refuse a split of the hub's copy with other numbers of lines or words."""
    sizes, (lines, words, _) = [len(text.split()) for text in sentences], EXPECTED[split]
    if (len(sizes), sum(sizes)) != (lines, words):
        raise DataError(
            f"{where} is a different one: expected {lines} lines and {words} words; "
            f"found {len(sizes)} lines and {sum(sizes)} words"
        )


def _check_file(path: Path, expected: tuple[int, int, str]) -> None:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() == expected[2]:
        return
    lines = [line.split() for line in content.splitlines()]
    # As in the original, a space at both ends: copies that lost it, or have other line ends, hold
    # the same text.
    text = b"".join(b" " + b" ".join(words) + b" \n" for words in lines)
    found = len(lines), sum(map(len, lines)), hashlib.sha256(text).hexdigest()
    if found != expected:
        told = (
            f"{lines} lines, {words} words, sha256 {sha[:12]}…"
            for lines, words, sha in (expected, found)
        )
        raise DataError(
            f"{path} is not the Penn Treebank file of that name: expected {'; found '.join(told)}"
        )
