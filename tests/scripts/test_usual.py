"""The usual loop computes what textvae does, and so does every rung between the two."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import inference, models, train, usual
from torch import Tensor

from textvae import Batch, SentenceVAE
from textvae.batches import collate
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID

SENTENCES = [[5, 6, 7], [8], [9, 10, 11, 12, 5], [], [6, 6]]


@pytest.fixture
def vae(tiny_model: SentenceVAE, monkeypatch: pytest.MonkeyPatch) -> SentenceVAE:
    """What benchmarks take for a model."""
    monkeypatch.setattr(models, "new_model", lambda: tiny_model)
    return tiny_model


@pytest.mark.parametrize("precision", models.PRECISIONS)
def test_the_loss_is_the_usual_loops_and_another_is_refused(
    vae: SentenceVAE, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    assert " apart" in train.same_loss(SENTENCES, precision)
    terms = train.our_terms
    monkeypatch.setattr(train, "our_terms", lambda *given: [1.1 * term for term in terms(*given)])
    with pytest.raises(RuntimeError, match="don't do the same: loss"):
        train.same_loss(SENTENCES, precision)


def test_a_step_is_the_usual_loops(
    tiny_model: SentenceVAE, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize("rung", range(len(train.RUNGS)))
def test_a_rung_has_what_it_is_named_after(
    vae: SentenceVAE, rung: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = dict[str, Any]()

    def step(*given: Any, **options: Any) -> None:
        seen["fused"] = bool(given[1].defaults["fused"])
        seen["like length"] = isinstance(given[2], Batch)
        seen["precision"] = options.get("precision", torch.float32)

    @contextlib.contextmanager
    def full_speed(device: torch.device) -> Iterator[None]:
        seen["full speed"] = True
        yield

    monkeypatch.setattr(usual, "train_on", step)
    monkeypatch.setattr(train, "train_step", step)
    monkeypatch.setattr(train, "full_speed", full_speed)
    sentences = [ids for ids in SENTENCES for _ in range(3)]
    done = train.rung_steps(sentences, 2, rung)
    assert 0 < done.amount < sum(len(ids) + 1 for ids in sentences)
    assert seen.pop("precision") == (torch.bfloat16 if rung == 4 else torch.float32)
    assert seen.pop("full speed", False) == (rung >= 3)
    assert seen == {"fused": rung >= 2, "like length": rung >= 1}


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


def test_sampling_loop_draws_from_the_models_distribution(model: SentenceVAE, z: Tensor) -> None:
    torch.manual_seed(0)
    num = 1000
    found = usual.one_at_a_time(model, z[:1].expand(num, -1), 1, is_random=True)
    with torch.no_grad():
        scores, _ = model.step(torch.tensor([BOS_ID]), model.initial_state(z[:1]), z[:1])
    drawn = torch.bincount(torch.tensor([ids[0] if ids else EOS_ID for ids in found]))
    for share, count in zip(scores[0].softmax(-1).tolist(), drawn.tolist(), strict=False):
        assert abs(count - num * share) <= 5 * math.sqrt(num * share * (1 - share)) + 1e-6
    assert int(drawn.sum()) == num


@torch.no_grad()
def test_the_likeliest_words_one_by_one_are_the_greedy_sentences(
    model: SentenceVAE, z: Tensor
) -> None:
    greedy = inference.our_ids(model, z, "greedy", 12)
    assert greedy == usual.one_at_a_time(model, z, 12, is_random=False)


def test_the_usual_way_of_reading(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("b a b\n\n<unk> a\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("c a\n", encoding="utf-8")
    ids, vocabulary = usual.read(tmp_path)
    assert vocabulary == {"<pad>": 0, "<unk>": 1, "<bos>": 2, "<eos>": 3, "b": 4, "a": 5}
    assert ids == {"train": [[4, 5, 4], [], [1, 5]], "test": [[1, 5]]}
