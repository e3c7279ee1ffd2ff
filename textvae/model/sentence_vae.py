"""`SentenceVAE`: encoder, Gaussian posterior and autoregressive decoder, saved and loaded as one.

Shapes: S samples, B sentences, T tokens, V vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from textvae.batch import Batch
from textvae.files import find_pretrained, read_json, replacing, write_json
from textvae.model.decoder import LATENT_TO, Decoder, DecoderState
from textvae.model.encoder import CELLS, POOLINGS, Encoder
from textvae.tokenizer import Tokenizer

__all__ = ["Posterior", "SentenceVAE", "VAEOutput"]


class Posterior(NamedTuple):
    """q(z|x), a diagonal Gaussian for each sentence.

    Attributes:
        mu: Means, (B, Z).
        logvar: Logarithms of the variances, (B, Z).
    """

    mu: Tensor
    logvar: Tensor

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """Draw z = mu + sigma · noise, differentiably.

        Args:
            noise: Standard normal draws, (B, Z) or (S, B, Z); drawn here if not given.

        Returns:
            Latent codes of the noise's shape.
        """
        if noise is None:
            noise = torch.randn_like(self.mu)
        return self.mu + torch.exp(0.5 * self.logvar) * noise


class VAEOutput(NamedTuple):
    """What one pass says of each sentence.

    Attributes:
        rec: −log p(x|z) with z drawn from the posterior, (B,), nats.
        mu: Posterior means, (B, Z).
        logvar: Logarithms of the posterior variances, (B, Z).
    """

    rec: Tensor
    mu: Tensor
    logvar: Tensor


class SentenceVAE(nn.Module):
    """A sentence VAE: q(z|x) from a recurrent encoder, p(x|z) from a recurrent decoder.

    With `latent_dim=0` there is no encoder and no z: the same decoder as a language model, the
    floor to compare with. Its posterior has no dimensions, its KL is zero.

    Args:
        vocab_size: Number of token ids V, specials included.
        latent_dim: Dimensions Z of z; 0 for a language model.
        embedding_dim: Width of both embeddings.
        encoder_cell: `"gru"` or `"lstm"`.
        encoder_hidden_size: Units per layer and direction.
        encoder_num_layers: Recurrent layers.
        bidirectional: Encoder reads in both directions.
        pooling: Encoder's summary of a sentence: `"last"`, `"mean"` or `"max"`.
        decoder_cell: `"lstm"` or `"gru"`.
        decoder_hidden_size: Units per layer.
        decoder_num_layers: Recurrent layers.
        latent_to: How z enters the decoder: `"state"`, `"input"` or `"both"`.
        word_dropout: Share of the decoder's input words replaced by `<unk>`, training only.
        embedding_dropout: Dropout on the decoder's embedded inputs, training only.
        output_dropout: Dropout on the decoder's outputs, training only.
        tied_embeddings: Output layer shares the decoder's embedding.
        embedding_range: Embeddings start uniform in ± this. It sets how loud words are beside z,
            whose dimensions have variance 1, where the two enter the decoder together.
        tokenizer: Kept beside the model, saved and loaded with it.

    Raises:
        ValueError: If an argument is outside its range; all faults are named at once.

    Reference:
        Bowman et al. (2016), Generating Sentences from a Continuous Space.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        latent_dim: int = 32,
        embedding_dim: int = 256,
        encoder_cell: str = "gru",
        encoder_hidden_size: int = 256,
        encoder_num_layers: int = 1,
        bidirectional: bool = False,
        pooling: str = "last",
        decoder_cell: str = "lstm",
        decoder_hidden_size: int = 256,
        decoder_num_layers: int = 1,
        latent_to: str = "both",
        word_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        output_dropout: float = 0.0,
        tied_embeddings: bool = False,
        embedding_range: float = 0.1,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        arguments = {k: v for k, v in locals().items() if k not in ("self", "tokenizer")}
        arguments.pop("__class__", None)
        _check(arguments)
        super().__init__()
        self.arguments: dict[str, Any] = arguments
        self.tokenizer = tokenizer
        self.latent_dim = latent_dim
        self.decoder = Decoder(
            vocab_size,
            latent_dim,
            embedding_dim,
            decoder_hidden_size,
            num_layers=decoder_num_layers,
            cell=decoder_cell,
            latent_to=latent_to,
            word_dropout=word_dropout,
            embedding_dropout=embedding_dropout,
            output_dropout=output_dropout,
            tied_embeddings=tied_embeddings,
        )
        if latent_dim > 0:
            self.encoder = Encoder(
                vocab_size,
                embedding_dim,
                encoder_hidden_size,
                num_layers=encoder_num_layers,
                cell=encoder_cell,
                bidirectional=bidirectional,
                pooling=pooling,
            )
            self.mu = nn.Linear(self.encoder.output_size, latent_dim)
            self.logvar = nn.Linear(self.encoder.output_size, latent_dim)
        self._initialise_embeddings(embedding_range)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.decoder.output.weight.device

    def encode(self, batch: Batch) -> Posterior:
        """The posterior of each sentence of a batch: means and log-variances, (B, Z)."""
        if self.latent_dim == 0:
            nothing = torch.zeros(len(batch.lengths), 0, device=batch.lengths.device)
            return Posterior(nothing, nothing)
        hidden = self.encoder(batch.target_ids, batch.lengths)
        # fp32 whatever autocast does: KL and the draw of z are too delicate for bf16.
        return Posterior(self.mu(hidden).float(), self.logvar(hidden).float())

    def log_likelihood(self, batch: Batch, z: Tensor) -> Tensor:
        """Log p(x|z), summed over tokens, in nats: z (B, Z) → (B,), z (S, B, Z) → (S, B)."""
        return self.decoder.log_likelihood(batch, z)

    def forward(self, batch: Batch, noise: Tensor | None = None) -> VAEOutput:
        """Encode, draw one z per sentence, decode.

        Args:
            batch: B sentences.
            noise: Standard normal draws for z, (B, Z); from the global generator if not given.

        Returns:
            Reconstruction per sentence and the posterior; weigh and add them with `losses`.
        """
        posterior = self.encode(batch)
        rec = -self.log_likelihood(batch, posterior.sample(noise))
        return VAEOutput(rec, posterior.mu, posterior.logvar)

    def initial_state(self, z: Tensor) -> DecoderState:
        """The decoder's state before the first token, for z (B, Z)."""
        return self.decoder.initial_state(z)

    def step(self, ids: Tensor, state: DecoderState, z: Tensor) -> tuple[Tensor, DecoderState]:
        """Scores (B, V) of the next token after `ids` (B,), and the new state."""
        return self.decoder.step(ids, state, z)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json`, `model.safetensors` and, where there is one, `tokenizer.json`.

        Other sections of a `config.json` that stands there already are kept.

        Args:
            directory: Made if it does not exist.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        config_file = directory / "config.json"
        config = read_json(config_file) if config_file.exists() else {}
        write_json(config_file, {**config, "model": self.arguments})
        if self.tokenizer is not None:
            self.tokenizer.save(directory / "tokenizer.json")
        with replacing(directory / "model.safetensors") as temporary:
            save_model(self, str(temporary))

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Load model and tokenizer, in evaluation mode.

        Args:
            name: A run directory or a hub id.
            device: Where to put the parameters.

        Returns:
            The model, its `tokenizer` set.

        Raises:
            FileNotFoundError: If there is no such directory or repository, or a file is missing.
            ValueError: If the files do not describe a model of this version.
        """
        directory = find_pretrained(name)
        config = read_json(directory / "config.json")
        arguments = config.get("model") if isinstance(config, dict) else None
        if not isinstance(arguments, dict):
            raise ValueError(f"{directory / 'config.json'} has no section 'model'")
        tokenizer = Tokenizer.load(directory / "tokenizer.json")
        try:
            model = cls(**arguments, tokenizer=tokenizer)
            load_model(model, str(directory / "model.safetensors"))
        except (TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"{directory} does not hold a model of this version: {error}"
            ) from None
        return model.to(device).eval()

    def _initialise_embeddings(self, bound: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.uniform_(module.weight, -bound, bound)
                with torch.no_grad():
                    module.weight[module.padding_idx].zero_()


def _check(arguments: dict[str, Any]) -> None:
    faults = []
    for name, allowed in (
        ("encoder_cell", tuple(CELLS)),
        ("decoder_cell", tuple(CELLS)),
        ("pooling", POOLINGS),
        ("latent_to", LATENT_TO),
    ):
        if arguments[name] not in allowed:
            faults.append(f"{name} must be one of {', '.join(allowed)}, got {arguments[name]!r}")
    for name in ("word_dropout", "embedding_dropout", "output_dropout"):
        if not 0 <= arguments[name] <= 1:
            faults.append(f"{name} must be from 0 to 1, got {arguments[name]}")
    for name, least in (
        ("vocab_size", 5),
        ("latent_dim", 0),
        ("embedding_dim", 1),
        ("encoder_hidden_size", 1),
        ("encoder_num_layers", 1),
        ("decoder_hidden_size", 1),
        ("decoder_num_layers", 1),
    ):
        if arguments[name] < least:
            faults.append(f"{name} must be at least {least}, got {arguments[name]}")
    if not arguments["embedding_range"] > 0:
        faults.append(f"embedding_range must be above 0, got {arguments['embedding_range']}")
    width, hidden = arguments["embedding_dim"], arguments["decoder_hidden_size"]
    if arguments["tied_embeddings"] and width != hidden:
        faults.append(
            "tied_embeddings needs embedding_dim equal to decoder_hidden_size, "
            f"got {width} and {hidden}"
        )
    if faults:
        raise ValueError("; ".join(faults))
