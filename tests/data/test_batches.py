"""Tests of `textvae.data.encoding` and `textvae.data.batches`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise
from mmap import MADV_DONTNEED
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.batch import Batch
from textvae.data import BatchLoader, DataError, EncodedSplit, batches, encode_split, encoding
from textvae.tokenizer import EOS_ID, Tokenizer

WORDS = ["a b c d e", "a", "b c", "a b c d", "e <unk> zoo"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.train(WORDS[:4])


@pytest.fixture
def dataset(tmp_path: Path) -> datasets.Dataset:
    return on_disk(tmp_path, WORDS)


def on_disk(directory: Path, texts: list[str]) -> datasets.Dataset:
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(directory / "rows")
    return datasets.load_from_disk(directory / "rows")


def sentences(split: EncodedSplit) -> list[list[int]]:
    return [split.sentence(i).tolist() for i in range(len(split))]


def numbered(lengths: list[int]) -> EncodedSplit:
    """Sentences of these many ids; each repeats its own position + 4."""
    return EncodedSplit.from_ids([[i + 4] * length for i, length in enumerate(lengths)])


def test_sentences_are_encoded_in_order(dataset: datasets.Dataset, tokenizer: Tokenizer) -> None:
    split = encode_split(dataset, tokenizer)
    assert sentences(split) == tokenizer.encode_batch(WORDS)
    assert split.lengths.tolist() == [6, 2, 3, 5, 4]
    assert split.longest == 5
    assert (len(split), split.num_sentences, split.num_tokens) == (5, 5, 20)
    assert (split.num_truncated, split.num_dropped) == (0, 0)


def test_long_sentences_are_cut_without_a_false_end(
    dataset: datasets.Dataset, tokenizer: Tokenizer
) -> None:
    split = encode_split(dataset, tokenizer, max_length=3)
    assert sentences(split) == [ids[:3] for ids in tokenizer.encode_batch(WORDS)]
    assert split.truncated.tolist() == [True, False, False, True, False]
    assert (split.num_truncated, split.num_dropped) == (2, 0)
    assert split.lengths.tolist() == [3, 2, 3, 3, 4]
    assert (split.num_tokens, split.longest) == (15, 3)
    for batch in BatchLoader(split, batch_size=2).epoch(0):
        for row, target, length in zip(batch.indices, batch.target_ids, batch.lengths, strict=True):
            assert (EOS_ID in target.tolist()) == (not split.truncated[row])
            assert (target[length:] == 0).all()


def test_long_sentences_are_dropped_on_request(
    dataset: datasets.Dataset, tokenizer: Tokenizer
) -> None:
    split = encode_split(dataset, tokenizer, max_length=3, too_long="drop")
    assert sentences(split) == tokenizer.encode_batch([WORDS[i] for i in (1, 2, 4)])
    assert split.rows.tolist() == [1, 2, 4]
    assert (split.num_truncated, split.num_dropped, split.num_sentences) == (0, 2, 3)
    assert split.num_tokens == 9


def test_a_sentence_of_just_the_limit_is_whole(
    dataset: datasets.Dataset, tokenizer: Tokenizer
) -> None:
    split = encode_split(dataset, tokenizer, max_length=5)
    assert (split.num_truncated, split.num_tokens) == (0, 20)


def test_ids_lie_in_a_memory_map(dataset: datasets.Dataset, tokenizer: Tokenizer) -> None:
    view = encode_split(dataset, tokenizer).sentence(0)
    assert not view.flags.owndata
    assert view.dtype == np.int32


def test_sentences_are_found_across_chunks(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textvae.data.texts.SHARD_ROWS", 10_000)
    texts = WORDS * 5_000
    split = encode_split(on_disk(tmp_path, texts), tokenizer)
    assert len(split._ids) == 3
    expected = tokenizer.encode_batch(WORDS)
    for index in (0, 9_999, 10_000, 19_999, 20_000, 24_999):
        assert split.sentence(index).tolist() == expected[index % 5]
    with pytest.raises(IndexError, match=r"index must lie in \[0, 24999\], got 25000"):
        split.sentence(25_000)


def test_pages_are_let_go_and_come_back(
    dataset: datasets.Dataset, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MAPPED_BYTES", 0)
    monkeypatch.setattr(encoding, "RELEASE_EVERY", 2)
    split = encode_split(dataset, tokenizer)
    released = list[int]()

    class Watched:
        def madvise(self, advice: int) -> None:
            released.append(advice)
            mapped.madvise(advice)

    (mapped,) = split._maps
    split._maps = [Watched()]  # type: ignore[list-item]
    assert sentences(split) == sentences(split) == tokenizer.encode_batch(WORDS)
    assert released == [MADV_DONTNEED] * 5


def test_the_cache_knows_tokenizer_and_limits(
    dataset: datasets.Dataset, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_split(dataset, tokenizer)
    encode_split(dataset, tokenizer, max_length=2)
    other = Tokenizer.train(["zoo e d c b a"])
    assert sentences(encode_split(dataset, other)) == other.encode_batch(WORDS)

    def refuse(*args: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(encoding, "_columns", refuse)
    same = Tokenizer.train(WORDS[:4])
    assert sentences(encode_split(dataset, same)) == same.encode_batch(WORDS)
    assert encode_split(dataset, tokenizer, max_length=2).num_truncated == 3
    with pytest.raises(AssertionError, match="encoded again"):
        encode_split(dataset, tokenizer, max_length=1)


def test_what_encoding_refuses(
    dataset: datasets.Dataset, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="max_length must be at least 1, got 0"):
        encode_split(dataset, tokenizer, max_length=0)
    with pytest.raises(DataError, match="too_long must be cut or drop, got 'wrap'"):
        encode_split(dataset, tokenizer, too_long="wrap")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="dataset must hold at least one sentence, got none"):
        encode_split(dataset.select([]), tokenizer)
    with pytest.raises(DataError, match="all 1 are longer than max_length 1"):
        encode_split(dataset.select([0]), tokenizer, max_length=1, too_long="drop")
    with pytest.raises(DataError, match="sequences must hold at least one sentence, got none"):
        EncodedSplit.from_ids([])
    reserved = datasets.Dataset.from_dict({"text": ["a", "b <bos>"]})
    with pytest.raises(DataError, match="sentence 2 contains the reserved token <bos>"):
        encode_split(reserved, tokenizer)


def indices(batches: Iterator[Batch]) -> list[list[int]]:
    return [batch.indices.tolist() for batch in batches]


lengths_lists = st.lists(st.integers(1, 12), min_size=1, max_size=60)


@given(lengths_lists, st.integers(1, 9), st.booleans(), st.integers(0, 3))
def test_every_sentence_comes_exactly_once(
    lengths: list[int], batch_size: int, shuffle: bool, epoch: int
) -> None:
    loader = BatchLoader(numbered(lengths), batch_size=batch_size, shuffle=shuffle)
    batches = list(loader.epoch(epoch))
    assert len(batches) == len(loader) == -(-len(lengths) // batch_size)
    assert sorted(chain.from_iterable(indices(iter(batches)))) == list(range(len(lengths)))
    assert sum(batch.num_tokens for batch in batches) == loader.num_tokens
    assert loader.num_sentences == len(lengths)
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            assert batch.lengths[row] == lengths[index] + 1
            ids = [index + 4] * lengths[index]
            assert batch.target_ids[row, : lengths[index] + 1].tolist() == [*ids, EOS_ID]


@given(lengths_lists, st.integers(13, 60), st.none() | st.integers(1, 9))
def test_a_token_budget_counts_padding(
    lengths: list[int], max_tokens: int, batch_size: int | None
) -> None:
    loader = BatchLoader(numbered(lengths), batch_size=batch_size, max_tokens=max_tokens)
    for epoch in range(2):
        batches = list(loader.epoch(epoch))
        assert len(batches) == len(loader)
        assert sorted(chain.from_iterable(indices(iter(batches)))) == list(range(len(lengths)))
        for batch in batches:
            assert batch.input_ids.numel() <= max_tokens
            assert batch_size is None or batch.num_sentences <= batch_size


def test_a_token_budget_is_used_up() -> None:
    loader = BatchLoader(numbered([3] * 10 + [7] * 4), batch_size=None, max_tokens=16)
    sizes = [batch.num_sentences for batch in BatchLoader(loader.split).epoch(0)]
    assert sizes == [14]
    plan = BatchLoader(loader.split, batch_size=None, max_tokens=16, shuffle=False).plan(0)
    assert [len(part) for part in plan] == [4, 4, 2, 2, 2]


def test_the_last_partial_batch_is_kept() -> None:
    loader = BatchLoader(numbered([5] * 10), batch_size=4)
    assert sorted(len(part) for part in loader.plan(0)) == [2, 4, 4]


def test_seed_and_epoch_alone_decide_the_order() -> None:
    split = numbered([1 + i % 7 for i in range(50)])
    loader = BatchLoader(split, batch_size=4, seed=3)
    first = indices(loader.epoch(1))
    list(loader.epoch(0))
    assert indices(loader.epoch(1)) == first
    assert indices(BatchLoader(split, batch_size=4, seed=3).epoch(1)) == first
    assert indices(loader.epoch(2)) != first
    assert indices(BatchLoader(split, batch_size=4, seed=4).epoch(1)) != first
    assert indices(iter(loader)) == indices(loader.epoch(0))


def test_batches_are_made_up_anew_each_epoch() -> None:
    loader = BatchLoader(numbered([5] * 40), batch_size=4)
    assert sorted(map(sorted, loader.plan(0))) != sorted(map(sorted, loader.plan(1)))


@pytest.mark.parametrize("start", [0, 1, 7, 13])
def test_an_epoch_can_be_taken_up_in_the_middle(start: int) -> None:
    loader = BatchLoader(numbered([1 + i % 7 for i in range(50)]), batch_size=4)
    assert indices(loader.epoch(5, start)) == indices(loader.epoch(5))[start:]


def test_without_shuffling_batches_go_from_short_to_long() -> None:
    loader = BatchLoader(numbered([4, 1, 3, 1, 2]), batch_size=2, shuffle=False)
    assert indices(loader.epoch(0)) == indices(loader.epoch(9)) == [[1, 3], [4, 2], [0]]


def test_blocks_are_sorted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    split = numbered(np.random.default_rng(1).integers(1, 9, size=500).tolist())
    order = np.random.default_rng(2).permutation(500)
    expected = order[np.argsort(split.lengths[order], kind="stable")]
    for block in (1, 7, 100, 500, 1000):
        monkeypatch.setattr(batches, "BLOCK", block)
        found = batches._by_length(order.astype(np.int32), split.lengths)
        assert found.tolist() == expected.tolist()


def test_the_order_of_an_epoch_is_what_it_always_was() -> None:
    lengths = np.random.default_rng(1).integers(1, 9, size=500)
    loader = BatchLoader(numbered(lengths.tolist()), batch_size=8, seed=4)
    random = np.random.default_rng([4, 3])
    shuffled = random.permutation(500)
    parts = np.split(shuffled[np.argsort(lengths[shuffled], kind="stable")], range(8, 500, 8))
    expected = [parts[i].tolist() for i in random.permutation(len(parts))]
    plan = loader.plan(3)
    assert [part.tolist() for part in plan] == expected
    assert [part.tolist() for part in plan[5:9]] == expected[5:9]
    assert plan[-1].tolist() == expected[-1]


def test_little_is_padding_and_batches_come_in_no_order_of_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 21, size=3_000).tolist()
    batches = list(BatchLoader(numbered(lengths)).epoch(0))
    places = sum(batch.input_ids.numel() for batch in batches)
    assert 1 - sum(batch.num_tokens for batch in batches) / places < 0.01
    widths = [batch.input_ids.shape[1] for batch in batches]
    assert sum(left > right for left, right in pairwise(widths)) > len(widths) / 4


def test_what_the_loader_refuses() -> None:
    split = numbered([2, 9])
    with pytest.raises(DataError, match="batch_size or max_tokens must be given, got None for bo"):
        BatchLoader(split, batch_size=None)
    with pytest.raises(DataError, match="batch_size must be at least 1, got 0"):
        BatchLoader(split, batch_size=0)
    with pytest.raises(DataError, match="max_tokens must be at least 1, got -5"):
        BatchLoader(split, max_tokens=-5)
    message = r"max_tokens must be at least 10, the longest sentence \(number 1 of .*\), got 9"
    with pytest.raises(DataError, match=message):
        BatchLoader(split, max_tokens=9)
    loader = BatchLoader(split)
    with pytest.raises(DataError, match="number must be at least 0, got -1"):
        loader.epoch(-1)
    for start in (-1, 2):
        with pytest.raises(DataError, match=rf"start must lie in \[0, 1\], got {start}"):
            loader.epoch(0, start)
