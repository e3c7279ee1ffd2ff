"""Tests of `textvae.batch`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textvae.batch import Batch, collate

IDS = {"bos_id": 2, "eos_id": 3, "pad_id": 0}


def test_inputs_start_with_bos_and_targets_end_with_eos() -> None:
    batch = collate([[7, 8, 9], [5]], [4, 1], **IDS)
    assert batch.input_ids.tolist() == [[2, 7, 8, 9], [2, 5, 0, 0]]
    assert batch.target_ids.tolist() == [[7, 8, 9, 3], [5, 3, 0, 0]]
    assert batch.lengths.tolist() == [4, 2]
    assert batch.indices.tolist() == [4, 1]
    assert (batch.num_sentences, batch.num_tokens) == (2, 6)
    assert {tensor.dtype for tensor in batch} == {torch.int64}


def test_a_truncated_sentence_gets_no_eos() -> None:
    batch = collate([[7, 8, 9], [5, 6], [4]], truncated=[True, False, True], **IDS)
    assert batch.input_ids.tolist() == [[2, 7, 8], [2, 5, 6], [2, 0, 0]]
    assert batch.target_ids.tolist() == [[7, 8, 9], [5, 6, 3], [4, 0, 0]]
    assert batch.lengths.tolist() == [3, 3, 1]


def test_a_sentence_without_ids_is_predicted_as_eos() -> None:
    batch = collate([[], [5]], **IDS)
    assert batch.input_ids.tolist() == [[2, 0], [2, 5]]
    assert batch.target_ids.tolist() == [[3, 0], [5, 3]]
    only = collate([[]], **IDS)
    assert (only.input_ids.tolist(), only.target_ids.tolist()) == ([[2]], [[3]])


def reference(sequences: list[list[int]], truncated: list[bool]) -> tuple[list[list[int]], ...]:
    inputs = [
        [2, *ids][: len(ids) + (not cut)] for ids, cut in zip(sequences, truncated, strict=True)
    ]
    targets = [ids + [3] * (not cut) for ids, cut in zip(sequences, truncated, strict=True)]
    width = max(map(len, targets))
    padded = [[row + [0] * (width - len(row)) for row in rows] for rows in (inputs, targets)]
    return *padded, [len(row) for row in targets]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(4, 50), min_size=1, max_size=9), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_it_equals_a_plain_loop(sentences: list[tuple[list[int], bool]]) -> None:
    sequences, truncated = ([ids for ids, _ in sentences], [cut for _, cut in sentences])
    arrays = [np.array(ids, dtype=np.int32) for ids in sequences]
    batch = collate(arrays, truncated=truncated, **IDS)
    inputs, targets, lengths = reference(sequences, truncated)
    assert batch.input_ids.tolist() == inputs
    assert batch.target_ids.tolist() == targets
    assert batch.lengths.tolist() == lengths


def test_moving_keeps_names_and_does_not_alias_the_caller() -> None:
    indices = np.array([3, 5])
    batch = collate([[7], [8]], indices, **IDS)
    indices[:] = 0
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert {tensor.device.type for tensor in moved} == {"meta"}
    assert batch.indices.tolist() == [3, 5]


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="sequences must hold at least one sentence, got 0"):
        collate([], **IDS)
    with pytest.raises(ValueError, match=r"indices must have one entry for each of 1 .* \(2,\)"):
        collate([[5]], [1, 2], **IDS)
    with pytest.raises(ValueError, match=r"truncated must have one entry .* shape \(0,\)"):
        collate([[5]], truncated=[], **IDS)
    with pytest.raises(ValueError, match="truncated sentence must have ids, sentence 1 has none"):
        collate([[5], []], truncated=[False, True], **IDS)


def test_parts_are_every_nth_row_and_may_be_empty() -> None:
    batch = collate([[5], [6, 7], [8, 9, 7]], **IDS)
    parts = [batch.part(number, 2) for number in range(2)]
    assert [part.indices.tolist() for part in parts] == [[0, 2], [1]]
    assert parts[1].target_ids.tolist() == [[6, 7, 3, 0]]  # as wide as the whole
    assert batch.part(3, 4).num_sentences == 0
