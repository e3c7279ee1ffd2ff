"""A training step on each rung from the usual loop up to textvae's: `rungs`, `train_step`.

`Switches` says what is unlike the usual loop; a rung has one more on than the rung before. The
first is the usual loop once more, as a control; the last two take the step that the Trainer takes.

Shapes: B sentences, T tokens, N scored positions, H hidden, Z latent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks.subject import PRECISIONS
from benchmarks.train import CLIP_NORM
from benchmarks.usual import random_batches
from textvae.batches import Batch, BatchLoader, EncodedSplit
from textvae.diagnostics import gradient_norms
from textvae.losses import elbo_terms, kl_per_dimension
from textvae.model import Gaussian, Posterior, SentenceVAE
from textvae.runtime import autocast
from textvae.tokenizer import PAD_ID

__all__ = ["Switches", "batches_of", "rungs", "terms", "train_step"]


@dataclass(frozen=True, kw_only=True)
class Switches:
    """What is unlike the usual loop, in the order of the rungs: each needs those before it.

    Attributes:
        like_length: Batches of like length, not random ones.
        unpacked: The encoder reads padding too, and the state after the last token is gathered.
        real_tokens: Words are scored where there is a token, not at padding.
        own_gradient: Scores, softmax and gradient in one: `token_nll`, and with it all of textvae's
            forward pass.
        fused: Fused Adam, the norms of whole and parts in one pass, nothing read back.
        full_speed: fp32 products by the CPU's quickest library, freed memory used again.
        bf16: Matrices are multiplied in bf16.
    """

    like_length: bool = False
    unpacked: bool = False
    real_tokens: bool = False
    own_gradient: bool = False
    fused: bool = False
    full_speed: bool = False
    bf16: bool = False

    @property
    def precision(self) -> str:
        """A name in `PRECISIONS`."""
        return "bf16" if self.bf16 else "fp32"


NAMES = {
    "like_length": "+ batches of like length",
    "unpacked": "+ encoder unpacked",
    "real_tokens": "+ scores at real tokens only",
    "own_gradient": "+ output layer's own gradient",
    "fused": "+ fused Adam, nothing read back",
    "full_speed": "+ products and memory of cpu.full_speed",
    "bf16": "+ bf16 products",
}


def rungs() -> dict[str, Switches]:
    """By name, from the usual loop up."""
    on = Switches()
    found = {"usual loop": on}
    for switch in fields(Switches):
        on = replace(on, **{switch.name: True})
        found[NAMES[switch.name]] = on
    return found


def train_step(
    model: SentenceVAE, optimizer: torch.optim.Optimizer, batch: Batch, on: Switches
) -> None:
    """One step."""
    noise = torch.randn(batch.num_sentences, model.latent_dim)
    with autocast(model.device, PRECISIONS[on.precision]):
        rec, kl = terms(model, batch, noise, on)
    optimizer.zero_grad()
    (rec + kl).backward()
    if on.fused:
        norms = gradient_norms(model)
        clip_grads_with_norm_(model.parameters(), CLIP_NORM, norms.total)
    else:
        clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    if not on.fused:
        rec.item(), kl.item()


def terms(model: SentenceVAE, batch: Batch, noise: Tensor, on: Switches) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL of a batch, nats per sentence, for noise (B, Z)."""
    if on.own_gradient:
        found = elbo_terms(*model(batch, noise))
        return found.rec, found.kl
    posterior = model.encode(batch) if on.unpacked else packed_posterior(model, batch)
    outputs, targets = decoder_outputs(model, batch, posterior.sample(noise)), batch.target_ids
    if on.real_tokens:
        mask = targets != PAD_ID
        outputs, targets = outputs[mask], targets[mask]  # (N, H), (N,)
    else:
        outputs, targets = outputs.flatten(0, 1), targets.flatten()
    log_probs = F.log_softmax(model.decoder.output(outputs), dim=-1)
    rec = F.nll_loss(log_probs, targets, ignore_index=PAD_ID, reduction="sum")
    return rec / batch.num_sentences, kl_per_dimension(*posterior).sum(-1).mean()


def packed_posterior(model: SentenceVAE, batch: Batch) -> Posterior:
    """The posterior of each sentence, as the usual loop has it."""
    packed = pack_padded_sequence(
        model.encoder.embedding(batch.target_ids),
        batch.lengths,
        batch_first=True,
        enforce_sorted=False,
    )
    hidden = model.encoder.rnn(packed)[1][-1]
    return Gaussian(model.head.mu(hidden), model.head.logvar(hidden))


def decoder_outputs(model: SentenceVAE, batch: Batch, z: Tensor) -> Tensor:
    """What the output layer sees at every position, (B, T, H), for z (B, Z)."""
    embedded = model.decoder.embedding(batch.input_ids)
    repeated = z[:, None].expand(-1, embedded.shape[1], -1)
    inputs = torch.cat([embedded, repeated], dim=-1)
    outputs: Tensor = model.decoder.rnn(inputs, model.initial_state(z))[0]
    return outputs


def batches_of(sentences: Sequence[list[int]], batch_size: int, on: Switches) -> Iterator[Batch]:
    """An epoch's batches."""
    if on.like_length:
        return iter(BatchLoader(EncodedSplit.from_ids(sentences), batch_size=batch_size))
    padded = random_batches(sentences, batch_size)
    return (Batch(*batch, torch.arange(len(batch.lengths))) for batch in padded)
