"""Tests of `textvae.corpus`: what a corpus is, where it comes from, and its vocabulary."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import datasets
import huggingface_hub
import pytest

from textvae import batches, files, grammar
from textvae import corpus as corpora
from textvae.checks import InputError
from textvae.corpus import Corpus, CorpusNotFound, DataError, load_corpus, train_tokenizer
from textvae.tokenizer import Kind, Tokenizer


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_records(path: Path, records: list[Any]) -> Path:
    return write_lines(path, [json.dumps(record) for record in records])


def texts(corpus: Corpus, split: str) -> list[str]:
    return list(corpus[split]["text"])


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "my.txt", [f"sentence {i}" for i in range(100)])


def test_a_file_is_split_by_fraction(hundred: Path) -> None:
    corpus = load_corpus(hundred, valid_fraction=0.1, test_fraction=0.2)
    sizes = {name: split.num_rows for name, split in corpus.splits.items()}
    assert sizes == {"train": 70, "valid": 10, "test": 20}
    together = [text for name in corpus.splits for text in texts(corpus, name)]
    assert sorted(together) == sorted(f"sentence {i}" for i in range(100))
    assert corpus.name == "my"
    assert corpus["train"].column_names == ["text"]


def test_the_seed_decides_the_split(hundred: Path) -> None:
    first, again = load_corpus(hundred, seed=1), load_corpus(str(hundred), seed=1)
    assert texts(first, "test") == texts(again, "test")
    assert texts(first, "test") != texts(load_corpus(hundred, seed=2), "test")


def test_a_corpus_is_found_again_by_its_source(
    hundred: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hundred.parent)
    corpus = load_corpus("my.txt")
    monkeypatch.chdir("/")
    assert texts(load_corpus(corpus.source), "valid") == texts(corpus, "valid")


def test_a_fraction_of_zero_makes_no_split(hundred: Path) -> None:
    corpus = load_corpus(hundred, test_fraction=0)
    assert set(corpus.splits) == {"train", "valid"}
    with pytest.raises(DataError, match="my has no split 'test'; it has train, valid"):
        corpus["test"]


def test_small_files_still_hold_a_sentence_out(tmp_path: Path) -> None:
    corpus = load_corpus(write_lines(tmp_path / "three.txt", ["a", "b", "c"]))
    assert {split.num_rows for split in corpus.splits.values()} == {1}
    two = write_lines(tmp_path / "two.txt", ["a", "b"])
    with pytest.raises(DataError, match=r"two\.txt has too few sentences .* at least 3 .* got 2"):
        load_corpus(two)


def test_empty_lines_are_counted_and_skipped(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "gaps.txt", ["", " a ", "b", " \t", "c", "d", ""])
    corpus = load_corpus(path)
    assert corpus.skipped == {"train": 3}
    assert sorted(text for name in corpus.splits for text in texts(corpus, name)) == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_line_ends_byte_order_mark_and_odd_names(tmp_path: Path) -> None:
    path = tmp_path / "od[d] *na{me}.txt"
    path.write_bytes("\ufeffé\r\nb\u2028b\r\nc".encode())
    corpus = load_corpus(path, test_fraction=0)
    assert sorted(texts(corpus, "train") + texts(corpus, "valid")) == ["b\u2028b", "c", "é"]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "changing.txt"
    for word in ("old", "new"):
        write_lines(path, [f"{word} {i}" for i in range(4)])
        assert texts(load_corpus(path), "train")[0].startswith(word)


def test_cache_dir_is_where_arrow_files_go(hundred: Path, tmp_path: Path) -> None:
    load_corpus(hundred, cache_dir=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").rglob("*.arrow"))


def test_short_work_prints_nothing(
    hundred: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_corpus(hundred, cache_dir=str(tmp_path / "cache"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("token", ["<pad>", "<bos>", "<eos>"])
def test_reserved_tokens_are_refused_with_their_line(tmp_path: Path, token: str) -> None:
    path = write_lines(tmp_path / "bad.txt", ["a <unk>", "", f"c {token}", "d"])
    message = rf"line 3 of {re.escape(str(path))} contains the reserved token {token}"
    with pytest.raises(DataError, match=message):
        load_corpus(path)


def test_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=r"empty\.txt is empty"):
        load_corpus(tmp_path / "empty.txt")
    blank = write_lines(tmp_path / "blank.txt", ["", "  "])
    with pytest.raises(DataError, match=r"blank\.txt holds no sentences: 2 lines, all empty"):
        load_corpus(blank)


def test_other_encodings_are_refused_with_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8: line 2 has byte 0xef at posit"):
        load_corpus(path)


def test_fractions_out_of_range_are_refused(hundred: Path) -> None:
    with pytest.raises(InputError, match=r"valid_fraction must be in \[0, 1\), got -0\.1"):
        load_corpus(hundred, valid_fraction=-0.1)
    with pytest.raises(InputError, match=r"test_fraction must be in \[0, 1\), got 1\.7"):
        load_corpus(hundred, test_fraction=1.7)
    with pytest.raises(InputError, match=r"add up to less than 1, got 0\.5 \+ 0\.5"):
        load_corpus(hundred, valid_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
        ("my_train.txt", "my_dev.txt", "my_test.txt"),
        ("a-training.txt", "a-val.txt", "a-test.txt"),
    ],
)
def test_a_directory_has_a_file_for_each_split(
    tmp_path: Path, train: str, valid: str, test: str
) -> None:
    for name, word in ((train, "a"), (valid, "b"), (test, "c")):
        write_lines(tmp_path / name, [word, ""])
    write_lines(tmp_path / "notes.txt", ["ignored"])
    corpus = load_corpus(tmp_path)
    assert {name: texts(corpus, name) for name in corpus.splits} == {
        "train": ["a"],
        "valid": ["b"],
        "test": ["c"],
    }
    assert corpus.skipped == {"train": 1, "valid": 1, "test": 1}
    assert corpus.name == tmp_path.name
    assert load_corpus(corpus.source).splits.keys() == corpus.splits.keys()


def test_a_directory_of_json_lines(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        write_records(tmp_path / f"{name}.jsonl", [{"body": name, "other": 1}])
    corpus = load_corpus(tmp_path, text_field="body")
    assert {name: texts(corpus, name) for name in corpus.splits} == {
        "train": ["train"],
        "valid": ["validation"],
    }


def test_missing_and_doubled_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file for the train split .* no \.txt or \.jsonl file"):
        load_corpus(tmp_path)
    write_lines(tmp_path / "train.txt", ["a"])
    with pytest.raises(DataError, match=r"no file for the valid split .* it holds train\.txt"):
        load_corpus(tmp_path)
    for name in ("valid.txt", "dev.txt"):
        write_lines(tmp_path / name, ["a"])
    with pytest.raises(DataError, match=r"more than one file for the valid split: dev\.txt, valid"):
        load_corpus(tmp_path)


def test_json_lines_with_a_field(tmp_path: Path) -> None:
    records = [{"id": i, "body": f"text {i}", "more": {"x": [i]}} for i in range(10)]
    corpus = load_corpus(write_records(tmp_path / "a.jsonl", records), text_field="body")
    assert corpus["train"].column_names == ["text"]
    assert sum(split.num_rows for split in corpus.splits.values()) == 10


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"body": "x"}'], r"line 1 of .*a\.jsonl has no field 'text'; it has body"),
        (['{"text": "x"}', "{oops"], r"line 2 of .*a\.jsonl is not JSON: "),
        (['{"text": "x"}', "[1]"], r"line 2 of .*a\.jsonl must be a JSON object, got \[1\]"),
        (['{"text": "x"}', '{"text": 5}'], r"line 2 of .* must have a string in 'text', got 5"),
        (['{"text": 5}'], r"line 1 of .* must have a string in 'text', got 5"),
        (
            ['{"text": "x"}', '{"text": null}'],
            r"line 2 of .* must have a string in 'text', got null",
        ),
        (['{"text": "x"}', '{"body": "x"}'], r"line 2 of .*a\.jsonl has no field 'text'; it has b"),
        (['{"text": "x"}', "", '{"text": 1}'], r"line 3 of .* must have a string in 'text', got 1"),
        (['{"text": "a <eos>"}'], r"line 1 of .*a\.jsonl contains the reserved token <eos>"),
    ],
)
def test_json_lines_at_fault_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_corpus(write_lines(tmp_path / "a.jsonl", lines))


def test_the_embedded_corpus_brings_its_factors() -> None:
    corpus = load_corpus("grammar")
    assert {name: split.num_rows for name, split in corpus.splits.items()} == {
        "train": 20_000,
        "valid": 2_000,
        "test": 2_000,
    }
    drawn = grammar.splits(0)
    for name in ("train", "valid", "test"):
        expected = getattr(drawn, name)[7]
        assert corpus[name][7] == {"text": expected.text, **expected.factors}
    assert (corpus.name, corpus.source) == ("grammar", "grammar")


@pytest.mark.parametrize(
    "source", ["corpus.txt", "./my/corpus", "a/b/c", "corpus", "owner/my.jsonl", "~/nothing", "/no"]
)
def test_a_mistyped_path_is_never_looked_up_on_the_hub(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SECONDS", None)
    monkeypatch.setattr("textvae.corpus.require_repository", None)
    with pytest.raises(CorpusNotFound, match=re.escape(f"no file or directory {source!r} (a corp")):
        load_corpus(source)


def test_a_path_below_a_directory_is_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(CorpusNotFound, match="there is a directory 'data', so it was not looked"):
        load_corpus("data/corpus")


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """Let the hub seem to be online and answer what `answer()` returns or raises."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    fake = SimpleNamespace(repo_info=lambda *args, **options: answer())
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)


def test_an_unreachable_hub_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("Name or service not known\nand more")

    answer_with(monkeypatch, refuse)
    message = (
        r"^no file or directory 'owner/name', and the hub can't be reached \(Name or .*known\)$"
    )
    with pytest.raises(CorpusNotFound, match=message) as caught:
        load_corpus("owner/name")
    assert caught.value.ways == ("set HF_HUB_OFFLINE=1 to use what was downloaded before",)


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, lambda: time.sleep(30))
    monkeypatch.setattr(files, "SECONDS", 0.1)
    start = time.monotonic()
    with pytest.raises(CorpusNotFound, match=r"the hub did not answer within 0\.1 seconds"):
        load_corpus("owner/name")
    assert time.monotonic() - start < 5


def test_a_data_set_that_is_not_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        error = huggingface_hub.errors.RepositoryNotFoundError
        raise error("404", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]

    answer_with(monkeypatch, missing)
    with pytest.raises(CorpusNotFound, match="the hub has no dataset 'owner/name', or it is priv"):
        load_corpus("owner/name")


def test_offline_without_a_downloaded_copy() -> None:
    with pytest.raises(CorpusNotFound, match="the data set 'owner/name' could not be loaded: "):
        load_corpus("owner/name")


def test_a_hub_data_set_gets_the_splits_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, cache_dir: str | None) -> datasets.DatasetDict:
        rows = [f"train {i}" for i in range(20)]
        return datasets.DatasetDict(
            train=datasets.Dataset.from_dict({"body": rows}),
            test=datasets.Dataset.from_dict({"body": ["test", ""]}),
        )

    monkeypatch.setattr(datasets, "load_dataset", load)
    corpus = load_corpus("owner/name", text_field="body", valid_fraction=0.25)
    assert {name: split.num_rows for name, split in corpus.splits.items()} == {
        "train": 15,
        "test": 1,
        "valid": 5,
    }
    assert (corpus.source, corpus.skipped) == ("owner/name", {"train": 0, "test": 1})
    with pytest.raises(DataError, match=r"'owner/name' \(train\) has no field 'text'; it has body"):
        load_corpus("owner/name")


def test_a_hub_data_set_must_have_a_training_split(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = datasets.DatasetDict(odd=datasets.Dataset.from_dict({"text": ["a"]}))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, cache_dir: odd)
    with pytest.raises(DataError, match="'owner/name' has no split train; it has odd"):
        load_corpus("owner/name")


def test_a_field_that_holds_no_strings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": [1, 2]}))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, cache_dir: numbers)
    with pytest.raises(DataError, match=r"field 'text' of .* must hold strings, got int64"):
        load_corpus("owner/name")


def train(path: Path) -> datasets.Dataset:
    return load_corpus(path, valid_fraction=0, test_fraction=0)["train"]


def test_a_vocabulary_is_that_of_all_texts_and_of_its_options(hundred: Path) -> None:
    lines = [f"sentence {i}" for i in range(100)]
    split = train(hundred)
    for _ in range(2):  # taken, then found
        assert train_tokenizer(split).fingerprint == Tokenizer.train(lines).fingerprint
        few = train_tokenizer(split, vocab_size=6)
        assert few.fingerprint == Tokenizer.train(lines, vocab_size=6).fingerprint
        kinds = {train_tokenizer(split, kind).kind for kind in get_args(Kind)}
        assert kinds == {"word", "char", "bpe"}
    part = split.select([7, 3])
    assert train_tokenizer(part).unknown_words("sentence 7 3 4") == ["4"]
    in_memory = datasets.Dataset.from_dict({"text": lines, "label": [0] * 100})
    assert train_tokenizer(in_memory).fingerprint == Tokenizer.train(lines).fingerprint


def test_what_was_read_is_found_again(hundred: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = train_tokenizer(train(hundred)).fingerprint

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(corpora, "find_reserved", refuse)
    monkeypatch.setattr(Tokenizer, "train", refuse)
    assert train_tokenizer(train(hundred)).fingerprint == vocabulary
    monkeypatch.setattr("pyarrow.compute.utf8_trim_whitespace", refuse)
    assert train(hundred)["text"][3] == "sentence 3"
    write_lines(hundred, ["another"])
    with pytest.raises(AssertionError, match="made again"):
        train(hundred)


@pytest.mark.parametrize(("is_terminal", "long"), [(True, 5), (True, 500), (False, 5)])
def test_long_work_shows_its_progress_at_a_terminal(
    hundred: Path,
    is_terminal: bool,
    long: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(corpora, "LONG_WORK", long)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    split = train(hundred)
    batches.encode_split(split, train_tokenizer(split))
    out, err = capfd.readouterr()
    assert out == ""
    shown = is_terminal and long < 100
    assert [said in err for said in (f"reading {hundred}", "tokenising")] == [shown] * 2
    assert not datasets.are_progress_bars_disabled()


def test_the_code_of_the_page_on_large_corpora_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "my.txt", [sentence.text for sentence in grammar.sample(60)])
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "large-corpora.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["batch"].num_sentences > 1
