"""Latent codes: of texts by `encode`, drawn, moved, and on the way between texts.

A model with a tokenizer is needed, in evaluation mode; `InputError` for what is outside its range,
or what `encode` doesn't take. `decode` makes sentences of codes; `seed` is of every draw.

Shapes: B sentences, N codes, F labels, Z latent dimensions.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textvae.batches import BatchLoader, EncodedSplit, collate
from textvae.checks import MANY, InputError, choose, imported, integer, number, one_of
from textvae.diagnostics import importance_nll
from textvae.generation.draws import CHOICE, LABEL, normals, uniforms
from textvae.model import Posterior, SentenceVAE

TOGETHER = 64  # sentences that are encoded at a time: more are no faster
ROUNDS, NUM_SAMPLES = 2, 10  # in which labels are guessed, by an NLL of so many samples
PARALLEL = 1e-4  # sine of the angle below which two codes span no plane in fp32
# Components of what is fitted, by the number of sentences: as many as these can tell apart.
FITTED: dict[str, Callable[[int], int]] = {
    "gaussian": lambda num: 1,
    "gmm": lambda num: min(50, max(1, num // 400)),
}
MAX_FITTED = 20_000  # training sentences that it is fitted to
DRAWS = 3  # codes of each
SOURCES = ("prior", "aggregate", *FITTED)


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
    if not counts:
        return labels
    split = EncodedSplit.from_ids(check_texts(model, texts))
    split.labels = labels.numpy()  # the same memory: what is tried is read
    loader = BatchLoader(split, batch_size=TOGETHER, shuffle=False)
    for column, own in list(enumerate(counts)) * ROUNDS:
        log_p = []
        for value, count in enumerate(own):
            labels[:, column] = value
            nll = importance_nll(model, loader, num_samples=NUM_SAMPLES).per_sentence
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
    """Draws from the `fitted_mixture` of texts, (num_codes, Z)."""
    integer("num_sentences", num_codes, 1, most=MANY)
    fit = fitted_mixture(model, texts, components=components, seed=seed)
    drawn = np.random.default_rng(seed).permutation(fit.sample(num_codes)[0])  # not by component
    return torch.from_numpy(drawn).to(model.device, torch.float32)


def fitted_mixture(
    model: SentenceVAE, texts: Sequence[str], *, components: int = 1, seed: int = 0
) -> Any:
    """A mixture of full Gaussians, scikit-learn's, fitted to the aggregate posterior of texts.

    By `DRAWS` of each one's posterior (Ghosh et al. 2020, section 4, of means).
    """
    posterior = encode(model, texts)
    noise = prior_codes(model, DRAWS * len(texts), seed=seed).view(DRAWS, len(texts), -1)
    codes = posterior.sample(noise).flatten(0, 1)
    if len(texts) <= components:
        raise InputError(f"texts must be more than {components} to fit to, got {len(texts)}")
    needs = 'fitted codes need scikit-learn: pip install "textvae[quality]"'
    mixture = imported("sklearn.mixture", needs).GaussianMixture
    return mixture(components, max_iter=1000, random_state=seed % 2**32).fit(codes.cpu().double())


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
    components = FITTED[source](len(texts))
    return fitted_codes(model, num_codes, texts, components=components, seed=seed)


def posterior_codes(
    model: SentenceVAE, texts: Sequence[str], *, sampled: bool = False, seed: int = 0, **own: Any
) -> Tensor:
    """The posterior mean of each text, or a draw from its posterior, (B, Z); `encode`'s options."""
    posterior = encode(model, texts, **own)
    if not sampled:
        return posterior.mean
    return posterior.sample(prior_codes(model, len(texts), seed=seed))


def jittered_codes(
    model: SentenceVAE, text: str, num_codes: int = 5, *, scale: float = 1.0, seed: int = 0
) -> Tensor:
    """Codes from around a text, (num_codes, Z): mean + `scale` · deviation · noise."""
    scale = number("scale", scale, "[0, inf)")
    noise = prior_codes(model, num_codes, seed=seed)
    return encode(model, [text]).sample(scale * noise)


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


def analogy_codes(model: SentenceVAE, a: str, b: str, c: str) -> Tensor:
    """A − b + c of the texts' posterior means, (1, Z)."""
    means = encode(model, [a, b, c]).mean
    return means[:1] - means[1:2] + means[2:]


def attribute_vector(
    model: SentenceVAE, with_texts: Sequence[str], without_texts: Sequence[str]
) -> Tensor:
    """Mean code of texts with an attribute minus of those without, (Z,) (Larsen et al. 2016)."""
    return encode(model, with_texts).mean.mean(0) - encode(model, without_texts).mean.mean(0)


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
