"""The sentence VAE: `Encoder`, a posterior's head and `Decoder`, joined in `SentenceVAE`."""

from textvae.model.auxiliary import AUXILIARIES
from textvae.model.networks import Decoder, DecoderState, Encoder
from textvae.model.posterior import HEADS, Gaussian, GaussianHead, Posterior
from textvae.model.sentence_vae import SentenceVAE, VAEOutput
