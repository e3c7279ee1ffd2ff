"""Tests of `textvae.data.stream`."""

from __future__ import annotations

from itertools import chain
from typing import Any

import datasets
import numpy as np
import pytest

from textvae.batch import Batch
from textvae.data import BatchLoader, DataError, EncodedSplit, StreamLoader
from textvae.tokenizer import Tokenizer

RANDOM = np.random.default_rng(0)
TEXTS = [" ".join(RANDOM.choice(list("abcd"), size)) for size in RANDOM.integers(1, 15, size=230)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS)


def content(batches: Any) -> list[list[Any]]:
    return [[part.tolist() for part in batch] for batch in batches]


def texts_of(batch: Batch, tokenizer: Tokenizer) -> dict[int, str]:
    texts = tokenizer.decode_batch(batch.target_ids.tolist())
    return dict(zip(batch.indices.tolist(), texts, strict=True))


@pytest.mark.parametrize("buffer_size", [1, 50, 230, 10_000])
def test_every_sentence_comes_once_in_its_place(tokenizer: Tokenizer, buffer_size: int) -> None:
    loader = StreamLoader(TEXTS, tokenizer, batch_size=8, buffer_size=buffer_size)
    for epoch in range(2):
        batches = list(loader.epoch(epoch))
        found = list(chain.from_iterable(texts_of(batch, tokenizer).items() for batch in batches))
        assert sorted(found) == list(enumerate(TEXTS))
        assert max(batch.num_sentences for batch in batches) <= 8


def test_a_buffer_of_everything_is_a_batch_loader(tokenizer: Tokenizer) -> None:
    split = EncodedSplit.from_ids(tokenizer.encode_batch(TEXTS), max_length=9)
    options: dict[str, Any] = {"batch_size": None, "max_tokens": 60, "seed": 3}
    loader = StreamLoader(TEXTS, tokenizer, max_length=9, **options)
    for epoch in range(2):
        assert content(loader.epoch(epoch)) == content(BatchLoader(split, **options).epoch(epoch))


def test_batches_are_of_like_length_within_a_buffer(tokenizer: Tokenizer) -> None:
    def padding(buffer_size: int) -> float:
        loader = StreamLoader(TEXTS, tokenizer, batch_size=10, buffer_size=buffer_size)
        batches = list(loader)
        places = sum(batch.input_ids.numel() for batch in batches)
        return 1 - sum(batch.num_tokens for batch in batches) / places

    assert padding(230) < padding(50) < padding(10)


def test_epoch_and_seed_decide_the_order(tokenizer: Tokenizer) -> None:
    def batches(epoch: int, **options: Any) -> list[list[Any]]:
        loader = StreamLoader(TEXTS, tokenizer, batch_size=8, buffer_size=100, **options)
        return content(loader.epoch(epoch))

    assert batches(1) == batches(1)
    assert batches(0) != batches(1)
    assert batches(0) != batches(0, seed=1)
    assert batches(0, shuffle=False) == batches(1, shuffle=False)


@pytest.mark.parametrize("start", [0, 5, 13, 14, 20, 29, 30, 99])
def test_an_epoch_can_be_taken_up_in_the_middle(tokenizer: Tokenizer, start: int) -> None:
    loader = StreamLoader(TEXTS, tokenizer, batch_size=8, buffer_size=100)
    whole = content(loader.epoch(2))
    assert len(whole) == 13 + 13 + 4
    assert content(loader.epoch(2, start)) == whole[start:]


def test_no_more_is_read_than_a_buffer_ahead(tokenizer: Tokenizer) -> None:
    num_read = 0

    def endless() -> Any:
        nonlocal num_read
        while True:
            num_read += 1
            yield "a b c"

    next(iter(StreamLoader(endless(), tokenizer, buffer_size=40)))
    assert num_read == 40


def test_streams_of_the_datasets_library(tokenizer: Tokenizer) -> None:
    rows = datasets.Dataset.from_dict({"body": TEXTS, "n": range(len(TEXTS))})
    stream = rows.to_iterable_dataset().shuffle(seed=1, buffer_size=20)
    loader = StreamLoader(stream, tokenizer, text_field="body", buffer_size=100)
    orders = []
    for epoch in range(2):
        found = dict(
            chain.from_iterable(texts_of(b, tokenizer).items() for b in loader.epoch(epoch))
        )
        orders.append([found[i] for i in range(len(TEXTS))])
        assert sorted(orders[-1]) == sorted(TEXTS)
    assert orders[0] != orders[1]  # set_epoch was called


def test_lines_are_stripped_and_empty_ones_left_out(tokenizer: Tokenizer) -> None:
    (batch,) = StreamLoader(["", " a b \n", "\t", "c"], tokenizer)
    assert texts_of(batch, tokenizer) == {0: "a b", 1: "c"}


def test_what_a_stream_refuses(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="buffer_size must be at least 1, got 0"):
        StreamLoader(TEXTS, tokenizer, buffer_size=0)
    with pytest.raises(DataError, match="batch_size must be at least 1, got 0"):
        StreamLoader(TEXTS, tokenizer, batch_size=0)
    with pytest.raises(DataError, match="max_length must be at least 1, got 0"):
        StreamLoader(TEXTS, tokenizer, max_length=0)
    loader = StreamLoader(TEXTS, tokenizer)
    with pytest.raises(DataError, match="number must be at least 0, got -1"):
        loader.epoch(-1)
    with pytest.raises(DataError, match="start must be at least 0, got -1"):
        loader.epoch(0, -1)
    with pytest.raises(DataError, match="row 2 of the stream has no field 'text'; it has body"):
        list(StreamLoader([{"text": "a"}, {"body": "b"}], tokenizer))
    with pytest.raises(DataError, match="row 1 of the stream must be a string, got 5"):
        list(StreamLoader([5], tokenizer))  # type: ignore[arg-type]
    bad = StreamLoader(["a", "b", "c", "d <eos>"], tokenizer, buffer_size=3)
    with pytest.raises(DataError, match=r"counted from sentence 4: text 1 contains .* <eos>"):
        list(bad)


def test_a_generator_gives_one_epoch(tokenizer: Tokenizer) -> None:
    loader = StreamLoader((text for text in TEXTS), tokenizer)
    assert len(list(loader.epoch(0))) == 8
    with pytest.raises(DataError, match=r"no sentences in epoch 1 \(a generator can be read once"):
        list(loader.epoch(1))
