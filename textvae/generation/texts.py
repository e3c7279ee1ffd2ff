"""`encode`, functions that make latent codes, and text in, text out.

Text functions, such as `jitter`, decode the codes that a function beside them makes, here
`jittered_codes`; for log-probabilities too, `decode` these. They take the options of `Decoding` and
`batch_size`, and decode greedily unless told otherwise; `seed` is of every draw, of codes and of
tokens. All need a model with a tokenizer, in evaluation mode, and raise `InputError` for what is
outside its range, or what `encode` doesn't take. A model that is told labels writes by numbers
`labels`, which `sample` draws and `reconstruct` guesses, but for what the option `label` sets.

Shapes: B sentences, N codes, F labels, Z latent dimensions.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from textvae.batches import collate
from textvae.checks import MANY, InputError, choose, imported, integer, number, one_of
from textvae.diagnostics import importance_nll
from textvae.generation.completion import complete
from textvae.generation.decoding import Decoded, decode, generate_text
from textvae.generation.draws import CHOICE, LABEL, normals, uniforms
from textvae.model import Posterior, SentenceVAE
from textvae.quality import fitted_classifier, reconstruction_figures

TOGETHER = 64  # sentences that are encoded at a time: more are no faster
ROUNDS, NUM_SAMPLES = 2, 10  # in which labels are guessed, by an NLL of so many samples
METRICS = ("cosine", "euclidean", "kl")
CHUNK = 4096  # sentences of a corpus that are encoded and held at a time
PARALLEL = 1e-4  # sine of the angle below which two codes span no plane in fp32


def check_texts(
    model: SentenceVAE, texts: Sequence[str], *, max_tokens: int | None = None
) -> list[list[int]]:
    """The ids of each text, without special tokens, if `encode` takes them all."""
    if isinstance(texts, str):
        raise TypeError(f"texts must be a sequence of sentences, got the string {texts!r}")
    model.require_latent()
    if len(texts) == 0:
        raise InputError("texts must hold at least one sentence, got 0")
    if others := [text for text in texts if not isinstance(text, str)]:
        raise TypeError(f"texts must be strings, got {others[0]!r}")
    sentences = model.tokenizer.encode_batch(list(texts))
    for place, ids in enumerate(sentences, start=1):
        if not ids:
            raise InputError(f"text {place} must have at least one token, got {texts[place - 1]!r}")
        if max_tokens is not None and len(ids) > max_tokens:
            limit = f"at most {max_tokens} tokens, as in training"
            raise InputError(f"text {place} must have {limit}, got {len(ids)}")
    return sentences


@torch.no_grad()
def encode(
    model: SentenceVAE,
    texts: Sequence[str],
    *,
    labels: Tensor | None = None,
    max_tokens: int | None = None,
) -> Posterior:
    """The posterior of each text, in their order, on the model's device.

    Unknown words are read as `<unk>`. A model knows no limit to the tokens of a text; a run says
    how long the longest sentence was that it was trained on. Labels that aren't given are guessed.

    Raises:
        InputError: If there are no texts, one is empty, too long, or has a reserved token (texts
            are counted from 1), or the model is a language model, without z.
        TypeError: If `texts` is a single string.
    """
    sentences = check_texts(model, texts, max_tokens=max_tokens)
    if labels is None:
        labels = likeliest_labels(model, texts)
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    parts = []
    for start in range(0, len(order), TOGETHER):
        rows = order[start : start + TOGETHER]
        batch = collate([sentences[i] for i in rows], labels=labels[rows].numpy())
        parts.append(model.encode(batch.to(model.device)))
    back = torch.tensor(order).argsort().to(model.device)
    return type(parts[0]).cat(parts).map(itemgetter(back))


def likeliest_labels(model: SentenceVAE, texts: Sequence[str]) -> Tensor:
    """Numbers (B, F) of the labels y of highest p(y) p(x|y) for each text, one after another."""
    counts = [list(values.values()) for values in model.labels.counts.values()]
    labels = torch.zeros(len(texts), len(counts)).long()
    sentences = check_texts(model, texts) if counts else []
    for column, own in list(enumerate(counts)) * ROUNDS:
        log_p = []
        for value, count in enumerate(own):
            labels[:, column] = value
            batch = collate(sentences, labels=labels.numpy())
            nll = importance_nll(model, [batch], num_samples=NUM_SAMPLES).per_sentence
            log_p.append(math.log(count) - nll)
        labels[:, column] = torch.stack(log_p).argmax(0)
    return labels


def drawn_labels(model: SentenceVAE, num_sentences: int, *, seed: int = 0) -> Tensor:
    """Numbers of labels, each drawn by itself as often as in training, (num_sentences, F)."""
    labels = torch.zeros(num_sentences, len(model.labels.values)).long()
    for column, counts in enumerate(model.labels.counts.values()):
        mass = torch.tensor(list(counts.values())).cumsum(0)
        shares = uniforms(seed, LABEL, torch.arange(num_sentences), torch.tensor(column))
        labels[:, column] = torch.searchsorted(mass, shares * mass[-1], right=True)
    return labels


def prior_codes(model: SentenceVAE, num_codes: int, *, seed: int = 0) -> Tensor:
    """Draws from the prior N(0, I), (num_codes, Z), each belonging to its place."""
    integer("num_sentences", num_codes, 1, most=MANY)
    rows = torch.arange(num_codes, device=model.device)
    return normals(seed, rows[:, None], torch.arange(model.latent_dim, device=model.device))


def aggregate_codes(
    model: SentenceVAE, num_codes: int, texts: Sequence[str], *, seed: int = 0
) -> Tensor:
    """Draws from the posteriors of texts, each taken at random, (num_codes, Z)."""
    noise = prior_codes(model, num_codes, seed=seed)
    rows = torch.arange(num_codes, device=noise.device)
    posterior = encode(model, texts)
    chosen = (uniforms(seed, CHOICE, rows, torch.zeros_like(rows)) * len(texts)).long()
    return posterior.map(itemgetter(chosen)).sample(noise)


def fitted_codes(
    model: SentenceVAE, num_codes: int, texts: Sequence[str], *, components: int = 1, seed: int = 0
) -> Tensor:
    """Draws from a mixture of full Gaussians fitted to the aggregate posterior, (num_codes, Z).

    That of texts, by a draw of each one's posterior (Ghosh et al. 2020, section 4, of means).
    """
    integer("num_sentences", num_codes, 1, most=MANY)
    codes = posterior_codes(model, texts, sampled=True, seed=seed)
    if len(texts) <= components:
        raise InputError(f"texts must be more than {components} to fit to, got {len(texts)}")
    needs = 'fitted codes need scikit-learn: pip install "textvae[quality]"'
    mixture = imported("sklearn.mixture", needs).GaussianMixture
    fit = mixture(components, max_iter=1000, random_state=seed % 2**32).fit(codes.cpu().double())
    drawn = np.random.default_rng(seed).permutation(fit.sample(num_codes)[0])  # not by component
    return torch.from_numpy(drawn).to(codes)


FITTED = {"gaussian": 1, "gmm": 10}  # components
SOURCES = ("prior", "aggregate", *FITTED)


def source_codes(
    model: SentenceVAE,
    num_codes: int,
    *,
    source: str = "prior",
    texts: Sequence[str] | None = None,
    seed: int = 0,
) -> Tensor:
    """Codes (num_codes, Z) of a source, those beside the prior of texts; see `sample`."""
    if (one_of("source", source, SOURCES) == "prior") == (texts is not None):
        raise InputError(f"texts must be given with sources but 'prior' only, got {source!r}")
    if texts is None:
        return prior_codes(model, num_codes, seed=seed)
    if source == "aggregate":
        return aggregate_codes(model, num_codes, texts, seed=seed)
    return fitted_codes(model, num_codes, texts, components=FITTED[source], seed=seed)


def sample(
    model: SentenceVAE,
    num_sentences: int = 5,
    *,
    source: str = "prior",
    texts: Sequence[str] | None = None,
    seed: int = 0,
    strategy: str = "sample",
    allow_unknown: bool = False,
    **options: Any,
) -> list[str]:
    """New sentences: draw z and labels, where there are any, then x ~ p(x|z).

    z is from the source `"prior"`, N(0, I), or of texts: `"aggregate"`, the posterior of one of
    them taken at random, or one Gaussian (`"gaussian"`) or ten (`"gmm"`) fitted to their codes. The
    same seed gives the same sentences, so calling it again does, unless you give another; fewer of
    them are the first of more, but for the fitted.
    """
    z = source_codes(model, num_sentences, source=source, texts=texts, seed=seed)
    options |= {"seed": seed, "strategy": strategy, "allow_unknown": allow_unknown}
    return generate_text(model, z, **{"labels": drawn_labels(model, len(z), seed=seed)} | options)


def posterior_codes(
    model: SentenceVAE, texts: Sequence[str], *, sampled: bool = False, seed: int = 0, **own: Any
) -> Tensor:
    """The posterior mean of each text, or a draw from its posterior, (B, Z); `encode`'s options."""
    posterior = encode(model, texts, **own)
    if not sampled:
        return posterior.mean
    return posterior.sample(prior_codes(model, len(texts), seed=seed))


def reconstruct(
    model: SentenceVAE,
    texts: Sequence[str],
    *,
    labels: Tensor | None = None,
    sampled: bool = False,
    seed: int = 0,
    **options: Any,
) -> list[str]:
    """What comes back of each text through its posterior mean or, `sampled`, a draw instead."""
    if labels is None:
        labels = likeliest_labels(model, texts)
    z = posterior_codes(model, texts, labels=labels, sampled=sampled, seed=seed)
    return generate_text(model, z, labels=labels, seed=seed, **options)


def jittered_codes(
    model: SentenceVAE, text: str, num_codes: int = 5, *, scale: float = 1.0, seed: int = 0
) -> Tensor:
    """Codes from around a text, (num_codes, Z): mean + `scale` · deviation · noise."""
    scale = number("scale", scale, "[0, inf)")
    noise = prior_codes(model, num_codes, seed=seed)
    return encode(model, [text]).sample(scale * noise)


def jitter(
    model: SentenceVAE,
    text: str,
    num_sentences: int = 5,
    *,
    scale: float = 1.0,
    seed: int = 0,
    **options: Any,
) -> list[str]:
    """Sentences from around a text, some maybe equal: z = mean + `scale` · deviation · noise."""
    z = jittered_codes(model, text, num_sentences, scale=scale, seed=seed)
    return generate_text(model, z, seed=seed, **options)


def path_codes(model: SentenceVAE, *texts: str, steps: int = 5, method: str = "linear") -> Tensor:
    """Codes on the way from text to text, posterior means included: (legs · (steps − 1) + 1, Z)."""
    integer("steps", steps, 2, most=MANY)
    way = choose(METHODS, "method", method)
    if len(texts) < 2:
        raise InputError(f"texts must be at least 2 sentences (both ends), got {len(texts)}")
    means = encode(model, texts).mean
    shares = torch.linspace(0, 1, steps, device=means.device)
    legs = [way(start, end, shares) for start, end in pairwise(means)]
    return torch.cat([legs[0], *(leg[1:] for leg in legs[1:])])


def interpolate(
    model: SentenceVAE, *texts: str, steps: int = 5, method: str = "linear", **options: Any
) -> list[str]:
    """Sentences on the way between texts' posterior means (Bowman et al. 2016, section 5).

    From each of two texts or more to the next there are `steps` sentences, at least 2, both
    reconstructions included; the method is `"linear"` or `"spherical"`, see `lerp` and `slerp`.
    """
    return generate_text(model, path_codes(model, *texts, steps=steps, method=method), **options)


def traversal_codes(
    model: SentenceVAE, text: str, dim: int, *, low: float = -3.0, high: float = 3.0, steps: int = 7
) -> Tensor:
    """A text's posterior mean with one dimension set from `low` to `high`, (steps, Z)."""
    integer("steps", steps, 2, most=MANY)
    z = encode(model, [text]).mean.repeat(steps, 1)
    integer("dim", dim, 0, model.latent_dim - 1)
    if not -math.inf < low < high < math.inf:
        raise InputError(f"low must be finite and below high, got {low} and {high}")
    z[:, dim] = torch.linspace(low, high, steps, device=z.device)
    return z


def traverse(
    model: SentenceVAE,
    text: str,
    dim: int,
    *,
    low: float = -3.0,
    high: float = 3.0,
    steps: int = 7,
    **options: Any,
) -> list[str]:
    """Sentences with one dimension of a text's posterior mean set from `low` to `high`.

    `dim` is from 0 to Z − 1; `steps`, at least 2, counts both ends; the prior's deviation is 1.
    """
    z = traversal_codes(model, text, dim, low=low, high=high, steps=steps)
    return generate_text(model, z, **options)


def analogy_codes(model: SentenceVAE, a: str, b: str, c: str) -> Tensor:
    """A − b + c of the texts' posterior means, (1, Z)."""
    means = encode(model, [a, b, c]).mean
    return means[:1] - means[1:2] + means[2:]


def analogy(model: SentenceVAE, a: str, b: str, c: str, **options: Any) -> str:
    """The sentence at a − b + c of the texts' posterior means: what is to c as a is to b."""
    return generate_text(model, analogy_codes(model, a, b, c), **options)[0]


def attribute_vector(
    model: SentenceVAE, with_texts: Sequence[str], without_texts: Sequence[str]
) -> Tensor:
    """Mean code of texts with an attribute minus of those without, (Z,) (Larsen et al. 2016)."""
    return encode(model, with_texts).mean.mean(0) - encode(model, without_texts).mean.mean(0)


def shift(
    model: SentenceVAE, text: str, vector: Tensor, *, strength: float = 1.0, **options: Any
) -> str:
    """The sentence at a text's posterior mean plus `strength` times an `attribute_vector` (Z,)."""
    mean = encode(model, [text]).mean
    if (found := tuple(vector.shape)) != (model.latent_dim,):
        raise InputError(f"vector must have the shape {(model.latent_dim,)}, got {found}")
    strength = number("strength", strength, "(-inf, inf)")
    return generate_text(model, mean + strength * vector.to(mean), **options)[0]


class Shifted(NamedTuple):
    """Texts moved by one scale of an attribute vector."""

    scale: float
    texts: list[str]  # what each becomes
    taken: float  # share that the classifier takes for those with the attribute
    bleu: float  # of the sentences to the texts: content kept


def direction(
    model: SentenceVAE,
    from_texts: Sequence[str],
    to_texts: Sequence[str],
    texts: Sequence[str],
    scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0),
    **options: Any,
) -> tuple[list[Shifted], float]:
    """Move texts by scales of an `attribute_vector`, judged by a `quality.fitted_classifier`.

    It learns the two sets apart; its cross-validated accuracy comes along. Scale 0 is
    reconstruction, and always there. Options are those of `Decoding`.
    """
    for scale in scales:
        number("scale", scale, "(-inf, inf)")
    vector, means = attribute_vector(model, to_texts, from_texts), encode(model, texts).mean
    labels = ["from"] * len(from_texts) + ["to"] * len(to_texts)
    classifier, accuracy = fitted_classifier([*from_texts, *to_texts], labels)
    found = []
    for scale in sorted({0.0, *scales}):
        own = generate_text(model, means + scale * vector, **options)
        taken = float((classifier.predict(own) == "to").mean())
        found.append(Shifted(scale, own, taken, reconstruction_figures(own, texts).bleu))
    return found, accuracy


def lerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Points on the straight line between two codes (Z,), at shares (N,) of the way: (N, Z)."""
    return torch.lerp(start, end, shares[:, None])


def slerp(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Points on the arc (Shoemake 1985, section 3.3): of N(0, I), most codes lie near a sphere.

    Where there is none, because a code is zero or both lie on a line with the origin, `lerp`.
    """
    norms = start.norm() * end.norm()
    cosine = (start @ end) / norms.clamp(min=torch.finfo(norms.dtype).tiny)
    angle = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    if norms == 0 or sine < PARALLEL:
        return lerp(start, end, shares)
    ahead = torch.sin(shares * angle)[:, None] / sine
    behind = torch.sin((1 - shares) * angle)[:, None] / sine
    return behind * start + ahead * end


METHODS = {"linear": lerp, "spherical": slerp}


class Neighbour(NamedTuple):
    """A sentence of a corpus near the one asked for."""

    text: str
    distance: float  # in the metric asked for
    position: int  # in the corpus, counted from 0


def latent_distances(query: Posterior, corpus: Posterior, metric: str = "cosine") -> Tensor:
    """How far the posteriors (N, Z) of a corpus of N sentences are from one, (1, Z).

    `"cosine"` is 1 − the cosine between means, 1 from a mean of zero; `"euclidean"` is between
    means; `"kl"` is KL(query ‖ other), nats.
    """
    if one_of("metric", metric, METRICS) == "kl":
        return query.kl_to(corpus)
    if metric == "euclidean":
        return (query.mean - corpus.mean).square().sum(-1).sqrt()
    return 1 - torch.cosine_similarity(query.mean, corpus.mean)


def neighbours(
    model: SentenceVAE,
    text: str,
    corpus_texts: Iterable[str],
    k: int = 10,
    *,
    metric: str = "cosine",
) -> list[Neighbour]:
    """The `k` sentences of a corpus whose posteriors are nearest to a text's, the nearest first.

    A text that the corpus has is its own neighbour. The corpus is read once and in parts, so that
    it may be larger than memory. For metrics see `latent_distances`, for what is refused `encode`.
    """
    integer("k", k, 1)
    query, best, first, rest = encode(model, [text]), list[Neighbour](), 0, iter(corpus_texts)
    while part := list(islice(rest, CHUNK)):
        distances = latent_distances(query, encode(model, part), metric)
        nearest = distances.argsort(stable=True)[:k]
        best += [Neighbour(part[i], float(distances[i]), first + i) for i in nearest.tolist()]
        best = sorted(best, key=lambda neighbour: neighbour.distance)[:k]
        first += len(part)
    if first == 0:
        raise InputError("corpus_texts must hold at least one sentence, got 0")
    return best


def changes(sentences: Sequence[Decoded]) -> list[float]:
    """The share of tokens that change from each sentence to the next: edits over the longer one's.

    1 − their mean is how smooth a path is: perfectly, where a collapsed model says but one thing.
    """
    pairs = pairwise([sentence.ids for sentence in sentences])
    return [edit_distance(one, other) / max(len(one), len(other), 1) for one, other in pairs]


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Fewest insertions, deletions and replacements (Wagner & Fischer 1974)."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        corner, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (left != right))
    return row[-1]


class TextVAE(SentenceVAE):
    """A `SentenceVAE` that reads and writes text.

    Methods are the functions of the same name in `textvae.generation`; `encode_texts` is `encode`.
    """

    encode_texts = encode
    likeliest_labels = likeliest_labels
    drawn_labels = drawn_labels
    prior_codes = prior_codes
    aggregate_codes = aggregate_codes
    fitted_codes = fitted_codes
    source_codes = source_codes
    posterior_codes = posterior_codes
    jittered_codes = jittered_codes
    path_codes = path_codes
    traversal_codes = traversal_codes
    analogy_codes = analogy_codes
    attribute_vector = attribute_vector
    decode = decode
    generate_text = generate_text
    complete = complete
    sample = sample
    reconstruct = reconstruct
    jitter = jitter
    interpolate = interpolate
    traverse = traverse
    analogy = analogy
    shift = shift
    direction = direction
    neighbours = neighbours
