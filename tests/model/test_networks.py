"""Encoder and decoder against loops over sentences, token by token."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.draws import drawn_anew, draws
from tests.model.conftest import rows_of, widened
from textvae.batches import Batch, collate
from textvae.config import ModelConfig
from textvae.model import Decoder, Encoder
from textvae.model.networks import CELLS
from textvae.tokenizer import BOS_ID, PAD_ID, UNK_ID

POOLINGS = ("last", "mean", "max")

IDS = [[5, 6, 7, 3], [8, 3], [3], [9, 4, 4, 9, 5, 3], [6, 5, 3], [7, 8]]


@pytest.fixture(params=itertools.product(CELLS, (1, 2), (False, True), POOLINGS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """One of each kind, with large weights, and an embedding of padding that a leak would carry."""
    names = ("encoder_cell", "encoder_num_layers", "bidirectional", "pooling")
    kind = dict(zip(names, request.param, strict=True))
    return drawn_anew(Encoder(10, ModelConfig(embedding_dim=4, encoder_hidden_size=3, **kind)))


def padded(sentences: list[list[int]], width: int | None = None) -> tuple[Tensor, Tensor]:
    width = width or max(map(len, sentences))
    rows = [ids + [0] * (width - len(ids)) for ids in sentences]
    return torch.tensor(rows), torch.tensor([len(ids) for ids in sentences])


def by_hand(encoder: Encoder, sentence: list[int]) -> Tensor:
    """One sentence alone, without padding, pooled from what PyTorch itself calls the states."""
    outputs, states = encoder.rnn(encoder.embedding(torch.tensor([sentence])))
    if encoder.pooling == "mean":
        return outputs[0].mean(0)
    if encoder.pooling == "max":
        return outputs[0].amax(0)
    final = states[0] if isinstance(states, tuple) else states  # (layers · directions, 1, H)
    directions = 2 if encoder.bidirectional else 1
    return torch.cat([final[-directions + d, 0] for d in range(directions)])


def test_the_encoder_equals_a_loop_over_sentences(encoder):
    """Whatever padding, neighbours and order."""
    assert encoder.output_size == (6 if encoder.bidirectional else 3)
    expected = torch.stack([by_hand(encoder, ids) for ids in IDS])
    for order, width in ([0, 1, 2, 3, 4, 5], None), ([4, 2, 0, 5, 3, 1, 4], 12):
        pooled = encoder(*padded([IDS[i] for i in order], width))
        torch.testing.assert_close(pooled, expected[order])
    assert torch.pdist(expected).min() > 1e-3, "sentences must differ for a mix-up to show"


def decoder(vocab_size: int = 10, latent_dim: int = 3, **arguments: Any) -> Decoder:
    """One with large weights, and an embedding of padding that a leak would carry."""
    of_decoder = {"cell", "num_layers", "hidden_size"}
    own = {f"decoder_{n}" if n in of_decoder else n: value for n, value in arguments.items()}
    sizes = {"latent_dim": latent_dim, "embedding_dim": 5, "decoder_hidden_size": 4}
    still = {"embedding_dropout": 0.0, "output_dropout": 0.0}
    return drawn_anew(Decoder(vocab_size, ModelConfig(**{**sizes, **still, **own}))).eval()


@pytest.fixture(params=itertools.product(CELLS, (1, 2), ("state", "input", "both", "skip")))
def model(request: pytest.FixtureRequest) -> Decoder:
    """One of each kind."""
    cell, layers, latent_to = request.param
    return decoder(cell=cell, num_layers=layers, latent_to=latent_to)


@pytest.fixture
def z() -> Tensor:
    """Codes of the batch's sentences."""
    return draws(5, 3, seed=1)


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


def test_teacher_forcing_equals_decoding_step_by_step(model, batch, z):
    log_p = model.log_likelihood(batch, z)
    assert log_p.tolist() == pytest.approx(step_by_step(model, batch, z), rel=1e-5)
    assert (log_p < 0).all()
    # Neither padding nor neighbours nor order matter.
    torch.testing.assert_close(model.log_likelihood(widened(batch), z), log_p)
    for rows in ([4, 2, 0, 3, 1], [0, 0, 3, 3, 1, 2, 4]):
        torch.testing.assert_close(model.log_likelihood(rows_of(batch, rows), z[rows]), log_p[rows])


@pytest.mark.parametrize(
    ("cell", "latent_dim", "latent_to"),
    [("lstm", 2, "both"), ("gru", 2, "state"), ("lstm", 2, "input"), ("lstm", 0, "both")],
)
@pytest.mark.parametrize("longest", [1, 4])
def test_all_probabilities_sum_to_one(cell, latent_dim, latent_to, longest):
    # A decoder that saw its target, or the end, or counted one token too many, would not be a
    # distribution. Sentences that have not ended after `longest` tokens count as prefixes.
    model = decoder(5, latent_dim, cell=cell, latent_to=latent_to)
    symbols = [PAD_ID, UNK_ID, BOS_ID, 4]
    ended = [ids for n in range(longest) for ids in itertools.product(symbols, repeat=n)]
    prefixes = list(itertools.product(symbols, repeat=longest))
    cut = [False] * len(ended) + [True] * len(prefixes)
    batch = collate(ended + prefixes, truncated=cut)
    log_p = model.log_likelihood(batch, draws(1, latent_dim).expand(len(cut), -1))
    assert log_p.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_p[~torch.tensor(cut)].exp().sum() < 0.999, "prefixes must matter"


def test_many_codes_of_each_sentence_equal_a_loop_over_samples(model, batch):
    z = draws(4, 5, 3)
    log_p = model.log_likelihood(batch, z)
    assert log_p.shape == (4, 5)
    torch.testing.assert_close(log_p, torch.stack([model.log_likelihood(batch, one) for one in z]))
    torch.testing.assert_close(model.log_likelihood(batch, z[:1])[0], log_p[0])
    assert log_p.std(0).min() > 1e-4, "codes must differ for a mix-up to show"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("latent_to", "latent_dim", "in_state", "in_steps"),
    [
        ("state", 3, True, False),
        ("input", 3, False, True),
        ("both", 3, True, True),
        ("skip", 3, True, True),
        ("both", 0, False, False),  # a language model
        ("skip", 0, False, False),
    ],
)
def test_z_enters_where_it_is_sent(cell, latent_to, latent_dim, in_state, in_steps):
    model = decoder(latent_dim=latent_dim, cell=cell, latent_to=latent_to, num_layers=2)
    z, other = draws(2, latent_dim), draws(2, latent_dim, seed=2)
    state = model.initial_state(z)
    assert [part.shape for part in state] == [(2, 2, 4)] * (2 if cell == "lstm" else 1)  # (L, B, H)
    same = all(a.equal(b) for a, b in zip(state, model.initial_state(other), strict=True))
    assert same is not in_state
    assert all((part == 0).all() for part in state) is not in_state

    ids = torch.tensor([5, 6])
    scores, after = model.step(ids, state, z)
    assert scores.shape == (2, 10)
    assert [part.shape for part in after] == [part.shape for part in state]
    assert model.step(ids, state, other)[0].equal(scores) is not in_steps


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_skips_by_hand(cell):
    model, z, ids = decoder(cell=cell, num_layers=2, latent_to="skip"), draws(2, 3), [5, 6]
    state, below = model.initial_state(z), model.embedding(torch.tensor(ids))
    for layer, rnn in enumerate([model.rnn, model.upper[0]]):
        kind = torch.nn.LSTMCell if cell == "lstm" else torch.nn.GRUCell
        by_hand = kind(rnn.input_size, 4)
        by_hand.load_state_dict({k.removesuffix("_l0"): v for k, v in rnn.state_dict().items()})
        begin = [part[layer] for part in state]
        end = by_hand(torch.cat([below, z], 1), tuple(begin) if cell == "lstm" else begin[0])
        below = end[0] if cell == "lstm" else end
    expected = model.output(below + z @ model.latent_to_output.weight.T)
    torch.testing.assert_close(model.step(torch.tensor(ids), state, z)[0], expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_initial_state_is_that_of_the_docstring(cell):
    model, z = decoder(cell=cell, num_layers=2), draws(3, 3)
    state = model.initial_state(z)
    weight, bias = model.latent_to_cell.weight, model.latent_to_cell.bias
    for layer, b in itertools.product(range(2), range(3)):
        units = slice(4 * layer, 4 * layer + 4)
        cells = weight[units] @ z[b] + bias[units]
        torch.testing.assert_close(state[0][layer, b], torch.tanh(cells))
        if cell == "lstm":
            torch.testing.assert_close(state[1][layer, b], cells)


def test_word_dropout_takes_its_share_and_never_bos():
    model = decoder(word_dropout=0.3).train()
    batch, seen = collate([[4, 5, 6, 7, 8, 9] * 10] * 50), read_ids(model)
    torch.manual_seed(0)
    model.log_likelihood(batch, draws(2, 50, 3))
    assert (seen[0][:, 0] == BOS_ID).all()
    words, read = batch.input_ids[:, 1:].repeat(2, 1), seen[0][:, 1:]
    changed = read != words
    assert (read[changed] == UNK_ID).all()
    # 6000 words, standard deviation 0.006 of the share.
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.03)
    for position in (0, 59):
        assert changed[:, position].float().mean().item() == pytest.approx(0.3, abs=0.2)
    assert not seen[0][0].equal(seen[0][50]), "each sample of a sentence loses its own words"


def test_word_dropout_leaves_targets_and_batch_alone(batch, z):
    model = decoder(word_dropout=1.0).train()
    before = Batch(*(tensor.clone() for tensor in batch))
    log_p = model.log_likelihood(batch, z)
    assert all(now.equal(then) for now, then in zip(batch, before, strict=True))
    blind = torch.full_like(batch.input_ids, UNK_ID)
    blind[:, 0] = BOS_ID
    expected = step_by_step(model, batch._replace(input_ids=blind), z)  # which drops none
    assert log_p.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "which", ["word_dropout", "embedding_dropout", "output_dropout", "recurrent_dropout"]
)
def test_dropout_is_off_outside_training(batch, z, which, layers):
    expected = decoder(num_layers=layers).log_likelihood(batch, z)
    model = decoder(num_layers=layers, **{which: 0.5})
    torch.testing.assert_close(model.log_likelihood(batch, z), expected, rtol=0, atol=0)
    model.train()
    noisy = [model.log_likelihood(batch, z) for _ in range(2)]
    assert not noisy[0].equal(noisy[1])
    assert not noisy[0].equal(expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_weights_are_dropped_for_a_whole_batch(batch, z, cell):
    """Loops with the same weights dropped; the rest are as much larger, the gradients likewise."""
    model, still = (decoder(cell=cell, recurrent_dropout=p, num_layers=2) for p in (0.5, 0.0))
    torch.manual_seed(0)
    log_p = model.train().log_likelihood(batch, z)
    torch.manual_seed(0)
    for name, weights in still.named_parameters():
        if "weight_hh" in name:
            kept = torch.nn.functional.dropout(torch.ones_like(weights), 0.5)
            assert 0 < kept.count_nonzero() < kept.numel()
            weights.data *= kept
    expected = step_by_step(still, batch, z)
    assert log_p.tolist() == pytest.approx(expected, rel=1e-5)
    log_p.sum().backward()
    assert not model.rnn.weight_hh_l0.grad[still.rnn.weight_hh_l0 == 0].any()
    assert model.rnn.weight_hh_l0.grad[still.rnn.weight_hh_l0 != 0].all()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_locked_dropout_drops_the_same_at_all_tokens_of_a_sentence(batch, z, cell):
    """After each layer, too; without dropout it is the plain decoder."""
    locked = {"locked_dropout": True, "embedding_dropout": 0.5, "output_dropout": 0.5}
    model, plain = (decoder(cell=cell, num_layers=2, **own) for own in (locked, {}))
    renamed = {
        n.replace("upper.0.", "rnn.").replace("_l0", "_l1"): w
        for n, w in model.upper.state_dict(prefix="upper.").items()
    }
    rest = {n: w for n, w in model.state_dict().items() if not n.startswith("upper.")}
    plain.load_state_dict(rest | renamed)
    torch.testing.assert_close(model.log_likelihood(batch, z), plain.log_likelihood(batch, z))
    seen: list[Tensor] = []
    for dropout in (model.embedding_dropout, model.output_dropout):
        dropout.register_forward_hook(lambda *call: seen.append(call[2] / call[1][0]))
    torch.manual_seed(0)
    model.train().log_likelihood(collate([[4, 5, 6]] * 300), draws(300, 3))
    assert len(seen) == 3
    for kept in seen:
        assert kept.unique().tolist() == pytest.approx([0, 2])
        assert kept.equal(kept[:, :1].expand_as(kept))
        assert kept[:, 0].mean().item() == pytest.approx(1, abs=0.15)
        assert len(kept[:, 0].unique(dim=0)) > 8, "each sentence has its own"


def test_tied_embeddings_of_another_width_are_reached_by_a_projection(batch, z):
    model = decoder(tied_embeddings=True)
    assert model.projection.weight.shape == (5, 4)
    assert model.output.weight is model.embedding.weight
    scores = model.output.weight @ model.projection.weight
    plain = decoder()
    plain.load_state_dict(
        {n: w for n, w in model.state_dict().items() if n != "projection.weight"}
        | {"output.weight": scores}
    )
    torch.testing.assert_close(model.log_likelihood(batch, z), plain.log_likelihood(batch, z))
