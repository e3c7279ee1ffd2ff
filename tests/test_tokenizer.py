"""Text to ids and back, in the three kinds; what is refused."""

import json
import pickle
import re
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from textvae.checks import InputError
from textvae.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Kind, Tokenizer, find_reserved

KINDS: tuple[Kind, ...] = ("word", "text", "char", "bpe")
PTB_LIKE = [
    "the <unk> company does n't say",
    "u.s. sales of the <unk> rose N %",
    "the company 's u.s. unit",
]
TRAINED = {kind: Tokenizer.train(PTB_LIKE, kind) for kind in KINDS}
RAW = [  # quotes, clitics, numbers, dashes, brackets, symbols, scripts, marks that must compose
    "Teresa, Mildrid, and Vonda arrived.",
    "“I don't know,” she said; “it’s the teachers' half-hour!”",
    "Rock 'n' roll (the '90s…) -- what?! $3.50/kg, 1,000,000 or 5%: e@mail.com #1 l'homme",
    "¿Qué? «Oui»... हिन्दी, ок?—да! 日本。 a_b c++ <i>x</i> ❤️ 😀.",
]

texts = st.text().filter(lambda text: find_reserved(text) is None)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_have_no_holes_and_special_ones_are_fixed(kind, tmp_path):
    tokenizer = TRAINED[kind]
    fixed = tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id
    assert fixed == (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)
    # Where a corpus says <unk>, the library's trainer leaves a hole, so that an embedding of its
    # size is one row too small.
    tokenizer.save(tmp_path / "tokenizer.json")
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert sorted(backend.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.vocab_size == len(tokenizer) == backend.get_vocab_size()
    assert backend.token_to_id("<unk>") == UNK_ID


def test_words_are_ranked_by_count_then_alphabet():
    tokenizer = Tokenizer.train(["b a c", "c b", "d"])
    assert tokenizer.encode("b c a d") == [4, 5, 6, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_unk_in_a_text_is_the_unknown_token_and_stays_visible(kind):
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode("the <unk> company")
    assert ids.count(UNK_ID) == 1
    assert tokenizer.decode(ids) == "the <unk> company"


def test_unknown_words_and_characters_show_as_unk():
    assert TRAINED["word"].decode(TRAINED["word"].encode("the dog")) == "the <unk>"
    assert TRAINED["char"].decode(TRAINED["char"].encode("thé")) == "th<unk>"
    # BPE spells what it never saw.
    assert TRAINED["bpe"].decode(TRAINED["bpe"].encode("thé 😀")) == "thé 😀"


@given(st.lists(st.sampled_from(["the", "<unk>", "u.s.", "N", "%", "'s", "n't"])))
def test_known_words_come_back_with_single_spaces(words):
    tokenizer = TRAINED["word"]
    text = " \t ".join(words)
    assert tokenizer.decode(tokenizer.encode(text)) == " ".join(words)


@given(texts)
def test_known_characters_and_any_bpe_come_back_exactly(text):
    for tokenizer in (Tokenizer.train([text], "char"), TRAINED["bpe"]):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.unknown_words(text) == []
    assert TRAINED["bpe"].encode_batch([]) == []


# U+001C is whitespace to Python alone, U+0085 to both.
@given(st.text(alphabet="a<unk>bpdos \t\n\r\x0b\x1c\x85\xa0\u2028é😀the"))
@pytest.mark.parametrize("kind", ["word", "char"])
def test_encoding_is_what_the_library_would_do(kind, text):
    assume(find_reserved(text) is None)
    tokenizer = TRAINED[kind]
    _, (backend,) = tokenizer.__reduce__()
    assert tokenizer.encode(text) == backend.encode(text, add_special_tokens=False).ids


def test_decoding_stops_at_eos_and_leaves_out_padding():
    tokenizer = TRAINED["word"]
    the, company = tokenizer.encode("the company")
    ids = [BOS_ID, the, PAD_ID, company, EOS_ID, the, PAD_ID]
    assert tokenizer.decode(ids) == "the company"
    assert tokenizer.decode(np.array(ids)) == "the company"
    assert tokenizer.decode_batch(torch.tensor([ids, [EOS_ID] * 7])) == ["the company", ""]


def test_decoding_refuses_ids_outside_the_vocabulary():
    size = len(TRAINED["word"])
    with pytest.raises(InputError, match=rf"ids must lie in \[0, {size - 1}\], got {size}"):
        TRAINED["word"].decode([size])
    with pytest.raises(InputError, match="got -1"):
        TRAINED["word"].decode([-1])


def test_the_vocabulary_is_bounded_by_size_and_count():
    corpus = ["a a a b b c"]
    assert len(Tokenizer.train(corpus, vocab_size=6)) == 6
    assert Tokenizer.train(corpus, vocab_size=6).unknown_words("a b c") == ["c"]
    assert Tokenizer.train(corpus, min_count=3).unknown_words("a b c") == ["b", "c"]
    assert Tokenizer.train(corpus, "char", vocab_size=5).unknown_words("ab") == ["a", "b"]
    assert len(Tokenizer.train(PTB_LIKE * 9, "bpe", vocab_size=270)) == 270


def test_unknown_words_are_listed_once_in_order():
    assert TRAINED["word"].unknown_words("zoo the <unk> ape zoo") == ["zoo", "ape"]
    assert TRAINED["char"].unknown_words("z the y z") == ["z"]
    assert TRAINED["bpe"].unknown_words("zoo ape") == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokenizer(kind):
    again = Tokenizer.train(iter(PTB_LIKE), kind)
    assert again.fingerprint == TRAINED[kind].fingerprint
    assert Tokenizer.train(["other"], kind).fingerprint != again.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_from_its_file_and_from_pickle(kind, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer = TRAINED[kind]
    tokenizer.save(path)
    for loaded in (Tokenizer.load(path), pickle.loads(pickle.dumps(tokenizer))):
        assert loaded.fingerprint == tokenizer.fingerprint
        assert loaded.encode_batch(PTB_LIKE) == tokenizer.encode_batch(PTB_LIKE)
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    state = json.loads(path.read_text(encoding="utf-8"))
    assert (state["padding"], state["truncation"]) == (None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", ["<pad>", "<bos>", "<eos>", "<EOS>"])
def test_reserved_tokens_are_refused_with_their_line(kind, token):
    lines = ["fine", "fine", f"not{token}fine"]
    message = f"text 3 contains the reserved token {token.lower()}"
    with pytest.raises(InputError, match=message):
        Tokenizer.train(lines, kind)
    with pytest.raises(InputError, match=message):
        TRAINED[kind].encode_batch(lines)
    with pytest.raises(InputError, match="text 1 contains"):
        TRAINED[kind].encode(token)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "words"}, "kind must be one of word, text, char, .* got 'words'"),
        ({"kind": "regex"}, "a pattern goes with kind 'regex' only, got None with regex"),
        ({"pattern": "smiles"}, "a pattern goes with kind 'regex' only, got 'smiles' with word"),
        ({"kind": "regex", "pattern": "(a"}, "pattern must be a regular expression: .*parenthesis"),
        ({"vocab_size": 4}, "vocab_size of a word tokenizer must be at least 5, got 4"),
        ({"kind": "bpe", "vocab_size": 259}, "of a bpe tokenizer must be at least 260, got 259"),
        ({"min_count": 0}, "min_count must be at least 1, got 0"),
    ],
)
def test_what_training_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        Tokenizer.train(**{"texts": ["a"], **arguments})


def test_loading_refuses_what_is_no_tokenizer(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(path)
    for content in ("", "{}", "\x80"):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(InputError, match=f"{re.escape(str(path))} is not a tokenizer"):
            Tokenizer.load(path)


def test_loading_refuses_other_tokenizers(tmp_path):
    def load(vocabulary: dict[str, int]) -> Tokenizer:
        backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
        backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        backend.save(str(tmp_path / "tokenizer.json"))
        return Tokenizer.load(tmp_path / "tokenizer.json")

    specials = {"<pad>": 0, "<unk>": 1, "<bos>": 2, "<eos>": 3}
    assert len(load(specials)) == 4
    for vocabulary, got in (
        ({**specials, "<eos>": 9}, "'<eos>': 9} and 4 tokens with ids up to 9"),
        ({**specials, "a": 5}, "'<eos>': 3} and 5 tokens with ids up to 5"),
        ({"<unk>": 0, "<pad>": 1, "<bos>": 2, "<eos>": 3}, "'<unk>': 0.* up to 3"),
    ):
        with pytest.raises(InputError, match=f"no holes and start with <pad>, .* got .*{got}"):
            load(vocabulary)


@pytest.mark.parametrize("text", RAW)
def test_raw_text_comes_back_as_it_was(text):
    tokenizer = Tokenizer.train(RAW, "text")
    assert UNK_ID not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.text("ab.,'’-(é️<unk>", min_size=1), max_size=6).map(" ".join))
def test_any_raw_text_comes_back_but_for_whitespace(text):
    assume(find_reserved(text) is None)
    tokenizer = Tokenizer.train([text], "text")
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("e\u0301", "é")


def test_punctuation_is_a_token_that_knows_whether_it_touches():
    tokenizer = Tokenizer.train(RAW, "text")
    known = tokenizer.encode("know, don't half - half-hour I ,")
    assert len(known) == 11
    assert known[4] == known[6]  # a word has one form, whatever touches it
    assert tokenizer.unknown_words("the zoo don't yak!? #5") == ["zoo", "yak"]
    lower = Tokenizer.train(["THE Cat."], "text", lowercase=True)
    assert lower.decode(lower.encode("the CAT.")) == "the cat."
    assert Tokenizer.train(["e\u0301"], "text").unknown_words("é") == []  # NFC
    # The mark that tells is read as another square.
    assert Tokenizer.train(["a￭b"], "text").unknown_words("a■b") == []


@pytest.mark.parametrize(
    ("pattern", "text", "tokens"),
    [
        ("smiles", "C[C@@H](Cl)Br%12c", ["C", "[C@@H]", "(", "Cl", ")", "Br", "%12", "c"]),
        ("selfies", "[C][=O].[Branch1]", ["[C]", "[=O]", ".", "[Branch1]"]),
        ("log", "1:05 OK x=1234\ty", ["1", ":", "05", " OK", " x", "=", "123", "4", "\t", "y"]),
        (r"\w+", "so, so <unk>", ["so", ", ", "so", " ", "<unk>"]),  # what is left between, too
    ],
)
def test_patterns(pattern, text, tokens):
    tokenizer = Tokenizer.train([text], "regex", pattern=pattern)
    ids = tokenizer.encode(text)
    assert [tokenizer.decode([one]) for one in ids] == tokens
    assert tokenizer.decode(ids) == text


def test_arrays_are_split_already():
    arrays = ['["New York", "a \\"b\\" ]", "é", 60, -1.5, "<unk>"]', '["x"]']
    tokenizer = Tokenizer.train(arrays, "pre-split")
    assert [len(ids) for ids in tokenizer.encode_batch(arrays)] == [6, 1]
    assert tokenizer.encode(arrays[0])[-1] == UNK_ID
    for array in arrays:
        assert tokenizer.decode(tokenizer.encode(array)) == array
    assert tokenizer.decode(tokenizer.encode('["x", "no, no", "x"]')) == '["x", "<unk>", "x"]'
    assert tokenizer.unknown_words('["x", "no, no"]') == ['"no, no"']


def others() -> dict[str, tokenizers.Tokenizer]:
    """Tokenizers of other people, with special tokens and habits of their own."""
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    kinds = models.BPE(), models.WordPiece(unk_token="[UNK]"), models.Unigram()
    byte, piece, unigram = map(tokenizers.Tokenizer, kinds)
    byte.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options: dict[str, Any] = {"vocab_size": 300, "show_progress": False}
    learned = trainers.BpeTrainer(special_tokens=["<eos>"], initial_alphabet=alphabet, **options)
    byte.train_from_iterator(PTB_LIKE, learned)
    piece.pre_tokenizer = pre_tokenizers.Whitespace()
    piece.decoder = decoders.WordPiece()
    learned = trainers.WordPieceTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]"], **options)
    piece.train_from_iterator(["the company said so"], learned)
    piece.post_processor = processors.TemplateProcessing("[CLS] $A", None, [("[CLS]", 2)])
    piece.enable_padding()
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    learned = trainers.UnigramTrainer(special_tokens=["<s>", "<unk>"], unk_token="<unk>", **options)
    unigram.train_from_iterator(["the company said so"] * 9, learned)
    return {"byte": byte, "piece": piece, "unigram": unigram}


@pytest.mark.parametrize(
    ("name", "shift", "unknown"),
    [
        ("byte", 3, []),  # had an <eos> before all else
        ("piece", 4, ["Zoë"]),
        ("unigram", 3, ["Z", "ë"]),  # had an <unk>
    ],
)
def test_anyones_tokenizer_gets_special_tokens_and_keeps_its_own(name, shift, unknown, tmp_path):
    other, path = others()[name], tmp_path / "tokenizer.json"
    other.save(str(path))
    with pytest.raises(InputError, match=r"\.json is not a tokenizer of textvae: ids must"):
        Tokenizer.load(path)
    tokenizer = Tokenizer.load(path, add_specials=True)
    text = "the company said so"
    theirs = other.encode(text, add_special_tokens=False)
    _, (backend,) = tokenizer.__reduce__()
    assert [backend.id_to_token(one) for one in tokenizer.encode(text)] == theirs.tokens
    shifts = {ours - id_ for ours, id_ in zip(tokenizer.encode(text), theirs.ids, strict=True)}
    assert shifts == {shift}
    assert tokenizer.decode([BOS_ID, *tokenizer.encode(text), EOS_ID, 9]) == text
    assert tokenizer.encode("<unk>") == [UNK_ID]
    assert tokenizer.unknown_words("the Zoë") == unknown
    tokenizer.save(path)
    for add_specials in (False, True):
        again = Tokenizer.load(path, add_specials=add_specials)
        assert again.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("kind", ["word", "text", "char", "regex", "pre-split"])
def test_further_words_follow_the_known_ones(kind):
    pattern = {"pattern": "log"} if kind == "regex" else {}
    some, more = (["a b"], ["a c"]) if kind != "pre-split" else (['["a","b"]'], ['["a","c"]'])
    known = Tokenizer.train(some, kind, **pattern)
    grown = known.extended(more)
    assert len(grown) == len(known) + 1
    assert grown.extends(known)
    assert not known.extends(grown)
    assert grown.encode(some[0]) == known.encode(some[0])
    assert grown.encode(more[0])[-1] == len(known)
    assert grown.decode(grown.encode(more[0])) == (more[0] if kind != "pre-split" else '["a", "c"]')
    assert known.extended(some).fingerprint == known.fingerprint
    assert known.extended(more, min_count=2).fingerprint == known.fingerprint
    assert known.extended(more, vocab_size=len(known)).fingerprint == known.fingerprint


def test_parts_of_words_are_known_already():
    known = Tokenizer.train(["some words"], "bpe", vocab_size=270)
    assert known.extended(["others"]) is known
