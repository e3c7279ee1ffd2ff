"""A page in the browser to explore a run's latent space.

Offers `Session`, what the page shows, without a page: sentences between two, along a dimension,
near one, on a map, from the prior, and a diagnosis; `open_session`, which makes one of a run and a
corpus; and `serve`, which shows it. Only `serve` needs the extra `demo`.
"""

from textvae.explore.corpus import Sentences
from textvae.explore.opening import open_session
from textvae.explore.page import check_address, serve
from textvae.explore.session import Dimension, Map, Session

__all__ = [
    "Dimension",
    "Map",
    "Sentences",
    "Session",
    "check_address",
    "open_session",
    "serve",
]
