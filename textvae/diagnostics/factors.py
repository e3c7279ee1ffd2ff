"""What codes tell of known factors or labels of their sentences, and which dimension tells it.

Shapes: M sentences of a split, Z latent dimensions, C values of a factor.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.checks import InputError

RIDGE = 1e-3  # half of this times the squared weights is added to the probe's loss, nats/sentence
MAX_BINS = 16  # equal shares that a dimension is cut into for its information
SENTENCES_PER_BIN = 20  # fewer sentences make fewer bins


class FactorProbe(NamedTuple):
    """How well codes tell one factor; information in nats."""

    name: str
    accuracy: float  # share of sentences whose value a linear probe of another split tells
    majority: float  # the same for the value most frequent where the probe was fitted: the floor
    information: float  # entropy − the probe's held-out cross-entropy, ≥ 0: a bound on I(z; factor)
    entropy: float  # of the factor: what there is to know
    information_per_dim: list[float]  # mutual information with each dimension alone
    best_dimension: int | None  # the one that tells most; None if none tells any
    best_dimension_information: float  # what it tells


def probe_factors(
    train: Tensor,
    train_labels: Mapping[str, Sequence[str]],
    test: Tensor,
    test_labels: Mapping[str, Sequence[str]],
) -> list[FactorProbe]:
    """Fit a logistic regression of each factor on one split's codes, score it on another's.

    Nothing is drawn. Give it draws from the posterior to learn what z tells the decoder: posterior
    means may still tell a factor that z drowns in noise. Codes are (M, Z), M may differ; labels
    have each factor's value for each sentence.
    """
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        shapes = f"{tuple(train.shape)} and {tuple(test.shape)}"
        raise InputError(f"train and test must be (M, Z) of the same Z, got {shapes}")
    if set(train_labels) != set(test_labels):
        names = f"{sorted(train_labels)}, got {sorted(test_labels)}"
        raise InputError(f"test_labels must have the factors of train_labels, {names}")
    for name in train_labels:
        _check(f"train_labels[{name!r}]", train, train_labels[name])
        _check(f"test_labels[{name!r}]", test, test_labels[name])
    train, test = train.double(), test.double()
    mean = train.mean(0)
    scale = (train - mean).square().mean(0).sqrt()
    # A dimension that never moves tells nothing; dividing by its rounding error would.
    scale = torch.where(scale > 1e-12, scale, torch.inf)
    train, test = (train - mean) / scale, (test - mean) / scale
    return [
        _probe(name, train, list(values), test, list(test_labels[name]))
        for name, values in train_labels.items()
    ]


def dimension_information(codes: Tensor, labels: Sequence[str]) -> list[float]:
    """Mutual information of a factor with each dimension of codes (M, Z) alone, nats, at least 0.

    Each dimension is cut into bins of equal share, which can only lose information; the bias of
    counting few sentences in many cells is taken out to first order (Miller 1955, Note on the bias
    of information estimates).
    """
    _check("labels", codes, labels)
    index = {value: i for i, value in enumerate(dict.fromkeys(labels))}
    factor = torch.tensor([index[value] for value in labels])
    num_bins = min(MAX_BINS, max(2, len(codes) // SENTENCES_PER_BIN))
    inner = torch.arange(1, num_bins).double() / num_bins
    return [
        # Cut at quantiles, not by rank: equal codes must share a bin, or their order would tell.
        _information(torch.bucketize(code, torch.quantile(code, inner)), factor)
        for code in codes.double().T.contiguous()
    ]


def _check(name: str, codes: Tensor, labels: Sequence[str]) -> None:
    if len(labels) != len(codes) or not len(codes):
        numbers = f"{len(labels)} for {len(codes)}"
        raise InputError(f"{name} must have one value for each of the sentences, got {numbers}")


def _information(bins: Tensor, factor: Tensor) -> float:
    joint = torch.zeros(int(bins.max()) + 1, int(factor.max()) + 1, dtype=torch.float64)
    joint.index_put_((bins, factor), torch.ones(len(bins), dtype=torch.float64), accumulate=True)
    tables = (joint.sum(1), joint.sum(0), joint.flatten())
    entropies = [_entropy(table) for table in tables]
    cells = [int(table.count_nonzero()) for table in tables]
    # Miller-Madow: each entropy is short of (cells − 1) / 2 M.
    bias = (cells[0] + cells[1] - cells[2] - 1) / (2 * len(bins))
    return max(0.0, entropies[0] + entropies[1] - entropies[2] + bias)


def _entropy(counts: Tensor) -> float:
    share = counts / counts.sum()
    return float(-torch.xlogy(share, share).sum())


def _probe(
    name: str, train: Tensor, train_values: list[str], test: Tensor, test_values: list[str]
) -> FactorProbe:
    index = {value: i for i, value in enumerate(sorted(set(train_values)))}
    target = torch.tensor([index[value] for value in train_values])
    # −1 stands for values that the fitting split does not have.
    truth = torch.tensor([index.get(value, -1) for value in test_values])
    log_probs = F.log_softmax(_fitted_scores(train, target, test, len(index)), 1)
    # Values never seen share the chance of one more sentence: else one made this infinite.
    new = -math.log((len(train) + 1) * max(1, len(set(test_values) - set(index))))
    known = log_probs.gather(1, truth.clamp(min=0)[:, None])[:, 0] - math.log1p(1 / len(train))
    cross_entropy = float(-torch.where(truth < 0, new, known).mean())
    entropy = _entropy(torch.tensor(list(Counter(test_values).values())).double())
    per_dim = dimension_information(test, test_values)
    telling = [d for d, told in enumerate(per_dim) if told > 0]
    best = max(telling, key=per_dim.__getitem__, default=None)
    return FactorProbe(
        name=name,
        accuracy=float((log_probs.argmax(1) == truth).double().mean()),
        majority=float((truth == target.bincount().argmax()).double().mean()),
        information=max(0.0, entropy - cross_entropy),
        entropy=entropy,
        information_per_dim=per_dim,
        best_dimension=best,
        best_dimension_information=0.0 if best is None else per_dim[best],
    )


def _fitted_scores(train: Tensor, target: Tensor, test: Tensor, num_values: int) -> Tensor:
    """Scores (M, C) of a logistic regression fitted on (train, target), for `test`."""
    weight = train.new_zeros(train.shape[1], num_values, requires_grad=True)
    bias = train.new_zeros(num_values, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(torch.addmm(bias, train, weight), target)
        loss = loss + 0.5 * RIDGE * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return torch.addmm(bias, test, weight).detach()
