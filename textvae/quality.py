"""How good sentences are, judged by the sentences alone, without a model.

Words are separated by white space, whatever the tokens of the model are, so that models of words,
characters and byte pairs can be compared. Shares lie in 0 to 1, a share of nothing is 0; BLEU, of
up to four words in a row, lies in 0 to 100.

Reference: Papineni et al. (2002), BLEU: a Method for Automatic Evaluation of Machine Translation.
"""

import math
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from textvae import grammar
from textvae.checks import InputError, at_least, imported

MAX_ORDER = 4


@dataclass(frozen=True)
class ReconstructionFigures:
    """How well sentences were reconstructed: BLEU, and the share that is right word for word."""

    num_sentences: int
    bleu: float
    exact_match: float


def reconstruction_figures(
    reconstructions: Sequence[str], texts: Sequence[str]
) -> ReconstructionFigures:
    """Corpus BLEU, by sacrebleu, and exact matches of reconstructions, each of its own sentence.

    Reference: Post (2018), A Call for Clarity in Reporting BLEU Scores.
    """
    if not len(reconstructions) == len(texts) > 0:
        got = f"got {len(reconstructions)} and {len(texts)}"
        raise InputError(f"reconstructions and texts must be equally many and at least 1, {got}")
    needs = 'BLEU of reconstructions needs sacrebleu: pip install "textvae[quality]"'
    score = imported("sacrebleu", needs).corpus_bleu
    own, theirs = ([" ".join(text.split()) for text in given] for given in (reconstructions, texts))
    # Its own splitting would tear `<unk>` apart; `force`: it warns of text that is split already.
    bleu = float(score(own, [theirs], tokenize="none", force=True).score)
    return ReconstructionFigures(len(texts), bleu, fmean(map(operator.eq, own, theirs)))


@dataclass(frozen=True)
class TextFigures:
    """Variety, novelty and lengths of texts.

    Self-BLEU, distinct-n and duplicates depend on the number of texts: compare equally many.
    """

    num_sentences: int
    self_bleu: float
    distinct: tuple[float, ...]  # distinct-1 to distinct-4
    duplicates: float  # share of texts that would have to go for all to be different
    novelty: float  # share of texts that are not in the training set, word for word
    novel_4grams: float
    length_mean: float  # words
    length_sd: float
    length_distance: float


def text_figures(texts: Sequence[str], training: Sequence[str]) -> TextFigures:
    """Measure all of `TextFigures`; there must be at least 2 texts."""
    at_least(2, texts=len(texts))
    own = [tuple(text.split()) for text in texts]
    known, lengths = {tuple(text.split()) for text in training}, list(map(len, own))
    return TextFigures(
        num_sentences=len(own),
        self_bleu=self_bleu(texts),
        distinct=tuple(distinct(texts, order) for order in range(1, MAX_ORDER + 1)),
        duplicates=(len(own) - len(set(own))) / len(own),
        novelty=sum(words not in known for words in own) / len(own),
        novel_4grams=novel_ngrams(texts, training, 4),
        length_mean=fmean(lengths),
        length_sd=pstdev(lengths),
        length_distance=length_distance(texts, training),
    )


def distinct(texts: Iterable[str], order: int) -> float:
    """Different n-grams of `order` words over all n-grams of the texts together: distinct-n.

    Reference: Li et al. (2016), A Diversity-Promoting Objective Function.
    """
    counts = _count(texts, order)
    return len(counts) / max(1, counts.total())


def novel_ngrams(texts: Iterable[str], training: Iterable[str], order: int) -> float:
    """Share of the texts' n-grams, each as often as it occurs, that the training set lacks."""
    counts, known = _count(texts, order), _count(training, order)
    new = sum(count for ngram, count in counts.items() if ngram not in known)
    return new / max(1, counts.total())


def length_distance(texts: Sequence[str], others: Sequence[str]) -> float:
    """Wasserstein distance between the lengths of two sets of texts, in words.

    It is the area between their distribution functions, Σ_l |F(l) − G(l)|: how many words a text
    must gain or lose, on average, for one set to have the lengths of the other.
    """
    at_least(1, texts=len(texts), others=len(others))
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
    at_least(2, texts=len(texts))
    counts = [_count([text], *range(1, MAX_ORDER + 1)) for text in texts]
    # The two highest counts of an n-gram tell how many any text but one holds at most.
    highest: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    for own in counts:
        for ngram, count in own.items():
            highest[ngram] = sorted((*highest[ngram], count))[1:]
    lengths = [len(text.split()) for text in texts]
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
    log_precisions, smoothed = [], 1.0
    for order, matched in enumerate(matches[:length]):
        if matched == 0:
            smoothed /= 2
        log_precisions.append(math.log((matched or smoothed) / (length - order)))
    log_brevity = min(0.0, 1 - reference_length / length)
    return 100 * math.exp(log_brevity + fmean(log_precisions))


def _count(texts: Iterable[str], *orders: int) -> Counter[tuple[str, ...]]:
    """Every so many words in a row, from left to right, as often as they occur."""
    at_least(1, order=min(orders))
    found: Counter[tuple[str, ...]] = Counter()
    for words in map(str.split, texts):
        for order in orders:
            found.update(zip(*(words[start:] for start in range(order)), strict=False))
    return found


def fitted_classifier(texts: Sequence[str], labels: Sequence[str]) -> tuple[Any, float]:
    """Logistic regression on TF-IDF of words and pairs, and its accuracy, 5-fold cross-validated.

    It is scikit-learn's, with a method `predict`; of each label there must be at least 5 texts.
    """
    at_least(5, **{f"texts of {label}": count for label, count in Counter(labels).items()})
    needs = 'a classifier needs scikit-learn: pip install "textvae[quality]"'
    names = ("feature_extraction.text", "linear_model", "pipeline", "model_selection")
    text, linear, pipeline, selection = (imported(f"sklearn.{name}", needs) for name in names)
    options = {"token_pattern": r"\S+", "lowercase": False, "ngram_range": (1, 2)}
    steps = text.TfidfVectorizer(**options), linear.LogisticRegression(C=10, max_iter=1000)
    model = pipeline.make_pipeline(*steps)
    accuracy = float(selection.cross_val_score(model, texts, labels, cv=5).mean())
    return model.fit(texts, labels), accuracy


def accepted_share(texts: Sequence[str]) -> float:
    """Share of texts that the grammar can generate."""
    at_least(1, texts=len(texts))
    return fmean(bool(grammar.parse(text)) for text in texts)
