"""Remedies by one word, the sizes they are tried at, and what a corpus' own size decides."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textvae.checks import choose
from textvae.config import DataConfig, TrainingConfig
from textvae.corpus import Corpus, train_tokenizer
from textvae.recipes.options import inherited
from textvae.tokenizer import SPECIALS, Kind

DEFAULT = "default"
"""The recipe of a training that names none."""


@dataclass(frozen=True)
class Recipe:
    """Options under one word, at the settings that their authors published."""

    summary: str
    paper: str
    cost: float  # time of a training beside that of `linear`, on the embedded corpus
    options: Mapping[str, Any]


def _recipe(summary: str, paper: str, *, cost: float = 1.0, **options: Any) -> Recipe:
    return Recipe(summary, paper, cost, options)


BOWMAN = "Bowman et al. 2016, arXiv:1511.06349"
LI = "Li et al. 2019, arXiv:1909.00868"
BOSC = "Bosc & Vincent 2020, Do sequence-to-sequence VAEs learn global features of sentences?"

RECIPES: dict[str, Recipe] = {
    "default": _recipe(
        "an autoencoder first, pooling, a floor of 8 nats under the KL, a bag of words of its own",
        f"{LI}; Bosc & Vincent 2020; Zhao et al. 2017, put together here",
        cost=1.6,
        autoencoder_epochs=3,
        bidirectional=True,
        pooling="max",
        free_bits=8.0,
        free_bits_kind="total",
        # The sum of two ELBOs, of sentences and half of one of bags of words, would have β = 1.5:
        # the words alone would pay for details that the decoder can find by itself.
        bag_of_words=0.5,
        max_beta=1.25,
    ),
    "vanilla": _recipe(
        "no remedy: the full KL weight from the first step",
        "Kingma & Welling 2014, arXiv:1312.6114",
        annealer="constant",
    ),
    "linear": _recipe("the KL weight rises on a straight line", BOWMAN, annealer="linear"),
    "sigmoid": _recipe("the KL weight rises on an S", BOWMAN, annealer="sigmoid"),
    "cosine": _recipe("the KL weight rises on half a cosine", BOWMAN, annealer="cosine"),
    "cyclical": _recipe(
        "the KL weight rises and falls back four times",
        "Fu et al. 2019, arXiv:1903.10145",
        annealer="cyclical",
    ),
    "control": _recipe(
        "a PI controller sets the KL weight so that the KL is 5 nats",
        "Shao et al. 2020, arXiv:2004.05988",
        annealer="control",
        target_rate=5.0,
    ),
    "mdr": _recipe(
        "a Lagrange multiplier takes weight off the KL until it is 5 nats",
        "Pelsmaeker & Aziz 2020, arXiv:1904.08194",
        annealer="mdr",
        target_rate=5.0,
    ),
    "word-dropout": _recipe(
        "three in ten of the decoder's input words are hidden", BOWMAN, word_dropout=0.3
    ),
    "free-bits": _recipe(
        "KL below a floor costs nothing more, dimension by dimension",
        "Kingma et al. 2016, arXiv:1606.04934",
        free_bits=0.25,
        free_bits_kind="batch",
    ),
    "target-kl": _recipe(
        "the KL is drawn to 5 nats from both sides",
        "Burgess et al. 2018, arXiv:1804.03599",
        free_bits=5.0,
        free_bits_kind="target",
    ),
    "pretrain": _recipe(
        "an autoencoder first, whose encoder is kept; then free bits",
        LI,
        cost=1.2,
        autoencoder_epochs=3,
        free_bits_kind="mask",
        free_bits=0.25,
    ),
    "preuni": _recipe(
        "an autoencoder of bags of words first, whose encoder is kept; then free bits",
        BOSC,
        cost=1.2,
        words_epochs=3,
        free_bits_kind="mask",
        free_bits=0.25,
    ),
    "pool": _recipe(
        "the encoder reads both ways and keeps each unit's largest value",
        "Long et al. 2019, arXiv:1911.03976; Bosc & Vincent 2020",
        cost=1.4,
        bidirectional=True,
        pooling="max",
    ),
    "batch-norm": _recipe(
        "batch-normalised means: the KL can't fall below a bound",
        "Zhu et al. 2020, arXiv:2004.12585",
        posterior="batch-norm",
        batch_norm_gamma=0.6,
        annealer="constant",
    ),
    "delta": _recipe(
        "a KL of 0.2 nats at least in every dimension, whatever the sentence",
        "Razavi et al. 2019, arXiv:1901.03416",
        posterior="delta",
        minimum_rate=0.2,
        annealer="constant",
    ),
    "iwae": _recipe(
        "the importance-weighted bound of five codes of each sentence",
        "Burda et al. 2016, arXiv:1509.00519; Tucker et al. 2019, arXiv:1810.04152",
        cost=2.3,
        importance_samples=5,
    ),
    "lagging": _recipe(
        "up to 100 updates of the encoder alone before each step, until MI stops rising",
        "He et al. 2019, arXiv:1901.05534",
        cost=7.0,
        aggressive_updates=100,
    ),
    "skip": _recipe(
        "z enters every layer of the decoder, and what its output layer reads",
        "Dieng et al. 2019, arXiv:1807.04863",
        latent_to="skip",
    ),
    "bow": _recipe(
        "z has to tell the sentence's words, in whatever order",
        "Zhao et al. 2017, arXiv:1703.10960",
        cost=1.1,
        bag_of_words=1.0,
    ),
    "mmd": _recipe(
        "a tenth of the KL, and codes that are together like draws from the prior",
        "Zhao et al. 2019, arXiv:1706.02262; Tolstikhin et al. 2018, arXiv:1711.01558",
        mmd=10.0,
        max_beta=0.1,
        annealer="constant",
    ),
    "average": _recipe(
        "a mean of the weights over the last epoch or so is judged and kept",
        "Polyak & Juditsky 1992; Merity et al. 2018, arXiv:1708.02182",
        average_epochs=1.0,
    ),
}
"""By one word: every remedy. `combined("a+b")` puts several together."""

SIZES: dict[str, Mapping[str, Any]] = {
    # The published size (one layer of 256 units, embedding 256, 32 dimensions: the defaults), and
    # plain SGD halved on plateaus.
    "ptb": {
        "embedding_dropout": 0.4,
        "output_dropout": 0.4,
        "optimizer": "sgd",
        "lr": 1.0,
        "lr_patience": 1,
        "max_lr_decays": 4,
        "warmup_epochs": 8.0,
        "max_epochs": 45,
    },
    "grammar": {
        "latent_dim": 16,
        "embedding_dim": 64,
        "encoder_hidden_size": 64,
        "decoder_hidden_size": 128,
        "embedding_range": 1.7,
        "embedding_dropout": 0.1,
        "output_dropout": 0.1,
        "lr_patience": 0,
        "warmup_epochs": 5.0,
        "max_epochs": 20,
    },
}
"""Options that have nothing to do with remedies, by the corpus they were found to be good for."""

STEPS = 12_000  # that a training takes, about
BIG_VOCABULARY = 10_000  # above which tokens that are seen once are left out
SAMPLE = 50_000  # sentences in which tokens are counted for that
LOOKED_AT = 1000  # sentences by which raw text is known
RAW = 0.2  # share of them with punctuation at a word's end from which it is
# Periods elsewhere than at the end may be abbreviations, which pre-tokenized text has too.
_TOUCHING = re.compile(r"\w[,;:!?](\s|$)|\w[.!?…][\"'”’)]*$")
_APART = re.compile(r"\s[.,;:!?](\s|$)")


def combined(names: str) -> dict[str, Any]:
    """The options of a recipe, or of several put together, `"a+b"`: later ones win.

    Raises:
        InputError: If there is no recipe of that name.
    """
    options: dict[str, Any] = {}
    for name in names.split("+"):
        options |= choose(RECIPES, "recipe", name).options
    return options


def evident_tokenizer(texts: Sequence[str]) -> Kind:
    """By the look of some texts: raw, JSON arrays, without spaces, or of words."""
    some = texts[:: max(1, len(texts) // LOOKED_AT)]
    if all(map(_is_array, some)):
        return "pre-split"
    if not any(" " in text for text in some):
        return "char"
    touching, apart = (sum(map(bool, map(one.search, some))) for one in (_TOUCHING, _APART))
    return "text" if touching > max(RAW * len(some), apart) else "word"


def _is_array(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def sized(corpus: Corpus, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a corpus decides: epochs, warm-up, its tokenizer, and which tokens are too rare to keep.

    The last is by what is `given` of how tokens are made.
    """
    if corpus.name in SIZES:
        return dict(SIZES[corpus.name])
    asked = {name: given[name] for name in ("tokenizer", "lowercase", "pattern") if name in given}
    DataConfig(**asked)  # raises what is wrong with them before they are used
    sentences = corpus["train"]
    batch_size = TrainingConfig(batch_size=given.get("batch_size", 32)).batch_size
    epochs = min(40, max(4, round(STEPS * batch_size / len(sentences))))
    options: dict[str, Any] = {"max_epochs": epochs, "warmup_epochs": min(10.0, epochs / 2)}
    if given.get("tokenizer_file"):
        return options
    some = sentences.select(range(min(len(sentences), SAMPLE)))
    kind = given.get("tokenizer") or evident_tokenizer(some["text"][:])
    options |= {"tokenizer": kind, "min_count": 1}
    if kind != "bpe":
        how = {name: value for name, value in asked.items() if name != "tokenizer"}
        num_tokens = len(train_tokenizer(some, kind, **how)) - len(SPECIALS)
        options["min_count"] = 2 if num_tokens > BIG_VOCABULARY else 1
    return options


def chosen(corpus: Corpus, given: Mapping[str, Any], recipe: str | None = None) -> dict[str, Any]:
    """What a corpus decides, a recipe's options (but those of a warm start's run), those given."""
    own = inherited(given["init_from"]) if given.get("init_from") else {}
    named = {} if recipe is None else combined(recipe)
    usual = sized(corpus, own | dict(given)) | (named or combined(DEFAULT))
    usual = {name: value for name, value in usual.items() if name not in own}
    return usual | named | dict(given)


def source_and_sizes(data_dir: str | None) -> tuple[str, str, Mapping[str, Any]]:
    """What a study runs on: its name, what `load_corpus` finds it by, and its entry of `SIZES`.

    `data_dir` is a directory of Penn Treebank's files, or whatever else `load_corpus` takes; None
    is the embedded corpus. Where no options are known to be good, there are none.
    """
    if data_dir in (None, "grammar"):
        return "grammar", "grammar", SIZES["grammar"]
    path = Path(os.path.expanduser(data_dir))
    source = f"ptb:{path}" if (path / "ptb.train.txt").is_file() else data_dir
    if source.split(":")[0] == "ptb":
        return "ptb", source, SIZES["ptb"]
    return path.resolve().stem, data_dir, {}
