"""Tests of `textvae.model.decoder`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from textvae.batches import Batch
from textvae.model import Decoder

PAD, UNK, BOS, EOS = range(4)
SENTENCES = [[5, 6, 7, 4], [8], [], [9, 4, 4, 9, 5, 6], [6, 5]]
TRUNCATED = [False, False, False, True, False]

MakeBatch = Callable[..., Batch]

KINDS = list(itertools.product(("lstm", "gru"), (1, 2), ("state", "input", "both")))
every_kind = pytest.mark.parametrize(("cell", "layers", "latent_to"), KINDS)


def decoder(vocab_size: int = 10, latent_dim: int = 3, seed: int = 0, **arguments: Any) -> Decoder:
    """One with large weights, and an embedding of padding that a leak would carry."""
    sizes = {"embedding_dim": 5, "hidden_size": 4} | arguments
    made = Decoder(vocab_size, latent_dim, **sizes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.8, generator=generator)
    return made.eval()


def codes(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def step_by_step(model: Decoder, batch: Batch, z: Tensor) -> list[float]:
    """Each sentence alone, token by token, in a plain loop."""
    totals = []
    for row, length in enumerate(batch.lengths.tolist()):
        code, total = z[row : row + 1], 0.0
        state = model.initial_state(code)
        for t in range(length):
            scores, state = model.step(batch.input_ids[row, t : t + 1], state, code)
            log_p = scores[0] - scores[0].exp().sum().log()
            total += log_p[batch.target_ids[row, t]].item()
        totals.append(total)
    return totals


def read_ids(model: Decoder) -> list[Tensor]:
    """A list that fills with what the decoder reads."""
    seen: list[Tensor] = []
    model.embedding.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    return seen


@every_kind
def test_teacher_forcing_equals_decoding_step_by_step(
    make_batch: MakeBatch, cell: str, layers: int, latent_to: str
) -> None:
    model = decoder(cell=cell, num_layers=layers, latent_to=latent_to)
    batch, z = make_batch(SENTENCES, truncated=TRUNCATED), codes(len(SENTENCES), 3)
    log_p = model.log_likelihood(batch, z)
    assert log_p.tolist() == pytest.approx(step_by_step(model, batch, z), rel=1e-5)
    assert (log_p < 0).all()


@pytest.mark.parametrize(
    ("cell", "latent_dim", "latent_to"),
    [("lstm", 2, "both"), ("gru", 2, "state"), ("lstm", 2, "input"), ("lstm", 0, "both")],
)
@pytest.mark.parametrize("longest", [1, 4])
def test_probabilities_of_all_sentences_sum_to_one(
    make_batch: MakeBatch, cell: str, latent_dim: int, latent_to: str, longest: int
) -> None:
    # A decoder that saw its target, or the end, or counted one token too many, would not be a
    # distribution. Sentences that have not ended after `longest` tokens count as prefixes.
    model = decoder(5, latent_dim, cell=cell, latent_to=latent_to)
    symbols = [PAD, UNK, BOS, 4]
    ended = [ids for n in range(longest) for ids in itertools.product(symbols, repeat=n)]
    prefixes = list(itertools.product(symbols, repeat=longest))
    cut = [False] * len(ended) + [True] * len(prefixes)
    batch = make_batch(ended + prefixes, truncated=cut)
    log_p = model.log_likelihood(batch, codes(1, latent_dim).expand(len(cut), -1))
    assert log_p.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_p[~torch.tensor(cut)].exp().sum() < 0.999, "prefixes must matter"


def test_a_truncated_sentence_is_scored_without_an_end(make_batch: MakeBatch) -> None:
    model, z = decoder(), codes(1, 3)
    cut = model.log_likelihood(make_batch([[5, 6]], truncated=[True]), z)
    whole = model.log_likelihood(make_batch([[5, 6]]), z)
    state = model.initial_state(z)
    for token in (BOS, 5, 6):
        scores, state = model.step(torch.tensor([token]), state, z)
    end = scores.log_softmax(-1)[0, EOS]
    torch.testing.assert_close(whole - cut, end[None])
    assert end < -0.1


@every_kind
def test_the_past_does_not_depend_on_the_future(
    make_batch: MakeBatch, cell: str, layers: int, latent_to: str
) -> None:
    model = decoder(cell=cell, num_layers=layers, latent_to=latent_to)
    batch, z = make_batch([[5, 6, 7, 8, 9]]), codes(1, 3)
    outputs: list[Tensor] = []
    model.output_dropout.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    original = model.log_likelihood(batch._replace(lengths=torch.tensor([3])), z)
    model.log_likelihood(batch, z)
    for t in range(1, 6):
        inputs, targets = batch.input_ids.clone(), batch.target_ids.clone()
        inputs[0, t:], targets[0, t:] = 4, 4
        changed = batch._replace(input_ids=inputs, target_ids=targets)
        model.log_likelihood(changed, z)
        torch.testing.assert_close(outputs[-1][:, :t], outputs[1][:, :t], rtol=0, atol=1e-6)
        assert t == 5 or (outputs[-1][:, t:] - outputs[1][:, t:]).abs().amax(-1).min() > 1e-4
        if t >= 3:
            first_three = changed._replace(lengths=torch.tensor([3]))
            torch.testing.assert_close(model.log_likelihood(first_three, z), original)


def test_targets_are_never_read(make_batch: MakeBatch) -> None:
    model, batch = decoder(), make_batch(SENTENCES)
    seen = read_ids(model)
    hidden = batch._replace(target_ids=torch.full_like(batch.target_ids, 4))
    model.log_likelihood(hidden, codes(len(SENTENCES), 3))
    assert len(seen) == 1
    assert seen[0].equal(batch.input_ids)


def widened(batch: Batch) -> Batch:
    more = torch.zeros_like(batch.input_ids)
    return batch._replace(
        input_ids=torch.cat([batch.input_ids, more], 1),
        target_ids=torch.cat([batch.target_ids, more], 1),
    )


@every_kind
def test_neither_padding_nor_neighbours_nor_order_matter(
    make_batch: MakeBatch, cell: str, layers: int, latent_to: str
) -> None:
    model = decoder(cell=cell, num_layers=layers, latent_to=latent_to)
    batch, z = make_batch(SENTENCES, truncated=TRUNCATED), codes(len(SENTENCES), 3)
    log_p = model.log_likelihood(batch, z)
    torch.testing.assert_close(model.log_likelihood(widened(batch), z), log_p)
    for order in ([4, 2, 0, 3, 1], [0, 0, 3, 3, 1, 2, 4]):
        chosen = Batch(*(tensor[order] for tensor in batch))
        torch.testing.assert_close(model.log_likelihood(chosen, z[order]), log_p[order])


@every_kind
def test_many_codes_of_each_sentence_equal_a_loop_over_samples(
    make_batch: MakeBatch, cell: str, layers: int, latent_to: str
) -> None:
    model = decoder(cell=cell, num_layers=layers, latent_to=latent_to)
    batch, z = make_batch(SENTENCES), codes(4, len(SENTENCES), 3)
    log_p = model.log_likelihood(batch, z)
    assert log_p.shape == (4, len(SENTENCES))
    torch.testing.assert_close(log_p, torch.stack([model.log_likelihood(batch, one) for one in z]))
    torch.testing.assert_close(model.log_likelihood(batch, z[:1])[0], log_p[0])
    assert log_p.std(0).min() > 1e-4, "codes must differ for a mix-up to show"


def test_a_language_model_takes_samples_too(make_batch: MakeBatch) -> None:
    model, batch = decoder(latent_dim=0), make_batch(SENTENCES)
    log_p = model.log_likelihood(batch, torch.zeros(len(SENTENCES), 0))
    many = model.log_likelihood(batch, torch.zeros(2, len(SENTENCES), 0))
    torch.testing.assert_close(many, log_p.expand(2, -1))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("latent_to", "latent_dim", "in_state", "in_steps"),
    [
        ("state", 3, True, False),
        ("input", 3, False, True),
        ("both", 3, True, True),
        ("both", 0, False, False),  # a language model
    ],
)
def test_z_enters_where_it_is_sent(
    cell: str, latent_to: str, latent_dim: int, in_state: bool, in_steps: bool
) -> None:
    model = decoder(latent_dim=latent_dim, cell=cell, latent_to=latent_to, num_layers=2)
    z, other = codes(2, latent_dim), codes(2, latent_dim, seed=2)
    state = model.initial_state(z)
    assert len(state) == (2 if cell == "lstm" else 1)
    assert {part.shape for part in state} == {(2, 2, 4)}  # (L, B, H)
    same = all(a.equal(b) for a, b in zip(state, model.initial_state(other), strict=True))
    assert same is not in_state
    assert all((part == 0).all() for part in state) is not in_state

    ids = torch.tensor([5, 6])
    scores, after = model.step(ids, state, z)
    assert scores.shape == (2, 10)
    assert [part.shape for part in after] == [part.shape for part in state]
    assert model.step(ids, state, other)[0].equal(scores) is not in_steps


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_initial_state_is_that_of_the_docstring(cell: str) -> None:
    model = decoder(cell=cell, num_layers=2)
    z = codes(3, 3)
    state = model.initial_state(z)
    weight, bias = model.latent_to_cell.weight, model.latent_to_cell.bias
    for layer in range(2):
        units = slice(4 * layer, 4 * layer + 4)
        for b in range(3):
            cells = weight[units] @ z[b] + bias[units]
            torch.testing.assert_close(state[0][layer, b], torch.tanh(cells))
            if cell == "lstm":
                torch.testing.assert_close(state[1][layer, b], cells)


@every_kind
def test_z_gets_a_gradient(make_batch: MakeBatch, cell: str, layers: int, latent_to: str) -> None:
    model = decoder(cell=cell, num_layers=layers, latent_to=latent_to)
    z = codes(len(SENTENCES), 3).requires_grad_()
    log_p = model.log_likelihood(make_batch(SENTENCES), z)
    (gradient,) = torch.autograd.grad(log_p[1], z)
    assert (gradient.abs().amin(1) > 0).tolist() == [False, True, False, False, False]


def test_word_dropout_takes_its_share_and_never_bos(make_batch: MakeBatch) -> None:
    model = decoder(word_dropout=0.3).train()
    batch, seen = make_batch([[4, 5, 6, 7, 8, 9] * 10] * 100), read_ids(model)
    torch.manual_seed(0)
    model.log_likelihood(batch, codes(100, 3))
    assert (seen[0][:, 0] == BOS).all()
    words, read = batch.input_ids[:, 1:], seen[0][:, 1:]
    changed = read != words
    assert (read[changed] == UNK).all()
    # 6000 words, standard deviation 0.006 of the share.
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.03)
    for position in (0, 59):
        assert changed[:, position].float().mean().item() == pytest.approx(0.3, abs=0.2)


def test_each_sample_of_a_sentence_loses_its_own_words(make_batch: MakeBatch) -> None:
    model = decoder(word_dropout=0.5).train()
    seen = read_ids(model)
    model.log_likelihood(make_batch([[4, 5, 6, 7, 8, 9] * 5]), codes(2, 1, 3))
    assert not seen[0][0].equal(seen[0][1])


def test_word_dropout_leaves_targets_and_batch_alone(make_batch: MakeBatch) -> None:
    model = decoder(word_dropout=1.0).train()
    batch, z = make_batch(SENTENCES, truncated=TRUNCATED), codes(len(SENTENCES), 3)
    before = Batch(*(tensor.clone() for tensor in batch))
    log_p = model.log_likelihood(batch, z)
    assert all(now.equal(then) for now, then in zip(batch, before, strict=True))
    blind = torch.full_like(batch.input_ids, UNK)
    blind[:, 0] = BOS
    expected = step_by_step(model.eval(), batch._replace(input_ids=blind), z)
    assert log_p.tolist() == pytest.approx(expected, rel=1e-5)


def test_word_dropout_is_off_outside_training(make_batch: MakeBatch) -> None:
    model = decoder(word_dropout=1.0)
    batch, seen = make_batch(SENTENCES), read_ids(model)
    model.log_likelihood(batch, codes(len(SENTENCES), 3))
    assert seen[0].equal(batch.input_ids)


def test_generation_reads_its_own_words_even_in_training() -> None:
    model, z = decoder(word_dropout=1.0), codes(1, 3)
    state = model.initial_state(z)
    ids = torch.tensor([7])
    torch.testing.assert_close(model.train().step(ids, state, z), model.eval().step(ids, state, z))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("which", ["embedding_dropout", "output_dropout"])
def test_dropout_is_off_outside_training(make_batch: MakeBatch, which: str, layers: int) -> None:
    without = decoder(num_layers=layers)
    model = decoder(num_layers=layers, **{which: 0.5})
    batch, z = make_batch(SENTENCES), codes(len(SENTENCES), 3)
    expected = without.log_likelihood(batch, z)
    torch.testing.assert_close(model.log_likelihood(batch, z), expected, rtol=0, atol=0)
    model.train()
    noisy = [model.log_likelihood(batch, z) for _ in range(2)]
    assert not noisy[0].equal(noisy[1])
    assert not noisy[0].equal(expected)


def test_tied_embeddings_are_one_tensor() -> None:
    model = decoder(embedding_dim=4, hidden_size=4, tied_embeddings=True)
    assert model.output.weight is model.embedding.weight
    assert decoder(embedding_dim=4).output.weight is not decoder(embedding_dim=4).embedding.weight


def test_reduced_precision_changes_little_and_gives_fp32(make_batch: MakeBatch) -> None:
    model, batch, z = decoder(), make_batch(SENTENCES), codes(len(SENTENCES), 3)
    expected = model.log_likelihood(batch, z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_p = model.log_likelihood(batch, z)
    assert log_p.dtype == torch.float32
    torch.testing.assert_close(log_p, expected, rtol=0.05, atol=0.1)
