"""The terms of a batch on one scale; free bits, by hand on docs/losses.md; that page's code."""

import math
import re
from typing import get_args, get_type_hints

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from tests import docs
from tests.draws import draws64
from textvae.config import TrainingConfig
from textvae.losses import (
    FREE_BITS,
    StepTerms,
    free_bits_per_dimension,
    importance_weighted,
    kl_divergence,
    kl_per_dimension,
    objective,
    split_gradient,
    vae_loss,
)

PAGE = docs.text("docs/losses.md")

few = settings(max_examples=40)


def random(*shape: int, seed: int = 0) -> Tensor:
    return draws64(*shape, seed=seed).abs()


def scalars(terms: StepTerms) -> list[float]:
    return [float(term) for term in (*terms[:4], *terms.auxiliary.values())]


def test_terms_are_means_over_sentences_and_the_loss_their_weighed_sum():
    rec, kl, words = random(5), random(5, 3, seed=1), random(5, seed=2)
    terms = objective({"rec": rec, "words": words}, kl, lambda kl: 0.25 * kl, weights={"words": 3})
    mean_kl = sum(map(sum, kl.tolist())) / 5
    assert terms.rec.item() == pytest.approx(sum(rec.tolist()) / 5)
    assert terms.kl.item() == terms.kl_objective.item() == pytest.approx(mean_kl)
    assert terms.auxiliary["words"].item() == pytest.approx(sum(words.tolist()) / 5)
    expected = terms.rec + 0.25 * terms.kl + 3 * terms.auxiliary["words"]
    assert terms.loss.item() == pytest.approx(expected.item())


def test_weights_are_1_where_none_are_given_and_samples_are_averaged_too():
    rec, more = random(7, 5), random(7, 5, seed=1)
    terms = objective({"rec": rec, "more": more}, random(5, 3, seed=2))
    assert terms.rec.item() == pytest.approx(rec.mean().item())
    assert terms.loss.item() == pytest.approx(sum(scalars(terms)[i] for i in (1, 2, 4)))


def test_a_reconstruction_of_no_weight_is_told_and_trains_nothing():
    rec, words = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    terms = objective({"rec": rec, "words": words}, torch.zeros(2, 3), weights={"rec": 0.0})
    assert (terms.loss, terms.rec) == (1, 1)
    terms.loss.backward()
    assert (rec.grad.tolist(), words.grad.tolist()) == ([0, 0], [0.5, 0.5])


@pytest.mark.parametrize("kind", FREE_BITS)
def test_the_annealer_gets_the_kl_after_free_bits_once_and_the_raw_kl_is_kept(kind):
    kl, seen = random(5, 3), list[Tensor]()

    def annealer(value: Tensor) -> Tensor:
        seen.append(value)
        return 0 * value

    terms = objective({"rec": random(5)}, kl, annealer, free_bits=9.0, free_bits_kind=kind)
    assert seen == [FREE_BITS[kind](kl, 9.0)] == [terms.kl_objective]
    assert terms.kl == kl.sum(1).mean() != terms.kl_objective
    assert terms.loss == terms.rec
    without = objective({"rec": random(5)}, kl, free_bits_kind=kind)
    assert without.kl_objective is without.kl


def test_the_batch_mean_is_the_default_kind():
    kl = random(5, 3)
    terms = objective({"rec": random(5)}, kl, free_bits=1.0)
    assert terms.kl_objective == free_bits_per_dimension(kl, 1.0)


@pytest.mark.parametrize("kind", FREE_BITS)
@pytest.mark.parametrize("bits", [0.0, 0.5])
def test_a_language_model_has_no_kl(kind, bits):
    rec = {"rec": torch.ones(4)}
    terms = objective(rec, torch.zeros(4, 0), free_bits=bits, free_bits_kind=kind)
    assert scalars(terms) == [1, 1, 0, 0]


@pytest.mark.parametrize("bits", [0.0, 0.5])
def test_an_unknown_kind_is_refused(bits):
    message = "free_bits_kind must be one of batch, max, mask, total, target, got 'hinge'"
    with pytest.raises(ValueError, match=message):
        objective({"rec": random(2)}, random(2, 3), free_bits=bits, free_bits_kind="hinge")


@pytest.mark.parametrize("name", ["rec", "more"])
@pytest.mark.parametrize("shape", [(2,), (3, 7), ()])
def test_shapes_that_disagree_are_refused(name, shape):
    # Token sums of two sentences and KLs of three would give means of different things.
    terms = {"rec": random(3), name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=rf"{name} must .* each of the 3 sentences of kl, got"):
        objective(terms, random(3, 4))


def test_the_importance_weighted_bound_by_hand():
    rec, log_ratio = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.5], [-2.0]])
    expected = -math.log((math.exp(-1 - 0.25 * 0.5) + math.exp(-3 + 0.25 * 2)) / 2)
    terms, kl = {"rec": rec, "log_ratio": log_ratio, "words": rec}, random(1, 3)
    found = objective(terms, kl, lambda kl: 0.25 * kl, weights={"words": 2})
    assert found.loss.item() == pytest.approx(expected + 2 * 2.0)
    assert (found.rec.item(), found.kl.item()) == (2.0, kl.sum().item())
    assert found.auxiliary == {"words": found.rec}


class OneDimension:
    """p(z) = N(0, 1), p(x|z) = N(theta z, 1), q(z|x) = N(mu, exp(logvar)); x = 1.5, many times."""

    def __init__(self, num_codes: int, sentences: int, follows: str = "bound", seed: int = 0):
        start = torch.tensor([0.8, 0.3, -0.7], dtype=torch.float64)  # theta, mu, logvar
        self.parameters = start.requires_grad_()
        theta, mu, logvar = start
        noise = draws64(num_codes, sentences, 1, seed=seed)
        z = mu + (logvar / 2).exp() * noise  # (S, B, 1)
        self.rec = 0.5 * (1.5 - theta * z).square().sum(-1) + 0.5 * math.log(2 * math.pi)
        self.kl = kl_per_dimension(mu, logvar).expand(sentences, 1)
        path, whole = (
            0.5 * (z.square() - (z - q[1]).square() / q[2].exp() - q[2]).sum(-1)
            for q in (start.detach(), start)
        )
        self.elbo = self.gradient((self.rec + path).mean())  # the path's: no score
        self.plain = self.gradient(importance_weighted(self.rec, whole).mean())
        split_gradient(self.rec, z, follows)
        terms = {"rec": self.rec, "log_ratio": path}
        self.loss = objective(terms, self.kl, encoder_follows=follows).loss

    def gradient(self, loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, self.parameters, retain_graph=True)[0]


def test_of_one_code_it_is_the_elbo_and_of_more_it_comes_to_the_exact_likelihood():
    one = OneDimension(1, 50)
    torch.testing.assert_close(one.gradient(one.loss), one.elbo)
    exact = -Normal(0.0, math.sqrt(1 + 0.8**2)).log_prob(torch.tensor(1.5)).item()
    losses = [OneDimension(codes, 20_000).loss.item() for codes in (1, 2, 5, 20, 100)]
    assert losses[0] == pytest.approx((one.rec.mean() + one.kl.mean()).item(), abs=0.1)
    assert losses == sorted(losses, reverse=True)
    assert exact < losses[-1] < exact + 0.01 < losses[0] - 0.1


def test_the_encoders_gradient_is_unbiased_and_less_noisy_the_decoders_as_it_was():
    models = [OneDimension(4, 100, seed=seed) for seed in range(200)]
    expected = torch.stack([model.plain for model in models])  # (200, 3)
    found = torch.stack([model.gradient(model.loss) for model in models])
    torch.testing.assert_close(found[:, 0], expected[:, 0])  # theta: the same
    errors = (found - expected).std(0) / math.sqrt(200)
    assert ((found - expected).mean(0)[1:].abs() < 3 * errors[1:]).all()
    assert (errors[1:] < expected.mean(0)[1:].abs() / 10).all()  # so that a bias would show
    assert (found.var(0)[1:] < 0.5 * expected.var(0)[1:]).all()


def test_an_encoder_that_follows_the_elbo():
    model = OneDimension(4, 100, "elbo")
    same = OneDimension(4, 100)  # whose rec's gradient is as it comes
    elbo = model.gradient(model.rec.mean() + model.kl.mean())
    assert same.loss.item() == pytest.approx(model.loss.item())
    torch.testing.assert_close(model.gradient(model.loss), torch.cat([same.plain[:1], elbo[1:]]))


# Free bits


def table_under(heading: str) -> list[list[str]]:
    """The cells of the table whose head begins so, row by row, without their backticks."""
    begins = re.compile(rf"\| *{re.escape(heading)} *\|")
    ((_, _, *rows),) = (t.splitlines() for t in docs.tables(PAGE) if begins.match(t))
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in cell.split()]


EXAMPLE = [numbers(" ".join(row[1:])) for row in table_under("| dimension 0")]
KL_TABLE = torch.tensor([row[:4] for row in EXAMPLE[:2]])


def test_the_example_adds_up():
    assert [row[4] for row in EXAMPLE[:2]] == pytest.approx(KL_TABLE.sum(1).tolist())
    assert EXAMPLE[2][:4] == pytest.approx(KL_TABLE.mean(0).tolist())
    assert EXAMPLE[2][4] == pytest.approx(KL_TABLE.sum(1).mean().item())


@pytest.mark.parametrize("row", table_under("kind"), ids=lambda row: f"{row[0]}-{row[2]}")
def test_values_and_gradients_of_free_bits(row):
    kind, function, nats, value, *gradient = row
    assert FREE_BITS[kind].__name__ == function
    kl = KL_TABLE.clone().requires_grad_()
    found = FREE_BITS[kind](kl, float(nats))
    assert found.item() == pytest.approx(float(value), abs=1e-6)
    assert torch.autograd.grad(found, kl)[0].tolist() == [numbers(cell) for cell in gradient]


def test_every_kind_is_shown():
    assert {row[0] for row in table_under("kind")} == set(FREE_BITS)
    assert re.findall(r"^- `(\w+)`", PAGE, flags=re.MULTILINE) == list(FREE_BITS)


def rows_of(z: int) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.lists(st.floats(0, 20), min_size=z, max_size=z), min_size=1, max_size=6)


def plain(kind: str, rows: list[list[float]], nats: float) -> float:
    """Each definition once more, over lists."""
    columns = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    every = [kl for row in rows for kl in row]
    return {
        "batch": sum(max(nats, mean) for mean in columns),
        "max": sum(max(nats, kl) for kl in every) / len(rows),
        "mask": sum(kl for kl in every if kl > nats) / len(rows),
        "total": max(nats, sum(columns)),
        "target": abs(sum(columns) - nats),
    }[kind]


@pytest.mark.parametrize("kind", FREE_BITS)
@few
@given(st.integers(1, 5).flatmap(rows_of), st.just(0.0) | st.floats(0, 10))  # at 0 the raw KL
@example([[0.5, 2.0]], 0.5)  # at the floor
def test_every_kind_equals_a_plain_loop(kind, rows, nats):
    value = FREE_BITS[kind](torch.tensor(rows, dtype=torch.float64), nats).item()
    assert value == pytest.approx(plain(kind, rows, nats), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", FREE_BITS)
def test_what_free_bits_refuse(kind):
    for floor in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"free_bits must be at least 0, got {floor}"):
            FREE_BITS[kind](KL_TABLE, floor)
    with pytest.raises(ValueError, match=r"kl_per_dim must be \(B, Z\), got \(2,\)"):
        FREE_BITS[kind](KL_TABLE.sum(1), 0.5)  # summed already


def test_the_configuration_knows_every_kind():
    hint = get_type_hints(TrainingConfig)["free_bits_kind"]
    assert get_args(hint) == tuple(FREE_BITS)


# The other numbers of docs/losses.md, and its code


def gradients_ratio(reconstruction: Tensor, kl: Tensor, recon: Tensor, mu: Tensor) -> float:
    """Size of the KL's gradient against that of the reconstruction's."""
    (pull,) = torch.autograd.grad(kl, mu)
    (push,) = torch.autograd.grad(reconstruction, recon, retain_graph=True)
    return (pull.norm() / push.norm()).item()


def test_real_betas_of_the_reductions():
    generator = torch.Generator().manual_seed(0)
    recon, x = torch.rand(2, 5, 784, generator=generator, dtype=torch.float64)
    mu, logvar = torch.randn(2, 5, 32, generator=generator, dtype=torch.float64)
    recon.requires_grad_()
    mu.requires_grad_()
    average = F.binary_cross_entropy(recon, x, reduction="mean")
    ratios = [
        gradients_ratio(*terms, recon, mu)
        for terms in (
            vae_loss(recon, x, mu, logvar, "sum")[1:],
            vae_loss(recon, x, mu, logvar, "mean")[1:],
            (average, kl_divergence(mu, logvar) / 5),
            (average, kl_per_dimension(mu, logvar).mean()),
        )
    ]
    shown = [float(row[3]) for row in table_under("| reconstruction")]
    assert [ratio / ratios[0] for ratio in ratios] == pytest.approx(shown)


def test_the_code_runs():
    (code,) = docs.blocks(PAGE)
    names: dict[str, Tensor] = {}
    exec(code, names)
    assert names["kl"].item() == 0
    # 32 dimensions at a floor of 0.1 nats, β = 4.
    assert (names["total"] - names["recon"]).item() == pytest.approx(4 * 32 * 0.1, rel=1e-4)
