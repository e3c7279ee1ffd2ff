"""What texts are like beside the training set's: varied, new, as long.

Offers `text_figures`, which measures texts in every way there is (`TextFigures`), and the figures
one by one: `distinct`, `duplicates`, `novelty`, `novel_ngrams`, `length_distance`. Shares lie in
0 to 1; a share of nothing at all is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from textvae.quality.bleu import self_bleu
from textvae.quality.ngrams import MAX_ORDER, ngrams, words_of

__all__ = [
    "TextFigures",
    "distinct",
    "duplicates",
    "length_distance",
    "novel_ngrams",
    "novelty",
    "text_figures",
]


@dataclass(frozen=True)
class TextFigures:
    """What texts are like.

    Attributes:
        num_sentences: How many texts. Self-BLEU, distinct-n and duplicates depend on it: compare
            them between equally many.
        self_bleu: How alike they are, 0 to 100; see `self_bleu`.
        distinct: Distinct-1 to distinct-4; see `distinct`.
        duplicates: Share that repeats another one.
        novelty: Share that is not in the training set.
        novel_4grams: Share of their four words in a row that the training set does not have.
        length_mean: Mean length, words.
        length_sd: Its standard deviation, words.
        length_distance: Wasserstein distance of their lengths to the training set's, words.
    """

    num_sentences: int
    self_bleu: float
    distinct: tuple[float, ...]
    duplicates: float
    novelty: float
    novel_4grams: float
    length_mean: float
    length_sd: float
    length_distance: float


def text_figures(texts: Sequence[str], training: Sequence[str]) -> TextFigures:
    """Measure texts in every way there is.

    Args:
        texts: The texts, at least 2.
        training: The training set.

    Raises:
        ValueError: If there are fewer than 2 texts, or the training set is empty.
    """
    lengths = [len(words_of(text)) for text in texts]
    return TextFigures(
        num_sentences=len(texts),
        self_bleu=self_bleu(texts),
        distinct=tuple(distinct(texts, order) for order in range(1, MAX_ORDER + 1)),
        duplicates=duplicates(texts),
        novelty=novelty(texts, training),
        novel_4grams=novel_ngrams(texts, training, 4),
        length_mean=fmean(lengths),
        length_sd=pstdev(lengths),
        length_distance=length_distance(texts, training),
    )


def distinct(texts: Iterable[str], order: int) -> float:
    """Different n-grams over all n-grams of the texts together: distinct-n.

    It falls with the number of texts: compare it between equally many.

    Args:
        texts: The texts.
        order: Words in a row, n, at least 1.

    Returns:
        0 to 1; 1 where nothing is said twice.

    Raises:
        ValueError: If `order` is below 1.

    Reference:
        Li et al. (2016), A Diversity-Promoting Objective Function for Neural Conversation Models.
    """
    _check_order(order)
    counts = Counter(ngram for text in texts for ngram in ngrams(words_of(text), order))
    return _share(len(counts), counts.total())


def duplicates(texts: Sequence[str]) -> float:
    """Share of texts that would have to go for all to be different."""
    return _share(len(texts) - len(_distinct_texts(texts)), len(texts))


def novelty(texts: Sequence[str], training: Iterable[str]) -> float:
    """Share of texts that are not in the training set, word for word."""
    known = _distinct_texts(training)
    return _share(sum(tuple(words_of(text)) not in known for text in texts), len(texts))


def novel_ngrams(texts: Iterable[str], training: Iterable[str], order: int) -> float:
    """Share of the texts' n-grams, each as often as it occurs, that the training set has not.

    Args:
        texts: The texts.
        training: The training set.
        order: Words in a row, n, at least 1.

    Raises:
        ValueError: If `order` is below 1.
    """
    _check_order(order)
    known = {ngram for text in training for ngram in ngrams(words_of(text), order)}
    counts = Counter(ngram for text in texts for ngram in ngrams(words_of(text), order))
    new = sum(count for ngram, count in counts.items() if ngram not in known)
    return _share(new, counts.total())


def length_distance(texts: Sequence[str], others: Sequence[str]) -> float:
    """Wasserstein distance between the lengths of two sets of texts, in words.

    The area between their distribution functions, Σ_l |F(l) − G(l)|: how many words a text would
    have to gain or lose, on average, for the lengths of one set to become those of the other.

    Raises:
        ValueError: If one of the sets is empty.
    """
    for name, given in (("texts", texts), ("others", others)):
        if len(given) == 0:
            raise ValueError(f"{name} must hold at least one sentence, got 0")
    own, theirs = (Counter(len(words_of(text)) for text in given) for given in (texts, others))
    distance = gap = 0.0
    for length in range(max(*own, *theirs)):
        gap += own[length] / len(texts) - theirs[length] / len(others)
        distance += abs(gap)
    return distance


def _distinct_texts(texts: Iterable[str]) -> set[tuple[str, ...]]:
    return {tuple(words_of(text)) for text in texts}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _check_order(order: int) -> None:
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
