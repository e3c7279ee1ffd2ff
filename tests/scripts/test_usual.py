"""The usual loop computes what textvae does, and so does every rung between the two."""

import math

import pytest
import torch
from benchmarks import inference, train, usual
from torch import Tensor

from textvae import SentenceVAE
from textvae.batches import collate
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID

SENTENCES = [[5, 6, 7], [8], [9, 10, 11, 12, 5], [], [6, 6]]


def test_a_step_is_the_usual_loops(tiny_model, make_model, monkeypatch):
    """Clipped gradients, and with them the step."""
    monkeypatch.setattr(train, "CLIP_NORM", 0.1)
    reference = make_model(tiny_model.vocab_size)
    reference.load_state_dict(tiny_model.state_dict())
    torch.manual_seed(3)
    still = torch.optim.SGD(reference.parameters(), lr=0.5)
    usual.train_on(reference, still, usual.PaddedBatch.of(SENTENCES), 0.1)

    torch.manual_seed(3)
    optimizer = torch.optim.SGD(tiny_model.parameters(), lr=0.5)
    train.train_step(tiny_model, optimizer, collate(SENTENCES))
    expected = dict(reference.named_parameters())
    for name, parameter in tiny_model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-5)


@pytest.fixture
def model(tiny_model: SentenceVAE) -> SentenceVAE:
    """Sentences of it end, some early, some late; padding and BOS never come."""
    inference.silence(tiny_model, PAD_ID, BOS_ID)
    with torch.no_grad():
        tiny_model.decoder.output.bias[EOS_ID] += 2
    return tiny_model


@pytest.fixture
def z(model: SentenceVAE) -> Tensor:
    return torch.randn(40, model.latent_dim, generator=torch.Generator().manual_seed(1))


def test_sampling_loop_draws_from_the_models_distribution(model, z):
    torch.manual_seed(0)
    num = 1000
    found = usual.one_at_a_time(model, z[:1].expand(num, -1), 1, is_random=True)
    with torch.no_grad():
        scores, _ = model.step(torch.tensor([BOS_ID]), model.initial_state(z[:1]), z[:1])
    drawn = torch.bincount(torch.tensor([ids[0] if ids else EOS_ID for ids in found]))
    for share, count in zip(scores[0].softmax(-1).tolist(), drawn.tolist(), strict=False):
        assert abs(count - num * share) <= 5 * math.sqrt(num * share * (1 - share)) + 1e-6
    assert int(drawn.sum()) == num
