"""What a trained model is used for, against the usual loop: importance-weighted NLL, decoding."""

from copy import deepcopy
from functools import partial

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from benchmarks import models
from benchmarks.bench import Bench, Side, close
from benchmarks.models import Ids
from benchmarks.usual import importance_nll_of_one, one_at_a_time
from textvae import BatchLoader, SentenceVAE, Tokenizer
from textvae.batches import EncodedSplit
from textvae.diagnostics import importance_nll
from textvae.generation import MAX_LENGTH
from textvae.generation import decode as our_decode
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID

UNTRAINED_LENGTH = 25  # of every sentence of an untrained model: a little more than PTB's mean
RTOL = 1e-4  # how far an NLL may be from the usual loop's
BATCH_SIZE = 4  # 64 sentences in batches of 4 are padded by 4%; a split in batches of 64 by 3%


def evaluate(
    bench: Bench,
    data_dir: str | None = None,
    run: str | None = None,
    num_samples: PositiveInt = 500,
    num_sentences: PositiveInt = 64,
    num_reference: PositiveInt = 16,
) -> None:
    """Importance-weighted NLL."""
    model = models.new_model().eval() if run is None else SentenceVAE.from_pretrained(run)
    tokenizer = None if run is None else model.tokenizer
    ids, about = models.some_sentences(data_dir, "test", num_sentences, tokenizer)
    some = ids[:num_reference]
    setting = {"model": f"{run or 'random weights'} ({models.sizes(model)})", "data": about}
    bench.describe("fp32", setting)
    flops = models.flops_per_token(model, encodings=1 / num_samples)
    usual = partial(usual_estimate, model, some, num_samples)
    reference = Side(usual, flops, count=lambda _: num_samples * models.num_tokens(some))
    exact = np.array(usual_estimate(deepcopy(model).double(), ids, num_samples))
    estimate = partial(our_estimate, model, ids, num_samples)
    error = np.abs(estimate() - exact)
    agreement = close("NLL at most", estimate()[: len(some)], usual(), RTOL)
    ours = Side(estimate, flops, count=lambda _: num_samples * models.num_tokens(ids))
    bench.compare("IW-NLL, fp32", "tokens/s", agreement, ours, reference)
    figures = {"mean |Δ|, nats": float(error.mean()), "largest |Δ|, nats": float(error.max())}
    bench.note("fp32 beside fp64", figures)


def our_estimate(model: SentenceVAE, ids: Ids, num_samples: int) -> list[float]:
    """Textvae's NLL of each sentence, nats; about as little padding as `textvae diagnose` has."""
    split = EncodedSplit.from_ids(ids)
    batches = list(BatchLoader(split, batch_size=BATCH_SIZE, shuffle=False))
    found = importance_nll(model, batches, num_samples=num_samples)
    return found.per_sentence.tolist()


def usual_estimate(model: SentenceVAE, sentences: Ids, num_samples: int) -> list[float]:
    """The usual loop's, with the noise that textvae draws for each sentence with seed 0."""
    shape, found = (num_samples, model.latent_dim), []
    for i, ids in enumerate(sentences):
        noise = torch.from_numpy(np.random.default_rng([0, 0, i]).standard_normal(shape))
        found.append(importance_nll_of_one(model, ids, noise))
    return found


def decode(
    bench: Bench,
    run: str | None = None,
    num_sentences: PositiveInt = 512,
    num_reference: PositiveInt = 64,
    max_length: PositiveInt | None = None,
) -> None:
    """Sampling and greedy decoding, batched and not."""
    model = untrained_model() if run is None else SentenceVAE.from_pretrained(run)
    silence(model, PAD_ID, BOS_ID)
    length = max_length or (UNTRAINED_LENGTH if run is None else MAX_LENGTH)
    z = torch.randn(num_sentences, model.latent_dim, generator=torch.Generator().manual_seed(0))
    some = z[:num_reference]
    untrained = f"random weights, no sentence ends by itself: all are cut at {length} tokens"
    bench.describe("fp32", {"model": f"{run or untrained} ({models.sizes(model)})"})
    flops = models.flops_per_token(model, encodings=0)  # lengths matter little here

    def tokens(sentences: Ids) -> int:
        return sum(min(len(ids) + 1, length) for ids in sentences)

    for name, strategy in (("sampling", "sample"), ("greedy", "greedy")):
        ours = partial(our_ids, model, z, strategy, length)
        usual = partial(one_at_a_time, model, some, length, strategy == "sample")
        agreement = "random" if strategy == "sample" else identical(ours(), usual())
        sides = (Side(work, flops, count=tokens) for work in (ours, usual))
        bench.compare(f"{name}, {len(z)} sentences", "tokens/s", agreement, *sides)


def our_ids(model: SentenceVAE, z: Tensor, strategy: str, max_length: int) -> Ids:
    """What textvae decodes."""
    found = our_decode(model, z, strategy=strategy, max_length=max_length)
    return [one.ids for one in found]


def untrained_model() -> SentenceVAE:
    """A model of Penn Treebank's size, whose sentences never end.

    Random ends would make lengths, and with them the figures, a matter of chance. The output
    weights are large, because some words must stand out as they do in a trained model: among
    10,000 equal ones the likeliest would be a matter of rounding.
    """
    words = (f"word{i}" for i in range(models.PTB_SIZE["vocab_size"] - 4))
    model = models.new_model(tokenizer=Tokenizer.train([" ".join(words)])).eval()
    torch.nn.init.normal_(model.decoder.output.weight, generator=torch.Generator().manual_seed(0))
    silence(model, EOS_ID)
    return model


def silence(model: SentenceVAE, *ids: int) -> None:
    """Let tokens never come: textvae forbids padding and BOS, the usual loop has no such rule."""
    with torch.no_grad():
        model.decoder.output.bias[list(ids)] = -1e9  # no score makes up for it


def identical(ours: Ids, usual: Ids) -> str:
    """How many sentences are the same; one in a hundred may not be, where rounding decides."""
    same = sum(a == b for a, b in zip(ours, usual, strict=False))
    said = f"{same} of {len(usual)} identical"
    if same < 0.99 * len(usual):
        raise RuntimeError(f"the two sides don't do the same: {said}")
    return said
