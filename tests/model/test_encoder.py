"""Tests of `textvae.model.encoder`."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from textvae.config import ModelConfig
from textvae.model.networks import CELLS, Encoder, token_mask

POOLINGS = ("last", "mean", "max")

SENTENCES = [[5, 6, 7, 3], [8, 3], [3], [9, 4, 4, 9, 5, 3], [6, 5, 3], [7, 8]]


@pytest.fixture(params=itertools.product(CELLS, (1, 2), (False, True), POOLINGS))
def model(request: pytest.FixtureRequest) -> Encoder:
    """One of each kind, with large weights, and an embedding of padding that a leak would carry."""
    names = ("encoder_cell", "encoder_num_layers", "bidirectional", "pooling")
    kind = dict(zip(names, request.param, strict=True))
    made = Encoder(10, ModelConfig(embedding_dim=4, encoder_hidden_size=3, **kind))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.8, generator=generator)
    return made


def padded(sentences: list[list[int]], width: int | None = None) -> tuple[Tensor, Tensor]:
    width = width or max(map(len, sentences))
    rows = [ids + [0] * (width - len(ids)) for ids in sentences]
    return torch.tensor(rows), torch.tensor([len(ids) for ids in sentences])


def by_hand(model: Encoder, sentence: list[int]) -> Tensor:
    """One sentence alone, without padding, pooled from what PyTorch itself calls the states."""
    outputs, states = model.rnn(model.embedding(torch.tensor([sentence])))
    if model.pooling == "mean":
        return outputs[0].mean(0)
    if model.pooling == "max":
        return outputs[0].amax(0)
    final = states[0] if isinstance(states, tuple) else states  # (layers · directions, 1, H)
    directions = 2 if model.bidirectional else 1
    return torch.cat([final[-directions + d, 0] for d in range(directions)])


def test_it_equals_a_loop_over_sentences(model: Encoder) -> None:
    pooled = model(*padded(SENTENCES))
    assert pooled.shape == (len(SENTENCES), model.output_size)
    assert model.output_size == (6 if model.bidirectional else 3)
    torch.testing.assert_close(pooled, torch.stack([by_hand(model, ids) for ids in SENTENCES]))
    assert torch.pdist(pooled).min() > 1e-3, "sentences must differ for a mix-up to show"


def test_neither_padding_nor_neighbours_nor_order_matter(model: Encoder) -> None:
    pooled = model(*padded(SENTENCES))
    torch.testing.assert_close(model(*padded(SENTENCES, width=12)), pooled)
    torch.testing.assert_close(model(*padded(SENTENCES * 2)), pooled.repeat(2, 1))
    order = [4, 2, 0, 5, 3, 1]
    torch.testing.assert_close(model(*padded([SENTENCES[i] for i in order])), pooled[order])


def test_gradients_stay_within_the_sentence(model: Encoder) -> None:
    ids, lengths = padded(SENTENCES)
    embedded: list[Tensor] = []
    model.embedding.register_forward_hook(lambda _m, _i, out: embedded.append(out))
    pooled = model(ids, lengths)
    for row in range(len(SENTENCES)):
        (gradient,) = torch.autograd.grad(pooled[row].sum(), embedded, retain_graph=True)
        read = gradient.abs().sum(-1) > 0  # (B, T)
        alone = torch.zeros_like(read)
        alone[row] = token_mask(lengths, ids.shape[1])[row]
        if model.pooling == "max":  # a token no unit takes its maximum from may do without, if last
            assert not (read & ~alone).any()
            assert read[row].any()
        else:
            assert read.equal(alone)


def test_the_mask_is_true_at_real_tokens() -> None:
    assert token_mask(torch.tensor([2, 0, 3]), 3).tolist() == [
        [True, True, False],
        [False, False, False],
        [True, True, True],
    ]
