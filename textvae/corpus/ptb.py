"""Penn Treebank, wherever it is: the files everyone trains on, or the hub's copy."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from textvae.corpus.reading import clean, read_files
from textvae.corpus.splits import Corpus, CorpusNotFound, DataError, progress
from textvae.files import first_line, require_repository

PTB_HUB_ID = "ptb-text-only/ptb_text_only"
PTB_WAYS = (
    "put ptb.train.txt, ptb.valid.txt and ptb.test.txt into data/ptb/, or",
    "name the directory that holds them (ptb:DIR, or --data-dir), or",
    f"be online: the hub's copy is {PTB_HUB_ID}",
)
PTB = {  # lines, words and SHA-256 of the files everyone trains on: Mikolov's
    "train": (42_068, 887_521, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
    "valid": (3_370, 70_390, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
    "test": (3_761, 78_669, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
}


def load_ptb(data_dir: str | None, cache_dir: str | None) -> Corpus:
    """From `data_dir`, or `data/ptb/`, or the hub's copy."""
    import datasets

    if files := _files(data_dir):
        corpus = read_files(files["train"].parent, files, ["text"], cache_dir)
        corpus = replace(corpus, name="ptb", source=f"ptb:{corpus.source}")
    else:
        options = {"data_files": _download(), "cache_dir": cache_dir}
        with progress(False):
            loaded = datasets.load_dataset("parquet", **options)
        raw = {split: (f"{PTB_HUB_ID} ({split})", rows) for split, rows in loaded.items()}
        corpus = clean("ptb", "ptb", raw, ["text"])
    _check(corpus, files)
    return corpus


def _files(data_dir: str | None) -> dict[str, Path]:
    """Each split's file: in `data_dir`, or `data/ptb/` here or beside the package; or none."""
    usual = (Path("data/ptb"), Path(__file__).resolve().parents[2] / "data" / "ptb")
    for directory in usual if data_dir is None else (Path(data_dir),):
        files = {split: directory / f"ptb.{split}.txt" for split in PTB}
        missing = [path.name for path in files.values() if not path.is_file()]
        if not missing:
            return files
        if data_dir is not None or len(missing) < len(files):
            found = f"no {', '.join(missing)} in {directory}"
            raise CorpusNotFound(f"Penn Treebank not found: {found}", PTB_WAYS)
    return {}


def _download() -> dict[str, str]:
    """The hub's parquet file of every split; that it is out of reach is known soon."""
    from huggingface_hub import constants, hf_hub_download

    files = {split: f"penn_treebank/{split}/0000.parquet" for split in PTB}
    files["valid"] = "penn_treebank/validation/0000.parquet"
    fetch = partial(
        hf_hub_download, PTB_HUB_ID, repo_type="dataset", revision="refs/convert/parquet"
    )
    reason = "the hub is not asked, as HF_HUB_OFFLINE is set"
    for is_here in (True,) if constants.is_offline_mode() else (True, False):
        try:
            if not is_here:
                require_repository(PTB_HUB_ID, "dataset")
            return {split: fetch(file, local_files_only=is_here) for split, file in files.items()}
        except (OSError, ValueError) as error:
            reason = reason if is_here else first_line(error)
    raise CorpusNotFound(f"Penn Treebank not found: it is not in data/ptb/, and {reason}", PTB_WAYS)


def _check(corpus: Corpus, files: Mapping[str, Path]) -> None:
    """Refuse other text than the original's, whitespace apart; of the hub's copy, other sizes."""
    told, known = "{} lines, {} words, sha256 {:.12}…".format, 3 if files else 2
    for split, expected in PTB.items():
        lines = [text.split() for text in corpus[split]["text"]]
        # As in the original, a space at both ends.
        text = "".join(f" {' '.join(words)} \n" for words in lines)
        found = len(lines), sum(map(len, lines)), hashlib.sha256(text.encode()).hexdigest()
        if found[:known] != expected[:known]:
            raise DataError(
                f"{files.get(split, f'{PTB_HUB_ID} ({split})')} is not the Penn Treebank file of "
                f"that name: expected {told(*expected)}; found {told(*found)}"
            )
