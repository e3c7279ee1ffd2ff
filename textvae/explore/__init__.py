"""A page in the browser to explore a run's latent space; only showing it needs the extra `demo`."""

from textvae.explore.server import check_address, serve
from textvae.explore.session import Sentences, Session, open_session, read_sentences
