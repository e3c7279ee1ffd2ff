"""Text to ids and back: words, characters or byte-level BPE, on the `tokenizers` library.

`<unk>` inside a text is an ordinary word (Penn Treebank is full of it) and becomes `UNK_ID`.
A literal `<pad>`, `<bos>` or `<eos>` is refused wherever text comes in: an `InputError`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat, takewhile
from pathlib import Path
from typing import Any, Literal, get_args

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from textvae.checks import InputError, at_least, one_of
from textvae.files import replacing

Kind = Literal["word", "char", "bpe"]
PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3
UNK_TOKEN = "<unk>"
RESERVED = ("<pad>", "<bos>", "<eos>")
SPECIALS = ("<pad>", UNK_TOKEN, "<bos>", "<eos>")
_KINDS: dict[tuple[str, str | None], Kind] = {  # of a model and what splits words for it
    ("WordLevel", "WhitespaceSplit"): "word",
    ("WordLevel", "Split"): "char",
    ("BPE", "ByteLevel"): "bpe",
}
_SPLIT = {  # as the library splits: `str.split` would also split at U+001C to U+001F
    "word": re.compile(
        "[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
    ).findall,
    "char": re.compile(f"{UNK_TOKEN}|.", re.DOTALL).findall,
}


def find_reserved(text: str) -> str | None:
    """The first reserved token (`<pad>`, `<bos>`, `<eos>`) that `text` contains, or None."""
    return next((token for token in RESERVED if token in text), None)


class Tokenizer:
    """Text to ids without special tokens, and ids back to text; `train` or `load` build one.

    Special ids are the same in every vocabulary; batches add BOS, EOS and padding.
    """

    pad_id, unk_id, bos_id, eos_id = PAD_ID, UNK_ID, BOS_ID, EOS_ID

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        """Wrap a tokenizer of the `tokenizers` library, of one of the kinds that `train` builds."""
        self._backend = backend
        state: dict[str, Any] = json.loads(backend.to_str())
        parts = (state["model"]["type"], (state["pre_tokenizer"] or {}).get("type"))
        if parts not in _KINDS:
            raise InputError(f"model and pre-tokenizer must be one of {list(_KINDS)}, got {parts}")
        self.kind = _KINDS[parts]
        self._vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=True)
        ids, size = sorted(self._vocabulary.values()), len(self._vocabulary)
        specials = {token: self._vocabulary.get(token) for token in SPECIALS}
        if list(specials.values()) != ids[:4] or ids != list(range(size)):
            got = f"got {specials} and {size} tokens with ids up to {ids[-1]}"
            raise InputError(f"ids must have no holes and start with {', '.join(SPECIALS)}, {got}")

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: Kind = "word",
        *,
        vocab_size: int | None = None,
        min_count: int = 1,
    ) -> Tokenizer:
        """Return a tokenizer with the vocabulary of some texts; the same texts give the same ids.

        Args:
            texts: The training sentences.
            kind: `"word"` splits at whitespace, `"char"` everywhere, `"bpe"` learns parts of words.
            vocab_size: Most ids in all, special ones included; the most frequent tokens are kept.
                Default: no limit for words and characters, 8000 for BPE.
            min_count: Words and characters seen less often become `<unk>`; for BPE, pairs seen
                less often are not merged.
        """
        one_of("kind", kind, get_args(Kind))
        smallest = len(SPECIALS) + (256 if kind == "bpe" else 1)
        at_least(smallest, **{f"vocab_size of a {kind} tokenizer": vocab_size})
        at_least(1, min_count=min_count)
        if kind == "bpe":
            return cls(_train_bpe(_checked(texts), vocab_size or 8000, min_count))
        counts = Counter(chain.from_iterable(map(_SPLIT[kind], _checked(texts))))
        return cls(_from_counts(counts, kind, vocab_size, min_count))

    @property
    def vocab_size(self) -> int:
        """Number of ids, the four special ones included."""
        return len(self._vocabulary)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The same bytes in every process, so that caches keyed by them are found again.
        return Tokenizer, (self._backend,)

    @property
    def fingerprint(self) -> str:
        """A hash of the whole content: equal for tokenizers that give equal ids."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without BOS and EOS; see `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of many texts at once."""
        checked = list(_checked(texts))
        if self.kind != "bpe":
            # A look-up gives what the library gives, at a tenth of its time.
            split, look_up = _SPLIT[self.kind], self._vocabulary.get
            return [list(map(look_up, split(text), repeat(UNK_ID))) for text in checked]
        encodings = self._backend.encode_batch_fast(checked, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids (or a tensor of one dimension) up to the first EOS.

        Words come back with single spaces between them, characters and BPE exactly.
        """
        return self.decode_batch([ids])[0]

    def decode_batch(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Return the texts of many sequences of ids; see `decode`."""
        kept = [self._until_eos(ids) for ids in sequences]
        # `skip_special_tokens` would leave the choice to flags in the file; it was made above.
        texts: list[str] = self._backend.decode_batch(kept, skip_special_tokens=False)
        return texts

    def unknown_words(self, text: str) -> list[str]:
        """Return what words (or characters) of `text` become `<unk>`, each once, in order."""
        tokens = dict.fromkeys(_SPLIT[self.kind](text) if self.kind != "bpe" else ())
        return [token for token in tokens if token not in self._vocabulary]

    def save(self, path: str | Path) -> None:
        """Write one `tokenizer.json` in the `tokenizers` library's own format, replacing any."""
        with replacing(Path(path)) as temporary:
            temporary.write_text(self._backend.to_str(pretty=True), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read what `save` wrote."""
        text = Path(path).read_bytes()
        try:
            return cls(tokenizers.Tokenizer.from_buffer(text))
        # The library raises bare `Exception` for a file it can't read.
        except Exception as error:
            raise InputError(f"{path} is not a tokenizer of textvae: {error}") from None

    def _until_eos(self, ids: Iterable[int]) -> list[int]:
        values = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        values = list(takewhile(lambda value: value != EOS_ID, values))
        wrong = [value for value in values if not 0 <= value < len(self._vocabulary)]
        if wrong:
            raise InputError(f"ids must lie in [0, {len(self._vocabulary) - 1}], got {wrong[0]}")
        return [value for value in values if value not in (PAD_ID, BOS_ID)]


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts, start=1):
        if reserved := find_reserved(text):
            got = f"got {text[:60]!r}; remove it or write it otherwise"
            raise InputError(f"text {number} contains the reserved token {reserved}, {got}")
        yield text


def _from_counts(
    counts: Counter[str], kind: Kind, vocab_size: int | None, min_count: int
) -> tokenizers.Tokenizer:
    # The library's own trainer moves the id of an `<unk>` that is also a word of the corpus and
    # leaves a hole in the ids; a vocabulary from a counter does neither.
    del counts[UNK_TOKEN]
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    tokens = [*SPECIALS, *(word for word, count in ranked if count >= min_count)][:vocab_size]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNK_TOKEN))
    if kind == "word":
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        anything = tokenizers.Regex(rf"{UNK_TOKEN}|[\s\S]")
        backend.pre_tokenizer = pre_tokenizers.Split(anything, behavior="isolated")
        backend.decoder = decoders.Fuse()
    backend.add_special_tokens(list(RESERVED))
    return backend


def _train_bpe(texts: Iterator[str], vocab_size: int, min_count: int) -> tokenizers.Tokenizer:
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.train_from_iterator(
        # `<unk>` is a token of its own: its letters must not be learned from.
        (part for text in texts for part in text.split(UNK_TOKEN)),
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=min_count,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    learner.decoder = decoders.ByteLevel()
    state = json.loads(learner.to_str())
    state["model"]["unk_token"] = UNK_TOKEN
    # Whoever loads the file with the library alone must see `<unk>` in decoded text.
    state["added_tokens"][UNK_ID]["special"] = False
    return tokenizers.Tokenizer.from_str(json.dumps(state))
