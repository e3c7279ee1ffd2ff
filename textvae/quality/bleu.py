"""BLEU: of reconstructions against their sentences, and of samples against each other.

Offers `bleu`, `exact_match` and `reconstruction_figures`, which holds both, and `self_bleu`. All
BLEU is of up to four words in a row, on the scale of 0 to 100.

Reference: Papineni et al. (2002), BLEU: a Method for Automatic Evaluation of Machine Translation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from textvae.quality.ngrams import MAX_ORDER, Ngram, ngrams, words_of

__all__ = ["ReconstructionFigures", "bleu", "exact_match", "reconstruction_figures", "self_bleu"]


@dataclass(frozen=True)
class ReconstructionFigures:
    """What came back of sentences.

    Attributes:
        num_sentences: How many.
        bleu: Corpus BLEU of the reconstructions, 0 to 100; see `bleu`.
        exact_match: Share that came back word for word.
    """

    num_sentences: int
    bleu: float
    exact_match: float


def reconstruction_figures(
    reconstructions: Sequence[str], texts: Sequence[str]
) -> ReconstructionFigures:
    """Measure what came back of sentences.

    Args:
        reconstructions: What came back.
        texts: The sentences, in the same order.

    Raises:
        ValueError: If there are none, or not as many of one as of the other.
        ImportError: If sacrebleu is not installed.
    """
    return ReconstructionFigures(
        num_sentences=len(texts),
        bleu=bleu(reconstructions, texts),
        exact_match=exact_match(reconstructions, texts),
    )


def bleu(reconstructions: Sequence[str], texts: Sequence[str]) -> float:
    """Corpus BLEU of reconstructions, each against its own sentence, by sacrebleu.

    Words are taken as they are (`tokenize="none"`): sacrebleu's own splitting would tear `<unk>`
    apart.

    Args:
        reconstructions: What came back.
        texts: The sentences, in the same order.

    Returns:
        0 to 100.

    Raises:
        ValueError: If there are none, or not as many of one as of the other.
        ImportError: If sacrebleu is not installed.

    Reference:
        Post (2018), A Call for Clarity in Reporting BLEU Scores.
    """
    _check_pairs(reconstructions, texts)
    try:
        import sacrebleu
    except ImportError:
        raise ImportError(
            'BLEU of reconstructions needs sacrebleu: pip install "textvae[quality]"'
        ) from None
    return float(
        sacrebleu.corpus_bleu(
            [" ".join(words_of(text)) for text in reconstructions],
            [[" ".join(words_of(text)) for text in texts]],
            tokenize="none",
            force=True,  # or it warns of what looks split into words already, which it is
        ).score
    )


def exact_match(reconstructions: Sequence[str], texts: Sequence[str]) -> float:
    """Share of reconstructions that are their sentence, word for word.

    Raises:
        ValueError: If there are none, or not as many of one as of the other.
    """
    _check_pairs(reconstructions, texts)
    pairs = zip(reconstructions, texts, strict=True)
    return fmean(words_of(back) == words_of(text) for back, text in pairs)


def self_bleu(texts: Sequence[str]) -> float:
    """Mean sentence BLEU of each text with all the others as its references: how alike they are.

    The sentence BLEU is sacrebleu's (exponential smoothing, only as many words in a row as the
    sentence has), but in time linear in the number of texts: of every n-gram it is known which
    text holds most of it and how many the runner-up holds, and so what all others hold at most.
    It rises with the number of texts: compare it between equally many.

    Args:
        texts: The sentences, at least 2.

    Returns:
        0 to 100; 100 where each text has its double.

    Raises:
        ValueError: If there are fewer than 2 texts.

    Reference:
        Zhu et al. (2018), Texygen, section 3; Chen and Cherry (2014), smoothing method 3.
    """
    if len(texts) < 2:
        raise ValueError(f"texts must be at least 2, got {len(texts)}")
    sentences = [words_of(text) for text in texts]
    counts = [_counts(words) for words in sentences]
    most, lengths = _most(counts), Counter(map(len, sentences))
    return fmean(
        _sentence_bleu(_matches(counts[i], i, most), len(words), _closest(len(words), lengths))
        for i, words in enumerate(sentences)
    )


class _Most(NamedTuple):
    """Who holds most of an n-gram, how many of it, and how many the runner-up."""

    owner: int
    highest: int
    second: int


NOBODY = _Most(-1, 0, 0)


def _counts(words: Sequence[str]) -> Counter[Ngram]:
    """How often each n-gram of every order occurs."""
    return Counter(ngram for order in range(1, MAX_ORDER + 1) for ngram in ngrams(words, order))


def _most(counts: Sequence[Counter[Ngram]]) -> dict[Ngram, _Most]:
    most: dict[Ngram, _Most] = {}
    for owner, own in enumerate(counts):
        for ngram, count in own.items():
            known = most.get(ngram, NOBODY)
            if count > known.highest:
                most[ngram] = _Most(owner, count, known.highest)
            elif count > known.second:
                most[ngram] = known._replace(second=count)
    return most


def _matches(own: Counter[Ngram], index: int, most: dict[Ngram, _Most]) -> list[int]:
    """N-grams of text `index` that another has too, no more of each than one other has, by order.

    Reference: Papineni et al. (2002), section 2.1.1, the clipped count.
    """
    matches = [0] * MAX_ORDER
    for ngram, count in own.items():
        owner, highest, second = most[ngram]
        matches[len(ngram) - 1] += min(count, second if owner == index else highest)
    return matches


def _closest(length: int, lengths: Counter[int]) -> int:
    """The length nearest to a text's own among all other texts', the shorter of two as near."""
    others = (other for other, count in lengths.items() if other != length or count > 1)
    return min(others, key=lambda other: (abs(other - length), other))


def _sentence_bleu(matches: Sequence[int], length: int, reference_length: int) -> float:
    if not any(matches):
        return 0.0
    log_precisions, smoothing = [], 1.0
    for order in range(1, min(MAX_ORDER, length) + 1):
        matched, total = matches[order - 1], length - order + 1
        if matched == 0:
            smoothing *= 2
        log_precisions.append(math.log((matched or 1 / smoothing) / total))
    log_brevity = min(0.0, 1 - reference_length / length)
    return 100 * math.exp(log_brevity + fmean(log_precisions))


def _check_pairs(reconstructions: Sequence[str], texts: Sequence[str]) -> None:
    if len(texts) == 0 or len(reconstructions) != len(texts):
        raise ValueError(
            "reconstructions and texts must be equally many and at least 1, "
            f"got {len(reconstructions)} and {len(texts)}"
        )
