"""The usual loop, written here once, plainly, in the way public sentence-VAE code does it.

Lines become lists; random batches are padded to the longest sentence; the encoder is packed, scores
and log-softmax are taken at every position, losses read back at each step; NLL is measured and
sentences are decoded one by one. The layers are those of a `SentenceVAE` with one GRU and one LSTM
layer; what is done with them is not textvae's.

Shapes: B sentences, T tokens, H hidden, V vocabulary, Z latent, K importance samples,
S decoded at a time.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from textvae import SentenceVAE
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID


def read(directory: Path) -> tuple[dict[str, list[list[int]]], dict[str, int]]:
    """Each file's sentences as ids, and the vocabulary: the training words as they come."""
    words = {}
    for path in directory.glob("*.txt"):
        with path.open(encoding="utf-8") as lines:
            words[path.stem] = [line.split() for line in lines]
    vocabulary = {"<pad>": PAD_ID, "<unk>": UNK_ID, "<bos>": BOS_ID, "<eos>": EOS_ID}
    for sentence in words["train"]:
        for word in sentence:
            vocabulary.setdefault(word, len(vocabulary))
    ids = {
        split: [[vocabulary.get(word, UNK_ID) for word in sentence] for sentence in sentences]
        for split, sentences in words.items()
    }
    return ids, vocabulary


class PaddedBatch(NamedTuple):
    """Sentences padded to the longest: what is read, what is predicted (B, T), lengths (B,)."""

    input_ids: Tensor
    target_ids: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, sentences: Sequence[Sequence[int]]) -> Self:
        """The batch of sentences' ids without special tokens."""
        inputs = [torch.tensor([BOS_ID, *ids]) for ids in sentences]
        targets = [torch.tensor([*ids, EOS_ID]) for ids in sentences]
        return cls(
            pad_sequence(inputs, batch_first=True, padding_value=PAD_ID),
            pad_sequence(targets, batch_first=True, padding_value=PAD_ID),
            torch.tensor([len(ids) for ids in inputs]),
        )


def random_batches(sentences: Sequence[Sequence[int]], batch_size: int) -> Iterator[PaddedBatch]:
    """All sentences once, in random order, padded to the longest of each batch."""
    order = torch.randperm(len(sentences)).tolist()
    for start in range(0, len(order), batch_size):
        yield PaddedBatch.of([sentences[i] for i in order[start : start + batch_size]])


def encode(model: SentenceVAE, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
    """Means and log-variances of the posterior, (B, Z), by a packed encoder."""
    embedded = model.encoder.embedding(batch.target_ids)
    packed = pack_padded_sequence(embedded, batch.lengths, batch_first=True, enforce_sorted=False)
    hidden = model.encoder.rnn(packed)[1][-1]
    return model.head.mu(hidden), model.head.logvar(hidden)


def decode(model: SentenceVAE, inputs: Tensor, z: Tensor) -> Tensor:
    """What the output layer sees at every position, (B, T, H), for z (B, Z)."""
    embedded = model.decoder.embedding(inputs)
    repeated = z[:, None].expand(-1, inputs.shape[1], -1)
    read = torch.cat([embedded, repeated], dim=-1)
    outputs: Tensor = model.decoder.rnn(read, model.initial_state(z))[0]
    return outputs


def loss_terms(model: SentenceVAE, batch: PaddedBatch, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL of a batch with z = mu + sigma · noise, nats per sentence."""
    mu, logvar = encode(model, batch)
    outputs = decode(model, batch.input_ids, mu + torch.exp(0.5 * logvar) * noise)
    log_probs = F.log_softmax(model.decoder.output(outputs), dim=-1).flatten(0, 1)
    targets = batch.target_ids.flatten()
    rec = F.nll_loss(log_probs, targets, ignore_index=PAD_ID, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return rec / len(batch.lengths), kl / len(batch.lengths)


def train_on(
    model: SentenceVAE, optimizer: torch.optim.Optimizer, batch: PaddedBatch, clip_norm: float
) -> tuple[float, float]:
    """One step, and what a loop prints of it: reconstruction and KL."""
    noise = torch.randn(len(batch.lengths), model.latent_dim)
    rec, kl = loss_terms(model, batch, noise)
    optimizer.zero_grad()
    (rec + kl).backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return rec.item(), kl.item()


@torch.no_grad()
def importance_nll_of_one(model: SentenceVAE, ids: Sequence[int], noise: Tensor) -> float:
    """−log (1/K) Σ_k p(x, z_k) / q(z_k|x) of one sentence, nats; noise is (K, Z)."""
    batch = PaddedBatch.of([ids])
    mu, logvar = encode(model, batch)
    sigma = torch.exp(0.5 * logvar)
    log_weights = []
    for part in noise.to(mu).split(50):
        z = mu + sigma * part
        outputs = decode(model, batch.input_ids.expand(len(z), -1), z)
        log_probs = F.log_softmax(model.decoder.output(outputs), dim=-1)  # (S, T, V)
        targets = batch.target_ids.expand(len(z), -1)
        log_likelihood = log_probs.gather(2, targets[:, :, None]).sum((1, 2))
        log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        log_posterior = torch.distributions.Normal(mu, sigma).log_prob(z).sum(-1)
        log_weights.append(log_likelihood + log_prior - log_posterior)
    return math.log(len(noise)) - torch.cat(log_weights).logsumexp(0).item()


@torch.no_grad()
def one_at_a_time(
    model: SentenceVAE, z: Tensor, max_length: int, is_random: bool
) -> list[list[int]]:
    """Sentence by sentence, token by token: drawn, or the likeliest."""
    sentences = []
    for code in z[:, None]:
        state, token, sentence = model.initial_state(code), BOS_ID, list[int]()
        while len(sentence) < max_length:
            scores, state = model.step(torch.tensor([token]), state, code)
            drawn = torch.multinomial(scores.softmax(-1), 1) if is_random else scores.argmax(-1)
            token = int(drawn)
            if token == EOS_ID:
                break
            sentence.append(token)
        sentences.append(sentence)
    return sentences
