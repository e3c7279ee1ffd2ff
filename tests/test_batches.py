"""Tests of `textvae.batches`: ids, batches, and the order of an epoch."""

from collections.abc import Iterable
from itertools import chain, pairwise
from pathlib import Path
from unittest.mock import Mock

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textvae import batches
from textvae.batches import Batch, BatchLoader, EncodedSplit, collate, encode_split
from textvae.checks import InputError
from textvae.tokenizer import EOS_ID, Tokenizer

WORDS = ["a b c d e", "a", "b c", "a b c d", "e <unk> zoo"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.train(WORDS[:4])


@pytest.fixture
def dataset(tmp_path: Path) -> datasets.Dataset:
    """On disk, as caches need it."""
    datasets.Dataset.from_dict({"text": WORDS, "label": range(5)}).save_to_disk(tmp_path / "rows")
    return datasets.load_from_disk(tmp_path / "rows")


def sentences(split: EncodedSplit) -> list[list[int]]:
    return [split.sentence(i).tolist() for i in range(len(split))]


def numbered(lengths: list[int]) -> EncodedSplit:
    """Sentences of these many ids; each repeats its own position + 4."""
    return EncodedSplit.from_ids([[i + 4] * length for i, length in enumerate(lengths)])


@pytest.mark.parametrize("rows_at_once", [2, 100])
@pytest.mark.parametrize(
    ("options", "rows", "lengths", "truncated"),
    [
        ({}, [0, 1, 2, 3, 4], [6, 2, 3, 5, 4], []),
        ({"max_length": 5}, [0, 1, 2, 3, 4], [6, 2, 3, 5, 4], []),  # as long as allowed
        ({"max_length": 3}, [0, 1, 2, 3, 4], [3, 2, 3, 3, 4], [0, 3]),  # no false end
        ({"max_length": 3, "too_long": "drop"}, [1, 2, 4], [2, 3, 4], []),
        ({"max_length": 1, "too_long": "drop"}, [1], [2], []),  # nothing of the last rows
    ],
)
def test_sentences_are_encoded_in_order(
    dataset, tokenizer, monkeypatch, rows_at_once, options, rows, lengths, truncated
):
    monkeypatch.setattr("textvae.corpus.splits.ROWS_AT_ONCE", rows_at_once)
    split = encode_split(dataset, tokenizer, **options)
    ids = [tokenizer.encode(WORDS[row])[: options.get("max_length")] for row in rows]
    assert sentences(split) == ids
    assert not split.sentence(0).flags.owndata
    assert split.rows.tolist() == rows
    assert split.lengths.tolist() == lengths
    assert np.flatnonzero(split.truncated).tolist() == truncated
    assert (split.num_sentences, split.num_tokens) == (len(rows), sum(lengths))
    assert split.longest == max(map(len, ids))
    assert (split.num_truncated, split.num_dropped) == (len(truncated), 5 - len(rows))
    with pytest.raises(IndexError):
        split.sentence(len(rows))
    for batch in BatchLoader(split, batch_size=2):
        for row, target, length in zip(batch.indices, batch.target_ids, batch.lengths, strict=True):
            assert (EOS_ID in target.tolist()) == (not split.truncated[row])
            assert (target[length:] == 0).all()


@pytest.mark.parametrize("num_words", [2**16 - 4, 2**16 - 3])
def test_ids_of_large_vocabularies_have_room(num_words):
    tokenizer = Tokenizer.train([" ".join(f"{i:05}" for i in range(num_words))])
    last = datasets.Dataset.from_dict({"text": [f"{num_words - 1:05}"]})
    assert encode_split(last, tokenizer).sentence(0).tolist() == [num_words + 3]


def test_the_cache_knows_texts_tokenizer_and_limits(dataset, tokenizer, monkeypatch):
    encode_split(dataset, tokenizer)
    encode_split(dataset, tokenizer, max_length=2)
    other = Tokenizer.train(["zoo e d c b a"])
    assert sentences(encode_split(dataset, other)) == other.encode_batch(WORDS)

    again = Mock(side_effect=AssertionError("encoded again"))
    monkeypatch.setattr(batches, "_columns", again)
    same = Tokenizer.train(WORDS[:4])
    assert sentences(encode_split(dataset, same)) == same.encode_batch(WORDS)
    assert encode_split(dataset, tokenizer, max_length=2).num_truncated == 3
    for part, limit in ((dataset, 1), (dataset.select([3, 1]), None)):
        with pytest.raises(AssertionError, match="encoded again"):
            encode_split(part, tokenizer, max_length=limit)


def test_a_part_of_a_data_set_is_encoded_in_its_own_order(dataset, tokenizer):
    split = encode_split(dataset.select([3, 0, 1]), tokenizer, max_length=4, too_long="drop")
    assert sentences(split) == tokenizer.encode_batch([WORDS[3], WORDS[1]])
    assert split.rows.tolist() == [0, 2]


def test_what_encoding_refuses(dataset, tokenizer):
    reserved = datasets.Dataset.from_dict({"text": ["a", "b <bos>"]})
    for rows, options, message in (
        (dataset, {"max_length": 0}, "max_length must be at least 1, got 0"),
        (dataset, {"too_long": "wrap"}, "too_long must be one of cut, drop, got 'wrap'"),
        (dataset.select([]), {}, "no sentence is left of 0, with max_length None"),
        (dataset.select([0]), {"max_length": 1, "too_long": "drop"}, "of 1, with max_length 1"),
        (reserved, {}, "text 2 contains the reserved token <bos>, got 'b <bos>'"),
    ):
        with pytest.raises(InputError, match=message):
            encode_split(rows, tokenizer, **options)
    with pytest.raises(InputError, match="sequences must hold at least one sentence, got none"):
        EncodedSplit.from_ids([])


def indices(given: Iterable[Batch]) -> list[list[int]]:
    return [batch.indices.tolist() for batch in given]


lengths_lists = st.lists(st.integers(1, 12), min_size=1, max_size=60)


@given(lengths_lists, st.integers(1, 9), st.booleans(), st.integers(0, 3))
def test_every_sentence_comes_exactly_once(lengths, batch_size, shuffle, epoch):
    loader = BatchLoader(numbered(lengths), batch_size=batch_size, shuffle=shuffle)
    found = list(loader.epoch(epoch))
    assert len(found) == len(loader) == -(-len(lengths) // batch_size)
    assert sorted(chain.from_iterable(indices(found))) == list(range(len(lengths)))
    assert sum(batch.num_tokens for batch in found) == loader.num_tokens
    assert loader.num_sentences == len(lengths)
    for batch in found:
        for row, index in enumerate(batch.indices.tolist()):
            assert batch.lengths[row] == lengths[index] + 1
            ids = [index + 4] * lengths[index]
            assert batch.target_ids[row, : lengths[index] + 1].tolist() == [*ids, EOS_ID]


@given(lengths_lists, st.integers(13, 60), st.none() | st.integers(1, 9))
def test_a_token_budget_counts_padding(lengths, max_tokens, batch_size):
    loader = BatchLoader(numbered(lengths), batch_size=batch_size, max_tokens=max_tokens)
    for epoch in range(2):
        found = list(loader.epoch(epoch))
        assert len(found) == len(loader)
        assert sorted(chain.from_iterable(indices(found))) == list(range(len(lengths)))
        for batch in found:
            assert batch.input_ids.numel() <= max_tokens
            assert batch_size is None or batch.num_sentences <= batch_size


def test_a_token_budget_is_used_up_and_the_last_batch_kept():
    split = numbered([3] * 10 + [7] * 4)
    plan = BatchLoader(split, batch_size=None, max_tokens=16, shuffle=False).plan(0)
    assert [len(part) for part in plan] == [4, 4, 2, 2, 2]
    plan = BatchLoader(split, batch_size=4, shuffle=False).plan(0)
    assert [len(part) for part in plan] == [4, 4, 4, 2]


def test_seed_and_epoch_alone_decide_the_order():
    split = numbered([1 + i % 7 for i in range(50)])
    loader = BatchLoader(split, batch_size=4, seed=3)
    first = indices(loader.epoch(1))
    assert indices(iter(loader)) == indices(loader.epoch(0))
    assert indices(loader.epoch(1)) == first
    assert indices(BatchLoader(split, batch_size=4, seed=3).epoch(1)) == first
    assert indices(BatchLoader(split, batch_size=4, seed=4).epoch(1)) != first
    assert set(map(frozenset, first)) != set(map(frozenset, indices(loader.epoch(2))))
    for start in (0, 1, 7, 13):  # in the middle
        assert indices(loader.epoch(1, start)) == first[start:]


def test_without_shuffling_batches_go_from_short_to_long():
    loader = BatchLoader(numbered([4, 1, 3, 1, 2]), batch_size=2, shuffle=False)
    assert indices(loader.epoch(0)) == indices(loader.epoch(9)) == [[1, 3], [4, 2], [0]]


def test_the_order_of_an_epoch_is_what_it_always_was():
    lengths = np.random.default_rng(1).integers(1, 9, size=500)
    loader = BatchLoader(numbered(lengths.tolist()), batch_size=8, seed=4)
    random = np.random.default_rng([4, 3])
    shuffled = random.permutation(500)
    parts = np.split(shuffled[np.argsort(lengths[shuffled], kind="stable")], range(8, 500, 8))
    expected = [parts[i].tolist() for i in random.permutation(len(parts))]
    plan = loader.plan(3)
    assert [part.tolist() for part in plan] == expected


def test_little_is_padding_and_batches_come_in_no_order_of_length():
    lengths = np.random.default_rng(0).integers(5, 21, size=3_000).tolist()
    found = list(BatchLoader(numbered(lengths)).epoch(0))
    places = sum(batch.input_ids.numel() for batch in found)
    assert 1 - sum(batch.num_tokens for batch in found) / places < 0.01
    widths = [batch.input_ids.shape[1] for batch in found]
    assert sum(left > right for left, right in pairwise(widths)) > len(widths) / 4


def test_what_the_loader_refuses():
    for options, message in (
        ({"batch_size": None}, "batch_size or max_tokens must be given, got None for both"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"max_tokens": 9}, "max_tokens, for the longest sentence, must be at least 10, got 9"),
    ):
        with pytest.raises(InputError, match=message):
            BatchLoader(numbered([2, 9]), **options)
    loader = BatchLoader(numbered([2, 9]))
    with pytest.raises(InputError, match="number must be at least 0, got -1"):
        loader.epoch(-1)
    for start in (-1, 2):
        with pytest.raises(InputError, match=rf"start must be .* and at most 1, got {start}"):
            loader.epoch(0, start)


def test_inputs_start_with_bos_and_targets_end_with_eos():
    batch = collate([[7, 8, 9], [5], []], [4, 1, 0])
    assert batch.input_ids.tolist() == [[2, 7, 8, 9], [2, 5, 0, 0], [2, 0, 0, 0]]
    assert batch.target_ids.tolist() == [[7, 8, 9, 3], [5, 3, 0, 0], [3, 0, 0, 0]]
    assert batch.lengths.tolist() == [4, 2, 1]
    assert batch.indices.tolist() == [4, 1, 0]
    assert (batch.num_sentences, batch.num_tokens) == (3, 7)
    assert {tensor.dtype for tensor in batch} == {torch.int64}


@given(
    st.lists(
        st.tuples(st.lists(st.integers(4, 50), min_size=1, max_size=9), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_collate_equals_a_plain_loop(sentences):
    sequences, truncated = ([ids for ids, _ in sentences], [cut for _, cut in sentences])
    batch = collate([np.array(ids, dtype=np.int32) for ids in sequences], truncated=truncated)
    targets = [ids + [3] * (not cut) for ids, cut in sentences]
    inputs = [[2, *target[:-1]] for target in targets]
    width = max(map(len, targets))
    for found, rows in ((batch.input_ids, inputs), (batch.target_ids, targets)):
        assert found.tolist() == [row + [0] * (width - len(row)) for row in rows]
    assert batch.lengths.tolist() == [len(row) for row in targets]


def test_moving_keeps_names_and_does_not_alias_the_caller():
    indices = np.array([3, 5])
    batch = collate([[7], [8]], indices)
    indices[:] = 0
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert {tensor.device.type for tensor in moved} == {"meta"}
    assert batch.indices.tolist() == [3, 5]


def test_what_collate_refuses():
    for sentences, options, message in (
        ([], {}, "sequences must hold at least one sentence, got 0"),
        ([[5]], {"indices": [1, 2]}, r"indices must have one entry for each of 1 .* \(2,\)"),
        ([[5]], {"truncated": []}, r"truncated must have one entry .* shape \(0,\)"),
        ([[]], {"truncated": [True]}, "truncated sentences must have ids, number 0 has none"),
    ):
        with pytest.raises(InputError, match=message):
            collate(sentences, **options)
