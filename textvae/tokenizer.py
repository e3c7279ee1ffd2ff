"""Text to ids and back, on the `tokenizers` library: words, characters, BPE, patterns, anyone's.

`<unk>` inside a text is an ordinary word (Penn Treebank is full of it) and becomes `UNK_ID`.
A literal `<pad>`, `<bos>` or `<eos>` is refused wherever text comes in: an `InputError`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat, takewhile
from pathlib import Path
from typing import Any, Literal, Self, get_args

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from textvae.checks import InputError, at_least, one_of
from textvae.files import replacing

Kind = Literal["word", "text", "char", "bpe", "regex", "pre-split"]
PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3
UNK_TOKEN = "<unk>"
RESERVED = ("<pad>", "<bos>", "<eos>")
SPECIALS = ("<pad>", UNK_TOKEN, "<bos>", "<eos>")
PATTERNS = {
    # Schwaller et al. 2019, Molecular Transformer, supporting information
    "smiles": r"\[[^\]]+\]|Br|Cl|%\d\d|[\s\S]",
    "selfies": r"\[[^\]]+\]|[\s\S]",
    # A space belongs to what follows; numbers come in parts, so that no number is unknown.
    "log": r" ?(?:\p{L}+|\d{1,3}|[^\s\p{L}\d])|\s",
}
_CHAR = r"[\s\S]"
_JSON = r'"(?:[^"\\]|\\.)*"|[^\s,\[\]"]+'  # an element of an array
# `text` marks punctuation where it touches a neighbour, as OpenNMT does: `so ￭,￭ "￭ don ￭'t`. Thus
# a word has one form, and text comes back as it was. Up to two letters after an apostrophe stay
# with it.
_JOINER, _WORD = "￭", r"[\w￭]"
_PUNCTUATION = r"[^\w\s￭]"
_CLITIC = rf"(?<=\w {_JOINER}['’])\p{{L}}{{1,2}}(?!\w)"
_MARKED = (
    (_JOINER, "■"),
    (UNK_TOKEN, f"{_JOINER}unk{_JOINER}"),  # a word, while marks are set
    (Regex(rf"(?<=\S)(?={_PUNCTUATION})"), f" {_JOINER}"),
    (Regex(rf"(?<={_PUNCTUATION})(?={_WORD})(?!{_CLITIC})"), f"{_JOINER} "),
    (f"{_JOINER}unk{_JOINER}", UNK_TOKEN),
)
_FAST = {  # by what the library splits with: the same at a tenth of its time
    # `str.split` would also split at U+001C to U+001F.
    "WhitespaceSplit": re.compile(
        "[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
    ).findall,
    f"{UNK_TOKEN}|{_CHAR}": re.compile(f"{UNK_TOKEN}|.", re.DOTALL).findall,
}


def find_reserved(text: str) -> str | None:
    """The first reserved token (`<pad>`, `<bos>`, `<eos>`) that `text` has in any case, or None."""
    lowered = text.lower()
    return next((token for token in RESERVED if token in lowered), None)


class Tokenizer:
    """Text to ids without special tokens, and ids back to text; `train` or `load` build one.

    Special ids are the same in every vocabulary; batches add BOS, EOS and padding.
    """

    pad_id, unk_id, bos_id, eos_id = PAD_ID, UNK_ID, BOS_ID, EOS_ID

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        """Wrap a tokenizer of the `tokenizers` library whose ids start with `SPECIALS`."""
        self._backend = backend
        self._split = _splitter(backend)
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
        lowercase: bool = False,
        pattern: str | None = None,
    ) -> Self:
        """Return a tokenizer with the vocabulary of some texts; the same texts give the same ids.

        Args:
            texts: The training sentences.
            kind: `"word"` splits at whitespace, `"text"` also splits punctuation off and puts it
                back, `"char"` splits everywhere, `"bpe"` learns parts of words, `"regex"` takes
                what a pattern matches and what is left between, `"pre-split"` JSON arrays.
            vocab_size: Most ids in all, special ones included; the most frequent tokens are kept.
                Default: no limit, but for BPE 8000.
            min_count: Tokens seen less often become `<unk>`; for BPE, pairs seen less often are
                not merged.
            lowercase: Whether text is lower-cased first.
            pattern: Of kind `"regex"`: a name in `PATTERNS`, or a regular expression (Oniguruma's).
        """
        one_of("kind", kind, get_args(Kind))
        if (pattern is None) == (kind == "regex"):
            raise InputError(f"a pattern goes with kind 'regex' only, got {pattern!r} with {kind}")
        smallest = len(SPECIALS) + (256 if kind == "bpe" else 1)
        at_least(smallest, **{f"vocab_size of a {kind} tokenizer": vocab_size})
        at_least(1, min_count=min_count)
        steps: list[Any] = [normalizers.Lowercase()] if lowercase else []
        if kind == "text":
            marks = (normalizers.Replace(found, put) for found, put in _MARKED)
            steps += [normalizers.NFC(), *marks]
        elif kind == "pre-split":
            steps.append(normalizers.Replace(f'"{UNK_TOKEN}"', UNK_TOKEN))
        normalizer = normalizers.Sequence(steps) if steps else None
        if kind == "bpe":
            return cls(_train_bpe(_checked(texts), vocab_size or 8000, min_count, normalizer))
        backend = _untrained(kind, _CHAR if pattern is None else PATTERNS.get(pattern, pattern))
        backend.normalizer = normalizer
        return cls(backend).extended(texts, vocab_size=vocab_size, min_count=min_count)

    def extended(
        self, texts: Iterable[str], *, vocab_size: int | None = None, min_count: int = 1
    ) -> Self:
        """The same with further words of some texts after its own; of parts of words, as it is."""
        at_least(len(self), vocab_size=vocab_size)
        if self._split is None:
            return self
        known = sorted(self._vocabulary, key=self._vocabulary.__getitem__)
        counts = Counter(chain.from_iterable(map(self._split, _checked(texts))))
        for token in known:
            del counts[token]
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        tokens = [*known, *(word for word, count in ranked if count >= min_count)][:vocab_size]
        backend = tokenizers.Tokenizer.from_str(self._backend.to_str())
        # The library's own trainer moves the id of an `<unk>` that is also a word of the corpus and
        # leaves a hole in the ids; a vocabulary from a counter does neither.
        backend.model = _whole_tokens(tokens)
        return type(self)(backend)

    def extends(self, other: Tokenizer) -> bool:
        """Whether all tokens of another are among these, with the same ids."""
        return other._vocabulary.items() <= self._vocabulary.items()

    @property
    def vocab_size(self) -> int:
        """Number of ids, the four special ones included."""
        return len(self._vocabulary)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size})"

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
        if (split := self._split) is not None and split in _FAST.values():
            look_up = self._vocabulary.get
            return [list(map(look_up, split(text), repeat(UNK_ID))) for text in checked]
        encodings = self._backend.encode_batch_fast(checked, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids (or a tensor of one dimension) up to the first EOS.

        Words, and whitespace in raw text, come back with single spaces, all else exactly.
        """
        return self.decode_batch([ids])[0]

    def decode_batch(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """Return the texts of many sequences of ids; see `decode`."""
        kept = [self._until_eos(ids) for ids in sequences]
        # `skip_special_tokens` would leave the choice to flags in the file; it was made above.
        texts: list[str] = self._backend.decode_batch(kept, skip_special_tokens=False)
        return texts

    def unknown_words(self, text: str) -> list[str]:
        """Return what tokens of `text` become `<unk>`, each once, in order."""
        if self._split is not None:
            tokens = dict.fromkeys(self._split(text))
            return [token.strip(_JOINER) for token in tokens if token not in self._vocabulary]
        found = self._backend.encode(text, add_special_tokens=False)
        places = zip(found.ids, found.offsets, strict=True)
        tokens = dict.fromkeys(text[slice(*place)] for one, place in places if one == UNK_ID)
        return [token for token in tokens if token != UNK_TOKEN]

    def save(self, path: str | Path) -> None:
        """Write one `tokenizer.json` in the `tokenizers` library's own format, replacing any."""
        with replacing(Path(path)) as temporary:
            temporary.write_text(self._backend.to_str(pretty=True), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, *, add_specials: bool = False) -> Self:
        """Read what `save` wrote, or with `add_specials` anyone's `tokenizer.json`.

        Its tokens then follow the special ones, in the order of their ids.
        """
        text = Path(path).read_bytes()
        try:
            backend = tokenizers.Tokenizer.from_buffer(text)
            return cls(_with_specials(backend) if add_specials else backend)
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


def _untrained(kind: Kind, pattern: str) -> tokenizers.Tokenizer:
    """What splits text and puts it together again, of a vocabulary to come."""
    backend = tokenizers.Tokenizer(_whole_tokens(SPECIALS))
    backend.add_special_tokens(list(RESERVED))
    if kind in ("word", "text"):
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        if kind == "text":
            spaced = decoders.WordPiece(prefix=_JOINER, cleanup=False)
            marks = (decoders.Replace(f"{_JOINER} ", ""), decoders.Replace(_JOINER, ""))
            backend.decoder = decoders.Sequence([spaced, decoders.Fuse(), *marks])
    elif kind == "pre-split":
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(_JSON), "removed", invert=True)
        unknown = decoders.Replace(Regex(f"^{UNK_TOKEN}$"), f'"{UNK_TOKEN}"')
        commas = decoders.Replace(Regex(r"\A(?=[\s\S])"), ", ")
        ends = (decoders.Replace(Regex(r"\A(?:, )?"), "["), decoders.Replace(Regex(r"\z"), "]"))
        backend.decoder = decoders.Sequence([unknown, commas, decoders.Fuse(), *ends])
    else:
        try:
            anything = Regex(f"{UNK_TOKEN}|{pattern}")
        except Exception as error:  # bare, as the library raises it
            raise InputError(f"pattern must be a regular expression: {error}") from None
        backend.pre_tokenizer = pre_tokenizers.Split(anything, behavior="isolated")
        backend.decoder = decoders.Fuse()
    return backend


def _splitter(backend: tokenizers.Tokenizer) -> Callable[[str], list[str]] | None:
    """How a text falls into entries of a vocabulary of whole tokens; None if it has others."""
    state: dict[str, Any] = json.loads(backend.to_str())
    by, normalizer = state["pre_tokenizer"], backend.normalizer
    others = {token["content"] for token in state["added_tokens"]} - {*RESERVED}
    if state["model"]["type"] != "WordLevel" or by is None or others:
        return None
    if normalizer is None:
        fast = _FAST.get(by.get("pattern", {}).get("Regex", by["type"]))
        if fast is not None:
            return fast

    def split(text: str) -> list[str]:
        text = text if normalizer is None else normalizer.normalize_str(text)
        return [token for token, _ in backend.pre_tokenizer.pre_tokenize_str(text)]

    return split


def _whole_tokens(tokens: Sequence[str]) -> models.WordLevel:
    return models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNK_TOKEN)


def _train_bpe(
    texts: Iterator[str], vocab_size: int, min_count: int, normalizer: Any
) -> tokenizers.Tokenizer:
    learner = tokenizers.Tokenizer(models.BPE())
    learner.normalizer = normalizer
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


def _with_specials(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same splitting, with `SPECIALS` before all else; what is unknown is `<unk>`."""
    if list(map(backend.id_to_token, range(len(SPECIALS)))) == [*SPECIALS]:
        return backend
    ids = backend.get_vocab(with_added_tokens=True)
    own = [token for token in sorted(ids, key=ids.__getitem__) if token not in SPECIALS]
    vocabulary = {token: i for i, token in enumerate([*SPECIALS, *own])}
    state: dict[str, Any] = json.loads(backend.to_str())
    if isinstance(state["model"]["vocab"], list):  # Unigram: scores, in the order of ids
        scores = dict(state["model"]["vocab"])
        never = min(scores.values()) - 100
        scored = [[token, scores.get(token, never)] for token in vocabulary]
        state["model"] |= {"vocab": scored, "unk_id": UNK_ID}
    else:
        state["model"] |= {"vocab": vocabulary, "unk_token": UNK_TOKEN}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = {token: {**flags, "special": token != UNK_TOKEN} for token in SPECIALS}
    added = {token["content"]: token for token in state["added_tokens"]} | added
    state["added_tokens"] = [
        {**added[token], "id": vocabulary[token], "content": token}
        for token in sorted(added, key=vocabulary.__getitem__)
    ]
    # Padding and special tokens are the batches' work.
    state |= {"post_processor": None, "padding": None, "truncation": None}
    return tokenizers.Tokenizer.from_str(json.dumps(state))
