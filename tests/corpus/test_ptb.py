"""Penn Treebank, on a small stand-in; on the real files where they are."""

import hashlib
import os
from pathlib import Path
from unittest.mock import Mock

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from textvae.corpus import CorpusNotFound, DataError, load_corpus, ptb

SENTENCES = {
    "train": ["the <unk> rose N %", "it did n't"],
    "valid": ["u.s. sales fell"],
    "test": ["no comment"],
}


def lines(split: str) -> str:
    return "".join(f" {sentence} \n" for sentence in SENTENCES[split])


@pytest.fixture(autouse=True)
def _expectations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for split, sentences in SENTENCES.items():
        words = sum(len(sentence.split()) for sentence in sentences)
        digest = hashlib.sha256(lines(split).encode()).hexdigest()
        monkeypatch.setitem(ptb.PTB, split, (len(sentences), words, digest))
    # No `data/ptb/` beside the package or the tests may be found by chance.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ptb, "__file__", str(tmp_path / "a" / "b" / "ptb.py"))


def write_files(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for split in SENTENCES:
        (directory / f"ptb.{split}.txt").write_text(lines(split), encoding="utf-8")
    return directory


def test_it_is_loaded_from_the_directory_given(tmp_path):
    directory = write_files(tmp_path / "treebank")
    corpus = load_corpus(f"ptb:{directory}")
    assert {name: list(split["text"]) for name, split in corpus.splits.items()} == SENTENCES
    assert corpus.name == "ptb"
    assert corpus.source == f"ptb:{directory}"
    assert list(load_corpus(corpus.source)["test"]["text"]) == SENTENCES["test"]


@pytest.mark.parametrize("place", ["here/data/ptb", "repository/data/ptb"])
def test_it_is_found_here_or_beside_the_package(tmp_path, place, monkeypatch):
    directory = write_files(tmp_path / place)
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(ptb, "__file__", str(tmp_path / "repository" / "textvae" / "a" / "ptb.py"))
    assert load_corpus("ptb").source == f"ptb:{directory}"


def test_whitespace_alone_makes_no_other_file(tmp_path):
    directory = write_files(tmp_path)
    stripped = "\r\n".join(SENTENCES["train"])
    (directory / "ptb.train.txt").write_bytes(stripped.encode())
    assert list(load_corpus(f"ptb:{directory}")["train"]["text"]) == SENTENCES["train"]


def test_a_different_file_is_named_as_different(tmp_path):
    directory = write_files(tmp_path)
    for content, found in ((" the <unk> rose N % \n", "1 lines, 5"), (" a \n b \n", "2 lines, 2")):
        (directory / "ptb.train.txt").write_text(content, encoding="utf-8")
        message = r"ptb\.train\.txt is not the Penn Treebank file of that name: expected 2 lines, "
        message += rf"8 words, sha256 \w+…; found {found} words, sha256 "
        with pytest.raises(DataError, match=message):
            load_corpus(f"ptb:{directory}")
    (directory / "ptb.train.txt").write_text(lines("train").replace("rose", "fell"))
    with pytest.raises(DataError, match=r"expected 2 lines, 8 words, .* found 2 lines, 8 words"):
        load_corpus(f"ptb:{directory}")


def test_missing_files_are_named(tmp_path):
    directory = write_files(tmp_path / "data" / "ptb")
    (directory / "ptb.valid.txt").unlink()
    for source in (f"ptb:{directory}", "ptb"):
        with pytest.raises(CorpusNotFound, match=r"not found: no ptb\.valid\.txt in .*data/ptb"):
            load_corpus(source)
    with pytest.raises(CorpusNotFound, match=r"no ptb\.train\.txt, ptb\.valid\.txt, ptb\.test"):
        load_corpus(f"ptb:{tmp_path}/nowhere")


def test_an_unreachable_hub_is_said_in_one_line(monkeypatch):
    fault = ConnectionError("the hub can't be reached (no route)")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(ptb, "require_repository", Mock(side_effect=fault))
    with pytest.raises(CorpusNotFound, match=r"^Penn .* the hub can't be reached \(no route\)$"):
        load_corpus("ptb")


def put_on_hub(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let downloads find a parquet copy, stripped as the hub's is, and nothing without network."""
    names = {"train": "train", "validation": "valid", "test": "test"}

    def download(repository: str, file: str, *, local_files_only: bool, **options: str) -> str:
        assert repository == "ptb-text-only/ptb_text_only"
        assert options == {"repo_type": "dataset", "revision": "refs/convert/parquet"}
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        split = names[file.removeprefix("penn_treebank/").removesuffix("/0000.parquet")]
        path = directory / f"{split}.parquet"
        datasets.Dataset.from_dict({"sentence": SENTENCES[split]}).to_parquet(path)
        return str(path)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(ptb, "require_repository", lambda name, kind: None)


def test_the_hub_copy_must_be_the_same_text(tmp_path, monkeypatch):
    put_on_hub(tmp_path, monkeypatch)
    corpus = load_corpus("ptb")
    assert {name: list(split["text"]) for name, split in corpus.splits.items()} == SENTENCES
    assert corpus.source == "ptb"
    monkeypatch.setitem(ptb.PTB, "valid", (1, 4, ""))
    message = r"ptb-text-only/.* \(valid\) is not .* expected 1 lines, 4 w.*; found 1 lines, 3 w"
    with pytest.raises(DataError, match=message):
        load_corpus("ptb")


@pytest.mark.skipif("TEXTVAE_PTB_DIR" not in os.environ, reason="TEXTVAE_PTB_DIR is not set")
def test_the_real_files(monkeypatch):
    monkeypatch.undo()
    corpus = load_corpus(f"ptb:{os.environ['TEXTVAE_PTB_DIR']}")
    sizes = {name: split.num_rows for name, split in corpus.splits.items()}
    assert sizes == {"train": 42_068, "valid": 3_370, "test": 3_761}
    words = sum(len(text.split()) for text in corpus["test"]["text"])
    assert words + corpus["test"].num_rows == 82_430
