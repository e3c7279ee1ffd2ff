"""What z says, on posteriors and codes where it is known; moments, units, gradients."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, kl_divergence
from torch.nn.utils import clip_grad_norm_, get_total_norm

from tests.diagnostics.models import Laplace, Written, batches
from tests.draws import draws
from textvae.batches import collate
from textvae.checks import InputError
from textvae.diagnostics import (
    Disentanglement,
    FactorProbe,
    active_dimensions,
    active_units,
    au_curve,
    dimension_information,
    disentanglement,
    gradient_norm,
    gradient_norms,
    information,
    mi_per_dimension,
    moments,
    mutual_information,
    posteriors,
    probe_factors,
)
from textvae.diagnostics.information import AU_THRESHOLDS
from textvae.model import Gaussian, Posterior

FAMILIES: dict[str, tuple[Callable[..., Posterior], Callable[..., Distribution]]] = {
    "gaussian": (Gaussian, lambda mu, logvar: Normal(mu, (0.5 * logvar).exp())),
    "laplace": (
        lambda mu, logvar: Laplace(mu, logvar.exp()),
        lambda mu, logvar: torch.distributions.Laplace(mu, logvar.exp()),
    ),
}


def by_loops(family: str, mu: Tensor, logvar: Tensor, noise: Tensor) -> tuple[float, float]:
    """MI and aggregate KL from torch.distributions, one pair at a time."""
    ours, oracle = FAMILIES[family]
    mu, logvar = mu.double(), logvar.double()
    z, prior = ours(mu, logvar).sample(noise.double()), Normal(0.0, 1.0)
    mi = aggregate = 0.0
    for i in range(len(z)):
        pairs = oracle(mu, logvar).log_prob(z[i]).sum(1)
        mixture = torch.logsumexp(pairs, 0) - math.log(len(z))
        mi += float(pairs[i] - mixture) / len(z)
        aggregate += float(mixture - prior.log_prob(z[i]).sum()) / len(z)
    return mi, aggregate


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_what_the_formula_says(family, scale):
    mu, logvar = draws(20, 3).double() * scale + 7, draws(20, 3, seed=1).double()
    noise = draws(20, 3, seed=2)
    found = mutual_information(FAMILIES[family][0](mu, logvar), seed=2)
    mi, aggregate = by_loops(family, mu, logvar, noise)
    assert found.mi == pytest.approx(mi, abs=1e-9)
    assert found.aggregate_kl == pytest.approx(aggregate, rel=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_each_dimension_alone(family):
    mu, logvar = draws(30, 2).double(), draws(30, 2, seed=1).double()
    found = mi_per_dimension(FAMILIES[family][0](mu, logvar), seed=4)
    expected = [
        by_loops(family, *(t[:, d : d + 1] for t in (mu, logvar, draws(30, 2, seed=4))))[0]
        for d in range(2)
    ]
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("mean", "logvar"), [(0.0, 0.0), (0.7, -1.3)])
def test_a_collapsed_posterior_says_nothing_whatever_the_draw(seed, mean, logvar):
    same = Gaussian(torch.full((300, 32), mean), torch.full((300, 32), logvar))
    found = mutual_information(same, seed=seed)
    assert (found.mi, found.mi_se) == pytest.approx((0, 0), abs=1e-12)
    assert found.mi_max == pytest.approx(math.log(300))
    assert mi_per_dimension(same, seed=seed) == pytest.approx([0] * 32, abs=1e-12)
    # All of the KL is between q(z) and the prior; estimated, so within sampling error.
    kl = float(same.kl().sum(1).mean())
    assert found.aggregate_kl == pytest.approx(kl, abs=1.0 if mean else 1e-12)


@pytest.mark.parametrize("variance", [0.1, 0.5, 0.9])
def test_gaussian_means_with_gaussian_noise(variance):
    # q(z) is the prior, so KL(q(z) ‖ p(z)) is 0 and the MI that of a Gaussian channel.
    mu = draws(4000, 1) * math.sqrt(1 - variance)
    found = mutual_information(Gaussian(mu, torch.full_like(mu, math.log(variance))), seed=1)
    exact = -0.5 * math.log(variance)
    assert found.mi == pytest.approx(exact, abs=0.05)
    assert abs(found.mi - exact) < 4 * found.mi_se
    assert found.aggregate_kl == pytest.approx(0, abs=0.02)


def test_the_standard_error_is_the_spread_of_estimates():
    found = []
    for seed in range(60):
        mu = draws(200, 1, seed=seed) * math.sqrt(0.5)
        posterior = Gaussian(mu, torch.full_like(mu, math.log(0.5)))
        found.append(mutual_information(posterior, seed=99 - seed))
    spread = float(torch.tensor([each.mi for each in found]).std())
    assert spread == pytest.approx(sum(each.mi_se for each in found) / 60, rel=0.4)


@settings(max_examples=40)
@given(
    size=st.integers(1, 30),
    width=st.integers(0, 4),
    spread=st.floats(0, 50),
    logvar=st.floats(-12, 3),
    seed=st.integers(0, 5),
)
def test_it_is_never_above_log_n_and_the_chunk_does_not_matter(size, width, spread, logvar, seed):
    mu = draws(size, width, seed=seed) * spread
    posterior = Gaussian(mu, logvar + 0.3 * draws(size, width, seed=seed + 1))
    found = mutual_information(posterior, seed=seed)
    assert found.mi <= found.mi_max + 1e-12
    for chunk in (1, 7, size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(information, "MAX_PAIRS", chunk * size)
            again = mutual_information(posterior, seed=seed)
        assert again == pytest.approx(found, rel=1e-10, abs=1e-10)


def test_very_tight_posteriors_far_from_the_origin_keep_their_digits():
    # Expanded squares are of size 1e4² / 1e-8: without centring nothing would be left of them.
    mu = 1e4 + torch.arange(50.0)[:, None] * 1e-3
    logvar = torch.full_like(mu, math.log(1e-8))
    found = mutual_information(Gaussian(mu, logvar), seed=0)
    expected, _ = by_loops("gaussian", mu, logvar, draws(50, 1))
    assert found.mi == pytest.approx(expected, abs=1e-3)


def test_the_classic_estimator_is_what_the_papers_compute():
    mu, logvar, noise = draws(70, 3), draws(70, 3, seed=1), draws(70, 3, seed=2)
    found = mutual_information(Gaussian(mu, logvar), seed=2, estimator="classic")
    expected, aggregate, of_batches = 0.0, 0.0, []
    for start in (0, 32, 64):
        part = tuple(t[start : start + 32].double() for t in (mu, logvar, noise))
        q = Normal(part[0], (0.5 * part[1]).exp())
        z = q.mean + q.stddev * part[2]
        pairs = q.log_prob(z[:, None]).sum(-1)
        mixture = torch.logsumexp(pairs, 1) - math.log(len(z))
        estimate = -q.entropy().sum(1) - mixture
        of_batches.append(estimate.mean())
        expected += float(estimate.sum()) / 70
        aggregate += float((mixture - Normal(0.0, 1.0).log_prob(z).sum(1)).sum()) / 70
    assert found.mi == pytest.approx(expected, abs=1e-9)
    assert found.aggregate_kl == pytest.approx(aggregate, abs=1e-9)
    assert found.mi_max == pytest.approx(math.log(32))
    assert found.mi_se == pytest.approx(float(torch.stack(of_batches).std() / math.sqrt(3)))


def test_information_of_a_spread_of_sentences():
    # Only the second half of the data set differs from 0: the first sentences alone show nothing.
    mu = torch.cat([torch.zeros(100, 1), torch.full((100, 1), 5.0)])
    posterior = Gaussian(mu, torch.full_like(mu, 2 * math.log(0.01)))
    assert mi_per_dimension(posterior, max_sentences=10) == pytest.approx([math.log(2)])
    assert mi_per_dimension(posterior, max_sentences=1) == [0]
    found = mutual_information(posterior, max_sentences=10)
    assert (found.mi, found.mi_max) == pytest.approx((math.log(2), math.log(10)))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((0, 2), {}, "posterior must be (N, Z) with N at least 1, got (0, 2)"),
        ((4,), {}, "posterior must be (N, Z) with N at least 1, got (4,)"),
        ((4, 2), {"estimator": "best"}, "estimator must be one of paired, classic, got 'best'"),
    ],
)
def test_wrong_posteriors(shape, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        mutual_information(Gaussian(torch.zeros(shape), torch.zeros(shape)), **arguments)
    with pytest.raises(InputError, match="max_sentences must be at least 1, got 0"):
        mi_per_dimension(Gaussian(torch.zeros(4, 2), torch.zeros(4, 2)), max_sentences=0)


@pytest.mark.parametrize("family", [Gaussian, Laplace])
def test_the_moments_are_those_of_the_mixture(family):
    means = draws(40, 3) * torch.tensor([0.0, 1.0, 3.0]) + 2
    posterior = family(means, draws(40, 3, seed=1).abs() + 0.1)
    found = moments(posterior)
    # An oracle that knows no law of total variance: second moments of each sentence.
    mean, variance = posterior.mean.double(), posterior.variance.double()
    second = (variance + mean.square()).mean(0)
    assert found.mean == pytest.approx(mean.mean(0).tolist())
    assert found.variance == pytest.approx((second - mean.mean(0).square()).tolist(), rel=1e-6)
    assert found.mean_variance == pytest.approx(mean.var(0, correction=0).tolist(), abs=1e-12)
    assert found.posterior_variance == pytest.approx(variance.mean(0).tolist(), rel=1e-6)
    assert found.average_variance == pytest.approx(float(variance.mean()), rel=1e-6)


def test_the_least_aggregate_kl_is_that_of_the_gaussian_with_these_moments():
    mu = torch.tensor([[1.0, 0.5], [1.0, -0.5]])
    logvar = torch.log(torch.tensor([[0.25, 0.75], [0.25, 0.75]]))
    # Dimension 1 has mean 0 and variance 0.25 + 0.75: nothing tells it from the prior.
    gaussian = Normal(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 1.0]))
    expected = float(kl_divergence(gaussian, Normal(0.0, 1.0)).sum())
    assert moments(Gaussian(mu, logvar)).least_aggregate_kl == pytest.approx(expected)


def test_moments_that_are_the_priors_leave_the_rest_of_the_distance_unseen():
    sign = 2.0 * (torch.arange(1000) % 2)[:, None] - 1
    posterior = Gaussian(sign * math.sqrt(0.9), torch.full_like(sign, math.log(0.1)))
    assert moments(posterior).least_aggregate_kl == pytest.approx(0, abs=1e-6)
    assert mutual_information(posterior).aggregate_kl > 0.4


def test_a_language_model_has_posteriors_without_dimensions():
    found = posteriors(Written([1.0] * 2), batches([[0, 1]]), 2)
    assert found.mean.shape == (2, 0)
    assert (moments(found).average_variance, moments(found).least_aggregate_kl) == (1, 0)


def means_with_variances(*variances: float) -> torch.Tensor:
    """Two sentences at mean ± standard deviation: the variance over them is exact."""
    deviation = torch.tensor(variances, dtype=torch.float64).sqrt()
    return torch.stack([5 + deviation, 5 - deviation])


def test_counts_at_several_thresholds():
    curve = au_curve(means_with_variances(0.0002, 0.002, 0.02, 0.2, 2.0))
    assert list(curve) == list(AU_THRESHOLDS) == sorted(AU_THRESHOLDS)
    assert list(curve.values()) == [5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert active_units(means_with_variances(0.25), threshold=0.25) == 1, "at it, it counts"
    assert active_units(means_with_variances(0.0099, 0.0101, 0)) == 1, "either side of it"
    assert active_units(means_with_variances()) == 0, "a language model"
    assert active_dimensions([0.0, 0.009, 0.01, 3.0]) == 2
    assert active_dimensions(torch.tensor([0.0, 0.009, 0.01, 3.0]), threshold=0.001) == 3
    assert active_dimensions([]) == 0


def labels(size: int, values: int = 2) -> list[str]:
    return [f"v{i % values}" for i in range(size)]


def codes_that_tell(size: int, seed: int) -> Tensor:
    """Dimension 1 of three is the label and a little noise; the others are noise."""
    codes = draws(size, 3, seed=seed)
    codes[:, 1] = torch.arange(size) % 2 + 0.05 * codes[:, 1]
    return codes


def test_a_dimension_that_is_the_label():
    train, test = codes_that_tell(400, 0), codes_that_tell(300, 1)
    (probe,) = probe_factors(train, {"number": labels(400)}, test, {"number": labels(300)})
    assert (probe.name, probe.accuracy, probe.majority) == ("number", 1.0, 0.5)
    assert probe.entropy == pytest.approx(math.log(2))
    assert probe.information == pytest.approx(math.log(2), abs=0.05)
    assert probe.information <= probe.entropy
    assert probe.best_dimension == 1
    assert probe.best_dimension_information == pytest.approx(math.log(2), abs=0.06)
    assert max(probe.information_per_dim[0], probe.information_per_dim[2]) < 0.05


def test_codes_that_do_not_tell():
    factors = {"topic": labels(1000, 4)}
    (probe,) = probe_factors(draws(1000, 8), factors, draws(1000, 8, seed=1), factors)
    assert probe.accuracy == pytest.approx(0.25, abs=0.05)
    assert probe.information == 0
    # The plain estimate would be near 15 · 3 / (2 · 1000) = 0.02 in each dimension.
    assert sum(probe.information_per_dim) / 8 < 0.01


def test_information_through_gaussian_noise_is_bounded_by_what_there_is():
    # Two classes at ±1 with noise of deviation 1: I = 0.337 nats, the best accuracy Φ(1) = 0.841.
    size = 20_000
    factor = {"sign": labels(size)}
    sign = 2.0 * (torch.arange(size) % 2)[:, None] - 1
    (probe,) = probe_factors(sign + draws(size, 1), factor, sign + draws(size, 1, seed=1), factor)
    assert probe.accuracy == pytest.approx(0.841, abs=0.01)
    # The logistic model is the true one here, so that the bound is tight.
    assert probe.information == pytest.approx(0.337, abs=0.015)
    assert probe.best_dimension_information == pytest.approx(0.337, abs=0.015)


def test_a_value_the_fitting_split_does_not_have_counts_as_wrong():
    fitted, seen = labels(400), [*labels(298), "new", "newer"]
    (probe,) = probe_factors(
        codes_that_tell(400, 0), {"f": fitted}, codes_that_tell(300, 1), {"f": seen}
    )
    assert probe.accuracy == pytest.approx(298 / 300)
    assert math.isfinite(probe.information)
    assert 0.5 < probe.information < probe.entropy


@pytest.mark.parametrize(
    ("width", "train", "test", "expected"),
    [
        # Codes that never move tell no more than the value most frequent where they were fitted.
        (2, "aaabb", "abbb", (0.25, 0.25, 0.0)),
        (3, "abab", "abab", (0.5, 0.5, 0.0)),
        # A language model has no codes at all.
        (0, "aab", "aab", (2 / 3, 2 / 3, 0.0)),
        # A constant factor has nothing to tell.
        (1, "aaa", "aaa", (1.0, 1.0, 0.0)),
    ],
)
def test_codes_that_never_move(width, train, test, expected):
    codes = [torch.ones(len(values), width) / 3 for values in (train, test)]
    (probe,) = probe_factors(codes[0], {"f": train}, codes[1], {"f": test})
    found = (probe.accuracy, probe.majority, probe.information)
    assert found == pytest.approx(expected)
    assert probe.information_per_dim == [0] * width
    assert (probe.best_dimension, probe.best_dimension_information) == (None, 0)


def test_information_of_a_dimension_that_tells_more_than_two_values():
    codes = (torch.arange(800) % 4)[:, None].double()
    assert dimension_information(codes, labels(800, 4)) == pytest.approx([math.log(4)], abs=0.01)


def three_factors(size: int, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    sizes = {"two": 2, "also two": 2, "three": 3}
    return {name: torch.randint(n, (size,), generator=random) for name, n in sizes.items()}


def disentangled(make: Callable[[Tensor], Tensor], size: int = 2000) -> Disentanglement:
    """The figures of codes that are made of three independent factors, standardised (M, 3)."""
    codes, told = [], []
    for seed in (0, 1):
        values = three_factors(size, seed)
        columns = torch.stack([*values.values()], 1).double()
        codes.append(make((columns - columns.mean(0)) / columns.std(0)))
        told.append({name: list(map(str, each.tolist())) for name, each in values.items()})
    found = disentanglement(probe_factors(codes[0], told[0], codes[1], told[1]))
    assert found is not None
    return found


def test_a_code_that_is_the_factors():
    # SAP is a gap to chance: 1/2 of two values, 1/3 of three.
    found = disentangled(lambda factors: torch.cat([draws(len(factors), 2), factors], 1))
    # Thresholds are fitted on what they are scored on: chance is a little better than that.
    assert found.sap == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3, abs=0.05)
    assert found._replace(sap=0) == pytest.approx((1, 0, 1, 1, 1), abs=0.02)
    assert str(found) == (
        f"MIG {found.mig:.2f}, SAP {found.sap:.2f}, DCI disentanglement 1.00, completeness 1.00, "
        "informativeness 1.00"
    )


def test_a_rotated_code_tells_as_much_and_disentangles_nothing():
    turn = torch.tensor([[2.0, -1, 2], [2, 2, -1], [-1, 2, 2]]).double() / 3
    mixed = torch.tensor([[1.0, 1, 1], [1, 1, -1], [1, -1, 0]]).double()  # no axis nearer than rest
    found = disentangled(lambda factors: factors @ turn)
    assert found.informativeness == pytest.approx(1, abs=0.02)
    assert max(found[:4]) < 0.4
    found = disentangled(lambda factors: factors @ mixed)
    assert max(found[:2]) < 0.2


def test_a_code_of_nothing():
    found = disentangled(lambda factors: draws(len(factors), 8, seed=len(factors)))
    assert found[:2] == pytest.approx((0, 0), abs=0.03)
    assert found[2:4] == (0, 0)  # no dimension outweighs the lasso


def test_a_factor_twice_is_told_and_has_no_dimension_of_its_own():
    found = disentangled(lambda factors: factors[:, [0, 0, 1, 2]])
    assert found.mig == pytest.approx(2 / 3, abs=0.02)
    assert found.sap == pytest.approx((0 + 1 / 2 + 2 / 3) / 3, abs=0.02)
    assert found.disentanglement == pytest.approx(1)
    # Half and half in two of four dimensions: 1 − log 2 / log 4.
    assert found.completeness == pytest.approx((1 / 2 + 1 + 1) / 3, abs=0.01)


PROBE = FactorProbe("f", 0.8, 0.5, 0.4, 1.0, [0.5, 0.2], 0, 0.5, [0.9, 0.6], [3.0, 1.0])


def test_figures_by_hand():
    other = PROBE._replace(
        accuracy=0.6, entropy=2.0, information_per_dim=[0.1, 0.3], accuracy_per_dim=[0.5, 0.9]
    )
    other = other._replace(importance_per_dim=[0.0, 8.0])
    found = disentanglement([PROBE, other, PROBE._replace(entropy=0.0)])
    assert found is not None
    # Shares: of the first factor 3/4 and 1/4, of the second 0 and 1.
    quarter = (math.log(4) - 0.75 * math.log(3)) / math.log(2)
    fifth = (math.log(5) - 0.8 * math.log(4)) / math.log(2)  # of 1/4 and 1
    assert found.mig == pytest.approx((0.3 / 1 + 0.2 / 2) / 2)
    assert found.sap == pytest.approx((0.3 + 0.4) / 2)
    assert found.disentanglement == pytest.approx(0.75 / 2 * 1 + 1.25 / 2 * (1 - fifth))
    assert found.completeness == pytest.approx(((1 - quarter) + 1) / 2)
    assert found.informativeness == pytest.approx(0.7)


def test_figures_that_there_are_not():
    assert disentanglement([]) is None
    assert disentanglement([PROBE._replace(entropy=0.0)]) is None
    assert disentanglement([PROBE._replace(information_per_dim=[])]) is None
    one = disentanglement([PROBE])
    assert one is not None
    assert (one.mig, one.disentanglement) == (pytest.approx(0.3), None)
    lone = PROBE._replace(
        information_per_dim=[0.5], accuracy_per_dim=[0.9], importance_per_dim=[3.0]
    )
    assert disentanglement([lone, lone]) == (None, None, 0, None, 0.8)


def test_accuracy_by_thresholds_is_the_mean_over_values():
    # 90 of one value and 30 of another, apart but for the first ten of each, at the same place.
    codes = torch.cat(
        [torch.zeros(10), torch.full((80,), 1.0), torch.zeros(10), torch.full((20,), 2.0)]
    )
    told = {"f": ["a"] * 90 + ["b"] * 30}
    (probe,) = probe_factors(codes[:, None], told, codes[:, None], told)
    # At 0 are 10/90 of a and 10/30 of b.
    assert probe.accuracy_per_dim == [pytest.approx((80 / 90 + 1) / 2)]


@pytest.mark.parametrize(
    ("train_labels", "test", "test_labels", "message"),
    [
        ({"f": "abc"}, (3, 1), {"f": "abc"}, "of the same Z, got (3, 2) and (3, 1)"),
        ({"f": "abc"}, (3, 2), {"g": "abc"}, "the factors of train_labels, ['f'], got"),
        ({"f": "ab"}, (3, 2), {"f": "abc"}, "train_labels['f'] must have one value for each"),
        ({"f": "abc"}, (2, 2), {"f": "abc"}, "sentences, got 3 for 2"),
        ({"f": "abc"}, (0, 2), {"f": ""}, "test_labels['f'] must have one value for each of"),
    ],
)
def test_wrong_codes_and_labels(train_labels, test, test_labels, message):
    with pytest.raises(InputError, match=re.escape(message)):
        probe_factors(torch.zeros(3, 2), train_labels, torch.zeros(test), test_labels)
    with pytest.raises(InputError, match=r"labels must have one value .* sentences, got 1"):
        dimension_information(torch.zeros(2, 1), ["a"])


@pytest.mark.parametrize(
    "arguments", [{}, {"tied_embeddings": True}, {"bidirectional": True, "decoder_num_layers": 2}]
)
def test_norms_of_the_parts_make_up_the_whole(make_model, arguments):
    model = trained(make_model(**arguments))
    total, encoder, decoder = gradient_norms(model)
    assert all(norm.ndim == 0 and norm > 0 for norm in (total, encoder, decoder))
    torch.testing.assert_close(total**2, encoder**2 + decoder**2)
    torch.testing.assert_close(gradient_norm(model), total)
    of_decoder = [p.grad for p in model.decoder.parameters() if p.grad is not None]
    torch.testing.assert_close(decoder, get_total_norm(of_decoder))
    torch.testing.assert_close(clip_grad_norm_(model.parameters(), 1.0), total)
    assert gradient_norm(model).item() == pytest.approx(1, rel=1e-4)
    next(model.encoder.parameters()).grad.view(-1)[0] = torch.inf
    assert not torch.isfinite(gradient_norms(model).total)


def trained(model: Any) -> Any:
    out = model(collate([[5, 6, 7], [8, 9], [10]]))
    (out.terms["rec"].sum() + out.posterior.kl().sum()).backward()
    return model


def test_a_part_without_gradients_counts_as_nothing(make_model):
    total, encoder, decoder = gradient_norms(trained(make_model(latent_dim=0)))
    assert (encoder, total) == (0, decoder)
    assert [float(norm) for norm in gradient_norms(make_model())] == [0, 0, 0]
    assert float(gradient_norm(nn.Linear(2, 2))) == 0
