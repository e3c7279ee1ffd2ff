"""A page in the browser to explore a run's latent space; only showing it needs the extra `demo`."""

from textvae.explore.opening import Sentences, open_session, read_sentences
from textvae.explore.page import check_address, serve
from textvae.explore.session import Dimension, Session

__all__ = [
    "Dimension",
    "Sentences",
    "Session",
    "check_address",
    "open_session",
    "read_sentences",
    "serve",
]
