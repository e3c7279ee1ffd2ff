"""What z says of known factors: probes, information of single dimensions, MIG, SAP and DCI.

Shapes: N or M sentences, Z latent dimensions, C values of a factor.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from textvae.checks import InputError

RIDGE = 1e-3  # half of this times the squared weights is added to the probe's loss, nats/sentence
SMOOTH = 1e-3  # the lasso's penalty is round for smaller weights; below ten times this are none
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
    accuracy_per_dim: list[float]  # of thresholds on each alone, mean over values: balanced
    importance_per_dim: list[float]  # size of a lasso's weights: 0 where there is but noise


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
    bins = _bins(test)
    return [_probe(n, train, train_labels[n], test, test_labels[n], bins) for n in train_labels]


def _bins(codes: Tensor) -> list[list[int]]:
    """The bin of each sentence in each dimension, of equal share: cutting can only lose."""
    num_bins = min(MAX_BINS, max(2, len(codes) // SENTENCES_PER_BIN))
    inner = torch.arange(1, num_bins).double() / num_bins
    return [
        # Cut at quantiles, not by rank: equal codes must share a bin, or their order would tell.
        torch.bucketize(code, torch.quantile(code, inner)).tolist()
        for code in codes.double().T.contiguous()
    ]


def _balanced_accuracy(bins: list[int], labels: Sequence[str]) -> float:
    """Of naming, for each bin, the value of which it holds the largest share."""
    largest, totals = Counter[int](), Counter(labels)
    for (place, value), count in Counter(zip(bins, labels, strict=True)).items():
        largest[place] = max(largest[place], count / totals[value])  # type: ignore[assignment]
    return sum(largest.values()) / len(totals)


def _check(name: str, codes: Tensor, labels: Sequence[str]) -> None:
    if len(labels) != len(codes) or not len(codes):
        numbers = f"{len(labels)} for {len(codes)}"
        raise InputError(f"{name} must have one value for each of the sentences, got {numbers}")


def _information(bins: list[int], labels: Sequence[str]) -> float:
    """Mutual information of bins and labels, nats, at least 0.

    The bias of counting few sentences in many cells is taken out to first order (Miller 1955, Note
    on the bias of information estimates).
    """
    tables = [Counter(values).values() for values in (bins, labels, zip(bins, labels, strict=True))]
    of_bins, of_labels, of_both = (_entropy(counts) for counts in tables)
    # Miller-Madow: each entropy is short of (cells − 1) / 2 M.
    bias = (len(tables[0]) + len(tables[1]) - len(tables[2]) - 1) / (2 * len(bins))
    return max(0.0, of_bins + of_labels - of_both + bias)


def _entropy(counts: Iterable[int]) -> float:
    share = torch.tensor(list(counts)).double() / sum(counts)
    return float(-torch.xlogy(share, share).sum()) + 0.0  # not −0


def _probe(
    name: str,
    train: Tensor,
    train_values: Sequence[str],
    test: Tensor,
    test_values: Sequence[str],
    all_bins: Sequence[list[int]],  # of test, in each dimension
) -> FactorProbe:
    index = {value: i for i, value in enumerate(sorted(set(train_values)))}
    target = torch.tensor([index[value] for value in train_values])
    # −1 stands for values that the fitting split does not have.
    truth = torch.tensor([index.get(value, -1) for value in test_values])
    (weight, bias), (lasso, _) = _fitted(train, target), _fitted(train, target, lasso=True)
    log_probs = F.log_softmax(torch.addmm(bias, test, weight), 1)
    # Values that the fitting split lacks share the probability of one more sentence, 1 / (M + 1):
    # at 0 the cross-entropy would be infinite.
    new = -math.log((len(train) + 1) * max(1, len(set(test_values) - set(index))))
    known = log_probs.gather(1, truth.clamp(min=0)[:, None])[:, 0] - math.log1p(1 / len(train))
    cross_entropy = float(-torch.where(truth < 0, new, known).mean())
    entropy = _entropy(Counter(test_values).values())
    per_dim = [_information(bins, test_values) for bins in all_bins]
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
        accuracy_per_dim=[_balanced_accuracy(bins, test_values) for bins in all_bins],
        importance_per_dim=F.hardshrink(lasso, 10 * SMOOTH).abs().sum(1).tolist(),
    )


def _fitted(train: Tensor, target: Tensor, *, lasso: bool = False) -> tuple[Tensor, Tensor]:
    """Weights (Z, C) and biases (C,) of a logistic regression of codes (M, Z) and values (M,)."""
    share = target.bincount().double() / len(target)
    weight = train.new_zeros(train.shape[1], len(share), requires_grad=True)
    bias = train.new_zeros(len(share), requires_grad=True)
    # The noise of a weight's gradient, times what the largest of so many draws is (Donoho &
    # Johnstone 1994, the universal threshold): only what tells more has a weight.
    largest = math.sqrt(2 * math.log(max(2, weight.numel())) / len(target))
    penalty = largest * (share * (1 - share)).sqrt()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(torch.addmm(bias, train, weight), target)
        if lasso:  # the size of a weight, but smooth at 0
            loss = loss + (penalty * (weight.square() + SMOOTH**2).sqrt()).sum()
        else:
            loss = loss + 0.5 * RIDGE * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


class Disentanglement(NamedTuple):
    """Whether factors have dimensions of their own, 0 to 1; None where there is but one of them."""

    mig: float | None  # mean of (largest − next I(z_d; factor)) / H(factor); Chen et al. 2018
    sap: float | None  # mean gap between the two best `accuracy_per_dim`; Kumar et al. 2018
    disentanglement: float | None  # of a dimension: of one factor; Eastwood & Williams 2018, DCI
    completeness: float | None  # of a factor: in one dimension
    informativeness: float  # mean accuracy of the probes

    def __str__(self) -> str:
        named = zip(("MIG", "SAP", "DCI disentanglement", *self._fields[3:]), self, strict=True)
        return ", ".join(f"{name} {value:.2f}" for name, value in named if value is not None)


def disentanglement(probes: Sequence[FactorProbe]) -> Disentanglement | None:
    """MIG, SAP and DCI of factors that were probed; None if none varies, or z has no dimensions."""
    varying = [probe for probe in probes if probe.entropy > 0 and probe.information_per_dim]
    if not varying:
        return None
    mig = [_gap(probe.information_per_dim) / probe.entropy for probe in varying]
    sizes = torch.tensor([probe.importance_per_dim for probe in varying]).double()
    # Relative to the factor's own: one of many values has many weights.
    importance = sizes.T / sizes.sum(1).clamp_min(1e-12)  # (Z, factors)
    weights = importance.sum(1) / importance.sum().clamp_min(1e-12)
    has_several = len(importance) > 1
    return Disentanglement(
        mig=fmean(mig) if has_several else None,
        sap=fmean(_gap(one.accuracy_per_dim) for one in varying) if has_several else None,
        disentanglement=float(weights @ _certainty(importance)) if len(varying) > 1 else None,
        completeness=float(_certainty(importance.T).mean()) if has_several else None,
        informativeness=fmean(probe.accuracy for probe in varying),
    )


def _gap(values: Sequence[float]) -> float:
    *_, second, first = sorted([0.0, *values])
    return first - second


def _certainty(importance: Tensor) -> Tensor:
    """1 − the entropy of each row's shares, its base their number; 0 where there is nothing."""
    total = importance.sum(1)
    share = importance / total.clamp_min(1e-12)[:, None]
    entropy = -torch.xlogy(share, share).sum(1) / math.log(importance.shape[1])
    return torch.where(total > 0, 1 - entropy, 0.0)
