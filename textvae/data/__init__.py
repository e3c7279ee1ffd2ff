"""From corpora to batches: text → memory-mapped ids → `Batch`.

    >>> corpus = load_corpus("grammar")                             # doctest: +SKIP
    >>> split = encode_split(corpus["train"], tokenizer)            # doctest: +SKIP
    >>> for batch in BatchLoader(split).epoch(0): ...               # doctest: +SKIP

`load_corpus` finds a corpus by name, path or hub id, `train_tokenizer` takes its vocabulary,
`encode_split` makes ids of its sentences, and `BatchLoader` gives them in batches of like length.
What has no room on the disk goes through `StreamLoader`.
"""

from __future__ import annotations

from textvae.data.batches import BatchLoader
from textvae.data.corpus import Corpus, CorpusNotFound, DataError
from textvae.data.encoding import EncodedSplit, TooLong, encode_split
from textvae.data.ptb import load_ptb
from textvae.data.sources import load_corpus
from textvae.data.stream import StreamLoader
from textvae.data.texts import TextSplit
from textvae.data.vocabulary import train_tokenizer

__all__ = [
    "BatchLoader",
    "Corpus",
    "CorpusNotFound",
    "DataError",
    "EncodedSplit",
    "StreamLoader",
    "TextSplit",
    "TooLong",
    "encode_split",
    "load_corpus",
    "load_ptb",
    "train_tokenizer",
]
