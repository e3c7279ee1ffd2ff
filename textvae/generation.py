"""From z to sentences and back: decode, sample from the prior, reconstruct, interpolate.

`decode` and `encode` work on latent codes; `sample`, `reconstruct` and `interpolate` take and give
text. Everything is batched, finished sentences leave the batch, and decoding always ends.

Shapes: B sentences, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from textvae.batch import collate
from textvae.model import Posterior, SentenceVAE
from textvae.tokenizer import Tokenizer

__all__ = ["STRATEGIES", "decode", "encode", "interpolate", "reconstruct", "sample"]

STRATEGIES = ("greedy", "sample")
MAX_LENGTH = 200


@torch.no_grad()
def decode(
    model: SentenceVAE,
    z: Tensor,
    *,
    strategy: str = "greedy",
    temperature: float = 1.0,
    max_length: int = MAX_LENGTH,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Generate one sentence for each latent code.

    Args:
        model: The model, with a tokenizer; put it into evaluation mode first.
        z: Latent codes, (B, Z).
        strategy: `"greedy"` takes the likeliest token, `"sample"` draws from p(token | past, z).
        temperature: Divides the scores before drawing; above 0, 1 is the model's own distribution.
        max_length: Most tokens of a sentence; one that has not ended by then is cut.
        generator: Source of randomness for `"sample"`, on the CPU.

    Returns:
        Token ids of each sentence, in the order of `z`, without special tokens.

    Raises:
        ValueError: If an argument is outside its range.
    """
    _check_decoding(strategy, temperature, max_length)
    tokenizer = _tokenizer_of(model)
    sentences: list[list[int]] = [[] for _ in range(len(z))]
    active = torch.arange(len(z))
    ids = torch.full((len(z),), tokenizer.bos_id, device=z.device)
    state = model.initial_state(z)
    for _ in range(max_length):
        scores, state = model.step(ids, state, z)
        scores[:, [tokenizer.pad_id, tokenizer.bos_id]] = -torch.inf  # never sentence content
        ids = _choose(scores, strategy, temperature, generator)
        going = ids != tokenizer.eos_id
        active, ids, z = active[going.cpu()], ids[going], z[going]
        state = tuple(part[:, going] for part in state)
        for row, token in zip(active.tolist(), ids.tolist(), strict=True):
            sentences[row].append(token)
        if len(ids) == 0:
            break
    return sentences


def _choose(
    scores: Tensor, strategy: str, temperature: float, generator: torch.Generator | None
) -> Tensor:
    if strategy == "greedy":
        return scores.argmax(-1)
    scores = scores.float().cpu()
    # From the largest score down, so that no temperature makes an infinite one.
    probabilities = torch.softmax((scores - scores.amax(-1, keepdim=True)) / temperature, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(scores.device)


@torch.no_grad()
def encode(model: SentenceVAE, texts: Sequence[str]) -> Posterior:
    """The posterior of each text.

    Args:
        model: The model, with a tokenizer.
        texts: B sentences; unknown words are read as `<unk>`.

    Returns:
        Means and log-variances, (B, Z), on the model's device.

    Raises:
        ValueError: If there are no texts, or the model is a language model and has no z.
    """
    if model.latent_dim == 0:
        raise ValueError("this is a language model (latent_dim 0): it has no latent code")
    tokenizer = _tokenizer_of(model)
    batch = collate(
        tokenizer.encode_batch(list(texts)),
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
    )
    return model.encode(batch.to(model.device))


def sample(
    model: SentenceVAE,
    num_sentences: int,
    *,
    seed: int = 0,
    strategy: str = "sample",
    temperature: float = 1.0,
    max_length: int = MAX_LENGTH,
) -> list[str]:
    """Sentences from the prior: z ~ N(0, I), then x ~ p(x|z).

    Args:
        model: The model, with a tokenizer.
        num_sentences: How many.
        seed: Seed of z and of the tokens: the same seed gives the same sentences.
        strategy: How tokens are chosen, see `decode`.
        temperature: See `decode`.
        max_length: See `decode`.

    Returns:
        The sentences.

    Raises:
        ValueError: If an argument is outside its range.
    """
    if num_sentences < 1:
        raise ValueError(f"num_sentences must be at least 1, got {num_sentences}")
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(num_sentences, model.latent_dim, generator=generator).to(model.device)
    ids = decode(
        model,
        z,
        strategy=strategy,
        temperature=temperature,
        max_length=max_length,
        generator=generator,
    )
    return _tokenizer_of(model).decode_batch(ids)


def reconstruct(
    model: SentenceVAE, texts: Sequence[str], *, max_length: int = MAX_LENGTH
) -> list[str]:
    """What comes back of each text when it goes through its posterior mean, decoded greedily.

    Raises:
        ValueError: If there are no texts, or the model has no z.
    """
    ids = decode(model, encode(model, texts).mu, max_length=max_length)
    return _tokenizer_of(model).decode_batch(ids)


def interpolate(
    model: SentenceVAE, first: str, second: str, *, steps: int = 5, max_length: int = MAX_LENGTH
) -> list[str]:
    """Sentences along the straight line between two texts' posterior means, decoded greedily.

    Args:
        model: The model, with a tokenizer.
        first: Text at one end.
        second: Text at the other end.
        steps: Number of sentences, both ends' reconstructions included; at least 2.
        max_length: Most tokens of a sentence.

    Returns:
        `steps` sentences.

    Raises:
        ValueError: If `steps` is less than 2, or the model has no z.

    Reference:
        Bowman et al. (2016), Generating Sentences from a Continuous Space, section 5.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2 (both ends), got {steps}")
    start, end = encode(model, [first, second]).mu
    shares = torch.linspace(0, 1, steps, device=start.device)[:, None]
    ids = decode(model, torch.lerp(start, end, shares), max_length=max_length)
    return _tokenizer_of(model).decode_batch(ids)


def _tokenizer_of(model: SentenceVAE) -> Tokenizer:
    if model.tokenizer is None:
        raise ValueError("the model has no tokenizer: set model.tokenizer, or load a saved run")
    return model.tokenizer


def _check_decoding(strategy: str, temperature: float, max_length: int) -> None:
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be finite and above 0, got {temperature}")
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
