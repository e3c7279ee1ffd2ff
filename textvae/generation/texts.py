"""Text in, text out: sentences of the codes that `codes` makes.

Functions such as `jitter` decode what a function of `codes` makes, here `jittered_codes`; for
log-probabilities too, `decode` these. They take the options of `Decoding` and `batch_size`, and
decode greedily unless told otherwise. A model that is told labels writes by numbers `labels`, which
`sample` draws and `reconstruct` guesses, but for what the option `label` sets. What they refuse is
what `codes` refuses.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from textvae.checks import InputError, number
from textvae.generation import codes
from textvae.generation.completion import complete
from textvae.generation.decoding import decode, generate_text
from textvae.generation.distances import neighbours
from textvae.model import SentenceVAE
from textvae.quality import fitted_classifier, reconstruction_figures


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
    them taken at random, or what is fitted to their codes: one Gaussian (`"gaussian"`) or a mixture
    (`"gmm"`, one for every 400 texts, 50 at most). The same seed gives the same sentences, so
    calling it again does, unless you give another; fewer of them are the first of more, but for the
    fitted.
    """
    z = codes.source_codes(model, num_sentences, source=source, texts=texts, seed=seed)
    options.setdefault("labels", codes.drawn_labels(model, len(z), seed=seed))
    options |= {"seed": seed, "strategy": strategy, "allow_unknown": allow_unknown}
    return generate_text(model, z, **options)


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
        labels = codes.likeliest_labels(model, texts)
    z = codes.posterior_codes(model, texts, labels=labels, sampled=sampled, seed=seed)
    return generate_text(model, z, labels=labels, seed=seed, **options)


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
    z = codes.jittered_codes(model, text, num_sentences, scale=scale, seed=seed)
    return generate_text(model, z, seed=seed, **options)


def interpolate(
    model: SentenceVAE, *texts: str, steps: int = 5, method: str = "linear", **options: Any
) -> list[str]:
    """Sentences on the way between texts' posterior means (Bowman et al. 2016, section 5).

    From each of two texts or more to the next there are `steps` sentences, at least 2, both
    reconstructions included; the method is `"linear"` or `"spherical"`, see `lerp` and `slerp`.
    """
    z = codes.path_codes(model, *texts, steps=steps, method=method)
    return generate_text(model, z, **options)


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
    z = codes.traversal_codes(model, text, dim, low=low, high=high, steps=steps)
    return generate_text(model, z, **options)


def analogy(model: SentenceVAE, a: str, b: str, c: str, **options: Any) -> str:
    """The sentence at a − b + c of the texts' posterior means: what is to c as a is to b."""
    return generate_text(model, codes.analogy_codes(model, a, b, c), **options)[0]


def shift(
    model: SentenceVAE, text: str, vector: Tensor, *, strength: float = 1.0, **options: Any
) -> str:
    """The sentence at a text's posterior mean plus `strength` times an `attribute_vector` (Z,)."""
    mean = codes.encode(model, [text]).mean
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
    vector = codes.attribute_vector(model, to_texts, from_texts)
    means = codes.encode(model, texts).mean
    labels = ["from"] * len(from_texts) + ["to"] * len(to_texts)
    classifier, accuracy = fitted_classifier([*from_texts, *to_texts], labels)
    found = []
    for scale in sorted({0.0, *scales}):
        own = generate_text(model, means + scale * vector, **options)
        taken = float((classifier.predict(own) == "to").mean())
        found.append(Shifted(scale, own, taken, reconstruction_figures(own, texts).bleu))
    return found, accuracy


class TextVAE(SentenceVAE):
    """A `SentenceVAE` that reads and writes text.

    Methods are the functions of the same name in `textvae.generation`; `encode_texts` is `encode`.
    """

    encode_texts = codes.encode
    likeliest_labels = codes.likeliest_labels
    drawn_labels = codes.drawn_labels
    prior_codes = codes.prior_codes
    aggregate_codes = codes.aggregate_codes
    fitted_codes = codes.fitted_codes
    fitted_mixture = codes.fitted_mixture
    source_codes = codes.source_codes
    posterior_codes = codes.posterior_codes
    jittered_codes = codes.jittered_codes
    path_codes = codes.path_codes
    traversal_codes = codes.traversal_codes
    analogy_codes = codes.analogy_codes
    attribute_vector = codes.attribute_vector
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
