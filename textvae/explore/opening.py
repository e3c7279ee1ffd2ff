"""A run made ready to be explored: `open_session`."""

from __future__ import annotations

from textvae.corpus import DataError
from textvae.explore.corpus import Sentences, read_sentences
from textvae.explore.session import Session, within
from textvae.files import find_pretrained
from textvae.generation import sample
from textvae.model import SentenceVAE
from textvae.run import RunDirectory

__all__ = ["open_session"]

MAX_SENTENCES = 20_000

OWN_SENTENCES = 300
"""How many sentences the model writes where there is no corpus."""


def open_session(
    run: str,
    corpus: str | None = None,
    *,
    data_dir: str | None = None,
    num_sentences: int = 2000,
) -> Session:
    """Load a run and sentences to explore it with.

    Without `corpus` they are held-out ones of the run's own corpus; where that can't be had, the
    model writes some itself, and the session's notice says so.

    Args:
        run: A run directory or hub id.
        corpus: See `read_sentences`.
        data_dir: See `read_sentences`.
        num_sentences: Most sentences, from 2 to 20,000.

    Raises:
        FileNotFoundError: If there is no such run.
        DataError: If the corpus was named and can't be had.
        ValueError: If it is a language model, or `num_sentences` is outside its range.
    """
    num_sentences = int(within("num_sentences", num_sentences, 2, MAX_SENTENCES))
    model = SentenceVAE.from_pretrained(run)
    if model.latent_dim == 0:
        raise ValueError(f"{run} is a language model (latent_dim 0): it has no z to explore")
    directory = RunDirectory.open(find_pretrained(run))
    notice = ""
    try:
        sentences = read_sentences(
            corpus, directory.config, data_dir=data_dir, num_sentences=num_sentences
        )
    except DataError as error:
        if corpus is not None or data_dir is not None:
            raise
        sentences = _own_sentences(model)
        notice = f"The corpus can't be had: {error}. The map shows sentences of the model's own."
    return Session(
        model,
        sentences,
        name=directory.path.resolve().name,
        beta=directory.last_beta(),
        free_bits=directory.config.training.free_bits,
        notice=notice,
    )


def _own_sentences(model: SentenceVAE) -> Sentences:
    texts = [text for text in sample(model, OWN_SENTENCES) if text.strip()]
    return Sentences("sentences of its own", texts)
