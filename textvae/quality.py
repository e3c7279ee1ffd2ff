"""How good sentences are, judged by the sentences alone, without a model.

Words are separated by white space, whatever the tokens of the model are, so that models of words,
characters and byte pairs can be compared. Shares lie in 0 to 1, a share of
nothing is 0; BLEU, of up to four words in a row, lies in 0 to 100.

Reference: Papineni et al. (2002), BLEU: a Method for Automatic Evaluation of Machine Translation.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from textvae import grammar
from textvae.checks import InputError, NotInstalledError, at_least

MAX_ORDER = 4

Ngram = tuple[str, ...]


def _ngrams(text: str, order: int) -> Iterator[Ngram]:
    """Every `order` words in a row, from left to right, as often as they occur."""
    words = text.split()
    return zip(*(words[start:] for start in range(order)), strict=False)


@dataclass(frozen=True)
class ReconstructionFigures:
    """How well sentences were reconstructed."""

    num_sentences: int
    bleu: float
    exact_match: float


def reconstruction_figures(
    reconstructions: Sequence[str], texts: Sequence[str]
) -> ReconstructionFigures:
    """Corpus BLEU and exact matches of reconstructions; see `bleu` and `exact_match`."""
    found = bleu(reconstructions, texts), exact_match(reconstructions, texts)
    return ReconstructionFigures(len(texts), *found)


def bleu(reconstructions: Sequence[str], texts: Sequence[str]) -> float:
    """Corpus BLEU of reconstructions, each against its own sentence, by sacrebleu.

    Reference: Post (2018), A Call for Clarity in Reporting BLEU Scores.
    """
    _check_pairs(reconstructions, texts)
    try:
        import sacrebleu
    except ImportError:
        needed = 'BLEU of reconstructions needs sacrebleu: pip install "textvae[quality]"'
        raise NotInstalledError(needed) from None
    own, theirs = ([" ".join(text.split()) for text in given] for given in (reconstructions, texts))
    # sacrebleu's own splitting would tear `<unk>` apart; `force` silences its warning of text that
    # looks split into words already, which it is.
    return float(sacrebleu.corpus_bleu(own, [theirs], tokenize="none", force=True).score)


def exact_match(reconstructions: Sequence[str], texts: Sequence[str]) -> float:
    """Share of reconstructions that are their sentence, word for word."""
    _check_pairs(reconstructions, texts)
    pairs = zip(reconstructions, texts, strict=True)
    return fmean(back.split() == text.split() for back, text in pairs)


def _check_pairs(reconstructions: Sequence[str], texts: Sequence[str]) -> None:
    if len(texts) == 0 or len(reconstructions) != len(texts):
        raise InputError(
            "reconstructions and texts must be equally many and at least 1, "
            f"got {len(reconstructions)} and {len(texts)}"
        )


@dataclass(frozen=True)
class TextFigures:
    """Variety, novelty and lengths of texts.

    Self-BLEU, distinct-n and duplicates depend on the number of texts: compare equally many.
    """

    num_sentences: int
    self_bleu: float
    distinct: tuple[float, ...]  # distinct-1 to distinct-4
    duplicates: float
    novelty: float
    novel_4grams: float
    length_mean: float  # words
    length_sd: float
    length_distance: float


def text_figures(texts: Sequence[str], training: Sequence[str]) -> TextFigures:
    """Measure all of `TextFigures`; there must be at least 2 texts."""
    lengths = [len(text.split()) for text in texts]
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
    """Different n-grams of `order` words over all n-grams of the texts together: distinct-n.

    Reference:
        Li et al. (2016), A Diversity-Promoting Objective Function for Neural Conversation Models.
    """
    counts = _count(texts, order)
    return _share(len(counts), counts.total())


def duplicates(texts: Sequence[str]) -> float:
    """Share of texts that would have to go for all to be different."""
    return _share(len(texts) - len({tuple(text.split()) for text in texts}), len(texts))


def novelty(texts: Sequence[str], training: Iterable[str]) -> float:
    """Share of texts that are not in the training set, word for word."""
    known = {tuple(text.split()) for text in training}
    return _share(sum(tuple(text.split()) not in known for text in texts), len(texts))


def novel_ngrams(texts: Iterable[str], training: Iterable[str], order: int) -> float:
    """Share of the texts' n-grams, each as often as it occurs, that the training set lacks."""
    counts, known = _count(texts, order), _count(training, order)
    new = sum(count for ngram, count in counts.items() if ngram not in known)
    return _share(new, counts.total())


def length_distance(texts: Sequence[str], others: Sequence[str]) -> float:
    """Wasserstein distance between the lengths of two sets of texts, in words.

    It is the area between their distribution functions, Σ_l |F(l) − G(l)|: how many words a text
    would have to gain or lose, on average, for the lengths of one set to become the other's.
    """
    for name, given in (("texts", texts), ("others", others)):
        if len(given) == 0:
            raise InputError(f"{name} must hold at least one sentence, got 0")
    own, theirs = (Counter(len(text.split()) for text in given) for given in (texts, others))
    distance = gap = 0.0
    for length in range(max(*own, *theirs)):
        gap += own[length] / len(texts) - theirs[length] / len(others)
        distance += abs(gap)
    return distance


def self_bleu(texts: Sequence[str]) -> float:
    """Mean sentence BLEU of each text with all the others as its references: how similar they are.

    It is sacrebleu's sentence BLEU (exponential smoothing, effective order), but in time linear in
    the number of texts. It rises with that number: compare equally many.

    Reference: Zhu et al. (2018), Texygen, section 3; Chen and Cherry (2014), smoothing method 3.
    """
    if len(texts) < 2:
        raise InputError(f"texts must be at least 2, got {len(texts)}")
    orders = range(1, MAX_ORDER + 1)
    counts = [Counter(ngram for n in orders for ngram in _ngrams(text, n)) for text in texts]
    lengths = [len(text.split()) for text in texts]
    # The two highest counts of an n-gram tell how many any text but one holds at most.
    highest: dict[Ngram, list[int]] = defaultdict(lambda: [0, 0])
    for own in counts:
        for ngram, count in own.items():
            highest[ngram] = sorted((*highest[ngram], count))[1:]
    by_length, scores = Counter(lengths), []
    for own, length in zip(counts, lengths, strict=True):
        matches = [0] * MAX_ORDER  # n-grams that others have too: clipped counts
        for ngram, count in own.items():
            second, first = highest[ngram]
            matches[len(ngram) - 1] += min(count, second if count == first else first)
        others = by_length - Counter([length])
        closest = min(others, key=lambda other: (abs(other - length), other))
        scores.append(_sentence_bleu(matches, length, closest))
    return fmean(scores)


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


def _count(texts: Iterable[str], order: int) -> Counter[Ngram]:
    at_least(1, order=order)
    return Counter(ngram for text in texts for ngram in _ngrams(text, order))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class PathStep:
    """One sentence of a path."""

    text: str
    is_accepted: bool  # by the grammar; if not, its factors are unknown
    changed: dict[str, tuple[str, str]]  # factors: at the last accepted sentence before, and here


def accepted_share(texts: Sequence[str]) -> float:
    """Share of texts that the grammar can generate."""
    if len(texts) == 0:
        raise InputError("texts must hold at least one sentence, got 0")
    return fmean(bool(grammar.parse(text)) for text in texts)


def factor_path(texts: Sequence[str]) -> tuple[PathStep, ...]:
    """Which factors change at which sentence of a path, such as an interpolation.

    Nothing changes at a sentence that the grammar can't generate, nor at the first that it can.
    """
    steps: list[PathStep] = []
    before: dict[str, str] = {}
    for text in texts:
        derivations = grammar.parse(text)
        likeliest = max(derivations, key=lambda derivation: derivation.log_prob, default=None)
        factors = likeliest.factors if likeliest else {}
        changed = {k: (before[k], v) for k, v in factors.items() if before.get(k, v) != v}
        steps.append(PathStep(text, bool(derivations), changed))
        before = factors or before
    return tuple(steps)
