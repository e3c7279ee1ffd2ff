"""`SentenceVAE`: encoder, posterior and autoregressive decoder, saved and loaded as one.

Shapes: S samples, B sentences, T tokens, V vocabulary, Z latent dimensions.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from textvae import hub
from textvae.batches import Batch
from textvae.checks import InputError, at_least, choose
from textvae.config import ModelConfig
from textvae.files import (
    UNSEALED,
    check_seal,
    find_pretrained,
    read_config,
    replacing,
    seal,
    update_config,
)
from textvae.model.auxiliary import AUXILIARIES
from textvae.model.labels import Labels
from textvae.model.networks import Decoder, DecoderState, Encoder
from textvae.model.posterior import HEADS, Gaussian, Posterior
from textvae.tokenizer import Tokenizer


class VAEOutput(NamedTuple):
    """What one pass says of each sentence."""

    posterior: Posterior  # q(z|x)
    z: Tensor  # codes drawn from it, (B, Z), or (S, B, Z)
    # Nats per sentence by name, (B,) or (S, B): first `rec`, −log p(x|z), then, in training only,
    # the auxiliary losses, and log q(z|x) − log p(z) of S codes, `log_ratio`, as a function of z.
    terms: dict[str, Tensor]


class SentenceVAE(nn.Module):
    """A sentence VAE (Bowman et al. 2016): recurrent encoder to q(z|x), recurrent decoder p(x|z).

    With `latent_dim=0` there is no encoder and no z: the same decoder as a language model, the
    floor to compare with. Its posterior has no dimensions, its KL is zero. With `classes` it is
    told each sentence's own labels, in q(z|x, y) and p(x|z, y): all it measures is given y.

    A subclass with options of its own sets `Config` to a subclass of `ModelConfig`; they are
    checked, saved and loaded like the others.

    Args:
        vocab_size: Number of token ids V, specials included, at least 5.
        tokenizer: Kept beside the model, saved and loaded with it.
        options: Fields of `ModelConfig`, whose help says what each is; kept as `config`.

    Raises:
        InputError: If an option is outside its range; all faults are named at once.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig

    def __init__(
        self, vocab_size: int, *, tokenizer: Tokenizer | None = None, **options: Any
    ) -> None:
        super().__init__()
        at_least(5, vocab_size=vocab_size)
        self.config = config = self.Config(**options)
        self.vocab_size, self.latent_dim = vocab_size, config.latent_dim
        self.labels = Labels(config.classes)
        self._tokenizer = tokenizer
        self.decoder = Decoder(vocab_size, config)
        self.auxiliaries = nn.ModuleDict()
        self.term_weights: dict[str, float] = {}  # in the loss, but for the KL
        if config.latent_dim > 0:
            self.encoder = Encoder(vocab_size, config)
            if config.shared_embedding:
                self.encoder.embedding = self.decoder.embedding
            head = choose(HEADS, "posterior", config.posterior)
            self.head = head(self.encoder.output_size + config.code_size - self.latent_dim, config)
            self.term_weights = {n: w for n in AUXILIARIES if (w := getattr(config, n, 0.0))}
            for name in self.term_weights:
                self.auxiliaries[name] = AUXILIARIES[name](vocab_size, config)
            if config.words_only:
                self.term_weights["rec"] = 0.0
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                bound = config.embedding_range
                nn.init.uniform_(module.weight, -bound, bound)
                with torch.no_grad():
                    module.weight[module.padding_idx].zero_()

    def extra_repr(self) -> str:
        """What `repr` says beside the modules."""
        size = sum(weights.numel() for weights in self.parameters())
        return f"vocab_size={self.vocab_size}, latent_dim={self.latent_dim}, {size:,} parameters"

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.decoder.output.weight.device

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; an InputError if it has none."""
        if self._tokenizer is None:
            raise InputError("the model has no tokenizer: build it with tokenizer=…, or load it")
        return self._tokenizer

    def require_latent(self) -> None:
        """An InputError if this is a language model."""
        if self.latent_dim == 0:
            raise InputError("this is a language model (latent_dim 0): it has no latent code")

    def encode(self, batch: Batch) -> Posterior:
        """The posterior of each sentence of a batch."""
        if self.latent_dim == 0:
            nothing = torch.zeros(len(batch.lengths), 0, device=batch.lengths.device)
            return Gaussian(nothing, nothing)
        summary = self.encoder(batch.target_ids, batch.lengths)
        posterior: Posterior = self.head(self.labels.told(batch.labels, summary))
        return posterior

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z), nats summed over tokens: z (B, Z) → (B,), z (S, B, Z) → (S, B)."""
        return self.decoder.log_likelihood(batch, self.labels.told(batch.labels, z))

    def forward(self, batch: Batch, noise: Tensor | None = None) -> VAEOutput:
        """Encode, draw z, decode; weigh and add the terms with `losses.objective`.

        Z is drawn by the noise, standard normal numbers (B, Z), or (S, B, Z) for S codes of each
        sentence; if not given, by (B, Z) from the global generator.
        """
        posterior = self.encode(batch)
        codes = z = posterior.sample(noise)
        if z.ndim == 3:
            z = codes.view_as(codes)  # apart from what auxiliaries read, for `split_gradient`
        terms = {"rec": -self.log_likelihood(batch, z)}
        if self.training:
            terms |= {name: loss(batch, codes) for name, loss in self.auxiliaries.items()}
            if z.ndim == 3:
                terms["log_ratio"] = posterior.map(Tensor.detach).log_ratio(z)
        return VAEOutput(posterior, z, terms)

    def initial_state(self, z: Tensor) -> DecoderState:
        """The decoder's state before the first token, for z (B, Z), labels told (`labels.told`)."""
        return self.decoder.initial_state(z)

    def step(self, ids: Tensor, state: DecoderState, z: Tensor) -> tuple[Tensor, DecoderState]:
        """Scores (B, V) of the next token after `ids` (B,), and the new state."""
        return self.decoder.step(ids, state, z)

    def save_pretrained(self, directory: str | Path, *, push_to_hub: str | None = None) -> None:
        """Write `config.json`, `model.safetensors` and, where there is one, `tokenizer.json`.

        The directory is made if need be; other sections of its `config.json` are kept. With
        `push_to_hub`, `"owner/name"`, that repository is made, too, with a model card (`hub.push`).
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        own = {"vocab_size": self.vocab_size, **dataclasses.asdict(self.config)}
        update_config(directory, model=own)
        if self._tokenizer is not None:
            self._tokenizer.save(directory / "tokenizer.json")
        with replacing(directory / "model.safetensors") as temporary:
            save_model(self, str(temporary), {"sha256": UNSEALED})
            seal(temporary, _described(own, directory))
        if push_to_hub is not None:
            hub.create(push_to_hub)
            hub.push(directory, push_to_hub)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Load model and tokenizer, in evaluation mode, from a run directory, a hub id, or "demo".

        Raises:
            FileNotFoundError: If there is no such directory or repository, or a file is missing.
            InputError: If the files are damaged, or do not describe a model of this version.
        """
        directory = find_pretrained(name)
        options = read_config(directory, "model")["model"]
        tokenizer = Tokenizer.load(directory / "tokenizer.json")
        weights = directory / "model.safetensors"
        try:
            model = cls(**options, tokenizer=tokenizer)
            load_model(model, str(weights))
        except (TypeError, RuntimeError, SafetensorError) as error:
            told = f"{directory} does not hold a model of this version: {error}"
            raise InputError(told) from None
        check_seal(weights, _described(options, directory))
        return model.to(device).eval()


def _described(options: Mapping[str, Any], directory: Path) -> bytes:
    """What says how weights are used: other options may fit them too, other words always do."""
    words = directory / "tokenizer.json"
    described = json.dumps(options, sort_keys=True).encode()
    return described + (words.read_bytes() if words.exists() else b"")
