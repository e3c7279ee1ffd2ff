"""Reading as usual: lines split at blanks, a dict for the vocabulary, lists of ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID

__all__ = ["ids_of", "read_words", "vocabulary_of"]


def read_words(path: Path) -> list[list[str]]:
    """The words of every line."""
    with path.open(encoding="utf-8") as lines:
        return [line.split() for line in lines]


def vocabulary_of(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """Ids of all words, as they come."""
    vocabulary = {"<pad>": PAD_ID, "<unk>": UNK_ID, "<bos>": BOS_ID, "<eos>": EOS_ID}
    for words in sentences:
        for word in words:
            if word not in vocabulary:
                vocabulary[word] = len(vocabulary)
    return vocabulary


def ids_of(sentences: Iterable[Sequence[str]], vocabulary: Mapping[str, int]) -> list[list[int]]:
    """The sentences as ids."""
    return [[vocabulary.get(word, UNK_ID) for word in words] for words in sentences]
