"""Tests of the usual loop's training and evaluation: it computes what textvae does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.scripts.benchmarking import part
from tests.scripts.running import SCRIPTS
from textvae.model import SentenceVAE

SENTENCES = [[5, 6, 7], [8], [9, 10, 11, 12, 5], [], [6, 6]]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


def test_the_loss_is_textvaes_and_another_is_refused(tiny_model: SentenceVAE) -> None:
    usual = part("usual").UsualVAE.like(tiny_model)
    same_loss = part("train").same_loss
    assert " apart" in same_loss(tiny_model, usual, SENTENCES, "fp32")
    assert " apart" in same_loss(tiny_model, usual, SENTENCES, "bf16")
    with torch.no_grad():
        usual.logvar.bias[0] += 0.01
    with pytest.raises(RuntimeError, match="don't do the same: loss"):
        same_loss(tiny_model, usual, SENTENCES, "fp32")


def test_gradients_are_textvaes(tiny_model: SentenceVAE) -> None:
    usual = part("usual")
    model = usual.UsualVAE.like(tiny_model)
    noise = torch.randn(5, 3)
    rec, kl = usual.loss_terms(model, usual.PaddedBatch.of(SENTENCES), noise)
    (rec + kl).backward()

    train = part("train")
    batch = train.collate(SENTENCES)
    terms = train.elbo_terms(*tiny_model(batch, noise))
    (terms.rec + terms.kl).backward()
    expected = dict(tiny_model.named_parameters())
    assert {name for name, _ in model.named_parameters()} == set(expected)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5)


def test_a_step_says_what_it_had_and_learns(tiny_model: SentenceVAE) -> None:
    usual = part("usual")
    model = usual.UsualVAE.like(tiny_model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    batch = usual.PaddedBatch.of(SENTENCES)
    torch.manual_seed(0)
    rec, kl = usual.loss_terms(model, batch, torch.randn(5, 3))
    torch.manual_seed(0)
    first = usual.train_on(model, optimizer, batch, 5.0)
    assert first == pytest.approx((rec.item(), kl.item()))
    for _ in range(30):
        last = usual.train_on(model, optimizer, batch, 5.0)
    assert sum(last) < 0.7 * sum(first)


def test_random_batches_hold_every_sentence_once_padded() -> None:
    batches = list(part("usual").random_batches(SENTENCES, 2))
    assert [len(batch.lengths) for batch in batches] == [2, 2, 1]
    found = []
    for batch in batches:
        assert (
            batch.inputs.shape == batch.targets.shape == (len(batch.lengths), batch.lengths.max())
        )
        for inputs, targets, length in zip(*batch, strict=True):
            assert (inputs[0], targets[length - 1]) == (2, 3)
            assert torch.equal(inputs[1:length], targets[: length - 1])
            assert not inputs[length:].any()
            assert not targets[length:].any()
            found.append(inputs[1:length].tolist())
    assert sorted(found) == sorted(SENTENCES)


def test_importance_weighted_nll_is_textvaes(tiny_model: SentenceVAE) -> None:
    evaluate, subject = part("evaluate"), part("subject")
    sentences = subject.Sentences(SENTENCES, "somewhere")
    num_samples = 120  # no multiple of what is decoded at once
    usual = part("usual").UsualVAE.like(tiny_model)
    found = evaluate.same_noise(usual, SENTENCES, num_samples)
    expected = evaluate.our_estimate(tiny_model, sentences, num_samples, torch.float32)
    assert found == pytest.approx(expected(), rel=1e-5)
    exact = evaluate.same_noise(usual.double(), SENTENCES, num_samples)
    apart = evaluate.differences(expected, lambda: exact)
    assert 0 < apart["mean |Δ|, nats"] <= apart["largest |Δ|, nats"] < 1e-4
    assert evaluate.differences(lambda: [1.0, 5.0], lambda: [2.0, 2.0]) == {
        "mean |Δ|, nats": 2.0,
        "largest |Δ|, nats": 3.0,
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"encoder_cell": "lstm", "pooling": "max"}, "encoder_cell lstm, pooling max"),
        ({"latent_to": "state"}, "latent_to state"),
        ({"decoder_num_layers": 2}, "decoder_num_layers 2"),
    ],
)
def test_other_models_are_refused(
    make_model: Callable[..., SentenceVAE], arguments: dict[str, object], named: str
) -> None:
    with pytest.raises(ValueError, match=f"the usual loop has no model with {named}"):
        part("usual").UsualVAE.like(make_model(**arguments))
