"""The sentence VAE: `Encoder`, `Decoder` and `SentenceVAE`, which joins them."""

from textvae.model.decoder import Decoder, DecoderState
from textvae.model.encoder import Encoder
from textvae.model.sentence_vae import Posterior, SentenceVAE, VAEOutput

__all__ = ["Decoder", "DecoderState", "Encoder", "Posterior", "SentenceVAE", "VAEOutput"]
