"""Auxiliary losses: the bag of words by hand, and its place in a model."""

import math

import pytest
import torch

from tests.draws import draws
from textvae.batches import collate
from textvae.checks import InputError
from textvae.config import ModelConfig
from textvae.losses import split_gradient
from textvae.model.auxiliary import MMD, BagOfWords
from textvae.tokenizer import EOS_ID


def bag(vocab_size: int = 6) -> BagOfWords:
    return BagOfWords(vocab_size, ModelConfig(latent_dim=1, decoder_hidden_size=1))


def test_it_is_the_nll_of_a_sentences_words_by_hand():
    loss = bag()
    with torch.no_grad():
        loss.hidden.weight.fill_(2.0), loss.hidden.bias.fill_(-1.0)
        loss.output.weight.copy_(torch.arange(6.0)[:, None]), loss.output.bias.zero_()
    z = torch.tensor([[0.3], [0.8]])
    found = loss(collate([[4, 5, 5], [4]]), z)
    expected = []
    for code, words in ((0.3, [4, 5, 5, EOS_ID]), (0.8, [4, EOS_ID])):
        scores = [word * math.tanh(2 * code - 1) for word in range(6)]
        log_sum = math.log(sum(math.exp(score) for score in scores))
        expected.append(sum(log_sum - scores[word] for word in words))
    assert found.tolist() == pytest.approx(expected)


def test_order_does_not_matter_and_padding_does_not_count():
    torch.manual_seed(0)
    loss, z = bag(9), torch.randn(1, 1)
    alone = loss(collate([[4, 5, 8]]), z)
    torch.testing.assert_close(loss(collate([[8, 4, 5]]), z), alone)
    beside = loss(collate([[4, 5, 8], [6] * 7]), z.repeat(2, 1))
    torch.testing.assert_close(beside[:1], alone)
    many = loss(collate([[4, 5, 8]]), torch.stack([z, z + 1]))
    assert many.shape == (2, 1)
    torch.testing.assert_close(many[0], alone)


def test_mmd_is_that_of_a_double_loop_and_many_draws():
    mmd, z, prior = MMD(6, ModelConfig(latent_dim=3)), 1.5 * draws(4, 3), draws(3000, 3, seed=1)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return 6 / (6 + (a - b).square().sum(-1))

    of_prior = (kernel(prior[:, None], prior).sum() - 3000) / (3000 * 2999)
    batch, expected = collate([[5]] * 4), []
    for i in range(4):
        pairs = [kernel(z[i], z[j]) for j in range(4) if j != i]
        expected.append(sum(pairs) / 3 - 2 * kernel(z[i], prior).mean() + of_prior)
    torch.testing.assert_close(mmd(batch, z), torch.stack(expected), rtol=0, atol=0.01)
    torch.testing.assert_close(mmd(batch, torch.stack([z + 1, z]))[1], mmd(batch, z))
    many = mmd(batch, draws(2000, 3, seed=2))  # the prior's own: nothing but chance
    assert abs(many.mean().item()) < 0.001 < mmd(batch, 0.5 + draws(2000, 3, seed=2)).mean().item()
    assert mmd(batch, z[:1]).isfinite()  # no pair


def test_mmd_pulls_codes_that_are_far_from_the_prior():
    mmd, prior = MMD(6, ModelConfig(latent_dim=2)), draws(4000, 2, seed=1)
    z = torch.full((1, 2), 20.0, requires_grad=True)
    mmd(collate([[5]]), z).sum().backward()
    expected = z.detach().clone().requires_grad_()
    (-2 * (4 / (4 + (expected - prior).square().sum(-1))).mean()).backward()
    torch.testing.assert_close(z.grad, expected.grad, rtol=0.02, atol=0)


def test_a_model_has_it_by_its_option_and_in_training_alone(make_model):
    model, batch = make_model(bag_of_words=0.25), collate([[5, 6], [7]])
    assert model.term_weights == {"bag_of_words": 0.25}
    assert list(model.train()(batch).terms) == ["rec", "bag_of_words"]
    assert list(model.eval()(batch).terms) == ["rec"]
    assert make_model(bag_of_words=0.5, words_only=True).term_weights["rec"] == 0
    with pytest.raises(InputError, match="words_only needs bag_of_words above 0 and a z"):
        make_model(words_only=True)
    assert not make_model().term_weights
    assert not make_model(latent_dim=0, bag_of_words=0.25).term_weights


def test_each_terms_gradient_by_several_codes(make_model):
    model, batch = make_model(bag_of_words=0.25).train(), collate([[5, 6], [7]])
    out, weight = model(batch, draws(4, 2, 3)), model.head.logvar.weight
    assert list(out.terms) == ["rec", "bag_of_words", "log_ratio"]
    assert {term.shape for term in out.terms.values()} == {(4, 2)}
    log_ratio, words = out.terms["log_ratio"].sum(), out.terms["bag_of_words"].sum()
    torch.testing.assert_close(log_ratio, out.posterior.log_ratio(out.z).sum())
    (d_z,) = torch.autograd.grad(log_ratio, out.z, retain_graph=True)
    given = (log_ratio, None), (out.z, d_z), (words, None)
    both = [torch.autograd.grad(of, weight, by, retain_graph=True)[0] for of, by in given]
    torch.testing.assert_close(both[0], both[1])  # not by the posterior's parameters
    split_gradient(out.terms["rec"], out.z, "bound")  # which auxiliary losses don't read
    assert torch.autograd.grad(words, weight)[0].equal(both[2])
