"""Choosing by the next token's scores, in fp32 and with the product in bf16."""

import pytest
import torch

from textvae.generation.scores import NUM_EXACT, Scores, choose_next
from textvae.losses import tokens
from textvae.model import SentenceVAE

VOCABULARY = 3000


def model_and_hidden() -> tuple[SentenceVAE, torch.Tensor]:
    torch.manual_seed(0)
    model = SentenceVAE(VOCABULARY, latent_dim=4, embedding_dim=8, decoder_hidden_size=64).eval()
    torch.nn.init.normal_(model.decoder.output.weight)
    return model, torch.randn(50, 64)


def next_log_probs(model: SentenceVAE, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return choose_next(model, hidden, weight, lambda scores: (scores.of_all.log_softmax(-1),))[0]


def test_they_are_the_log_softmax_of_the_output_layer() -> None:
    model, hidden = model_and_hidden()
    with torch.no_grad():
        found = next_log_probs(model, hidden, model.decoder.output.weight)
        expected = model.decoder.output(hidden).log_softmax(-1)
    torch.testing.assert_close(found, expected)


def test_the_likeliest_are_exact_whatever_the_precision_of_the_product() -> None:
    model, hidden = model_and_hidden()
    with torch.no_grad():
        found = next_log_probs(model, hidden, model.decoder.output.weight.bfloat16())
        exact = model.decoder.output(hidden).log_softmax(-1)
    values, ids = exact.topk(NUM_EXACT // 2)
    torch.testing.assert_close(found.gather(1, ids), values, atol=2e-2, rtol=0)
    likeliest = ids[:, :1]
    gaps = found.gather(1, likeliest) - found.gather(1, ids)
    torch.testing.assert_close(gaps, values[:, :1] - values, atol=1e-4, rtol=0)
    rest = (found - exact).abs()
    assert 1e-3 < rest.max() < 0.3  # rounded, all the same
    torch.testing.assert_close(found.logsumexp(1), torch.zeros(50), atol=1e-5, rtol=0)


def test_parts_come_in_order_and_are_no_larger_than_what_a_cache_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, hidden = model_and_hidden()
    monkeypatch.setattr(tokens, "CACHED_SCORES", 20 * VOCABULARY)
    seen = []

    def choose(scores: Scores) -> tuple[torch.Tensor, ...]:
        assert scores.likeliest is None
        seen.append((scores.part.start, len(scores.of_all)))
        return scores.of_all.argmax(-1), hidden[scores.part]

    with torch.no_grad():
        ids, same = choose_next(model, hidden, model.decoder.output.weight, choose)
        expected = model.decoder.output(hidden).argmax(-1)
    assert seen == [(0, 20), (20, 20), (40, 10)]
    assert torch.equal(ids, expected)
    assert torch.equal(same, hidden)
