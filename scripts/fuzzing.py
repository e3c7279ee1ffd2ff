"""What `torture.py fuzz` gives to the package from Python: any values, texts and files.

Each must be refused by an error that says what is allowed, or give what is promised.
"""

import json
import math
import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from random import Random
from typing import Any, get_type_hints

import torch

from textvae import TextVAE, load_corpus, losses, recipes
from textvae.annealers import ANNEALERS, CONTROLLERS
from textvae.checks import InputError, NotInstalledError, TrainingError
from textvae.config import DataConfig, Decoding, ModelConfig, RunConfig, TrainingConfig
from textvae.tokenizer import Tokenizer, find_reserved

REFUSED = (InputError, OSError, NotInstalledError, TrainingError)
VALUES = (None, True, False, -1, 0, 1, 2, 0.5, 1.0, 1e-300, 1e308, float("inf"), float("nan"))
VALUES += (10**9, 10**20, 10**400, "", "x", "3", "sgd", b"x", [], {}, (1,), object(), "a\0b")
CHARACTERS = "ab \t\n\r\0<>pados\u00e9e\u0301\u200b\u2581\uffed\ufeff\U0001f600'\".,{}[]:0\x1b\x85"
BYTES = (b'"', b",", b"\t", b"\n", b"\r", b"\0", b"\xff", b"{", b"}", b"[", b"a b", b"text")
BYTES += (b'{"text": "a b"}', b'["a"]', b"<eos>")
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet", ".csv.gz")

CALLED = {"float": "float int", "Literal": "str", "None": "NoneType", "Mapping": "dict"}

Trial = Callable[[Random], None]


class Fault(BaseException):
    """What must not be: which kind, and where. Passes those who catch errors on its way."""


def must(holds: bool, *told: Any) -> None:
    """What was promised."""
    if not holds:
        raise Fault("silent", f"{told!r}")


class Uses:
    """What is done with values drawn at random: a method for each room."""

    def __init__(self, work: Path, corpus_file: str, run: str) -> None:
        corpus, model = load_corpus(corpus_file), TextVAE.from_pretrained(run)
        parts = (ModelConfig, DataConfig, TrainingConfig)
        hints = {name: str(hint) for part in parts for name, hint in get_type_hints(part).items()}
        for name, hint in hints.items():
            for told, called in CALLED.items():
                hint = hints[name] = hint.replace(told, called)
        ways = list(get_type_hints(Decoding))
        texts = corpus["train"]["text"][:50]
        words = map(json.dumps, map(str.split, texts))
        tokenizers = {
            **{kind: Tokenizer.train(texts, kind=kind) for kind in ("word", "text", "char", "bpe")},
            "regex": Tokenizer.train(texts, kind="regex", pattern="smiles"),
            "pre-split": Tokenizer.train(words, kind="pre-split"),
        }
        saved = (Path(run) / "tokenizer.json").read_bytes()
        self.work, self.corpus, self.model = work, corpus, model
        self.hints, self.ways, self.tokenizers, self.saved = hints, ways, tokenizers, saved

    def any_options(self, rng: Random, most: int) -> dict[str, Any]:
        """Of a run, one to so many."""
        names = rng.sample(list(self.hints), rng.randint(1, most))
        return {name: rng.choice(VALUES) for name in names}

    def options(self, rng: Random) -> None:
        """A configuration: its fields are of their types."""
        given = self.any_options(rng, 4)
        for name, value in RunConfig.from_flat("grammar", given).flat().items():
            must(type(value).__name__ in self.hints[name], name, given)

    def started(self, rng: Random) -> None:
        """A run begun."""
        given = self.any_options(rng, 2)
        shutil.rmtree(self.work / "run", ignore_errors=True)
        recipes.chosen(self.corpus, given, rng.choice(["default", "linear"]))
        recipes.start(self.corpus, given, self.work / "run").run.unlock()

    def decoding(self, rng: Random) -> None:
        """Options of decoding, and now and then sentences."""
        given = {name: rng.choice(VALUES) for name in rng.sample(self.ways, 2)}
        if Decoding(**given).max_length <= 100 and rng.random() < 0.1:
            must(len(self.model.sample(2, **given)) == 2, given)

    def annealed(self, rng: Random) -> None:
        """An annealer and a state of it: its weight stays finite."""
        make = rng.choice([*ANNEALERS.values(), *CONTROLLERS.values()])
        wild = {name: rng.choice((*VALUES, 10, 100)) for name in signature(make).parameters}
        annealer = make(**wild)
        for _ in range(3):
            annealer(rng.choice((0.0, 3.0, 1e9)))
            annealer.step()
        low = -math.inf if make in CONTROLLERS.values() else 0  # a multiplier's 1 - λ may be below
        must(low <= annealer.value < math.inf, make, wild)
        state = {name: rng.choice(VALUES) for name in annealer.state_dict()}
        annealer.load_state_dict(state)
        must(low <= annealer.value < math.inf, make, wild, state)

    def lost(self, rng: Random) -> None:
        """Losses of tensors of unlike shapes."""
        shapes = ((2, 3), (3, 2), (2,), (0, 3), ())
        x, recon, mu, logvar = (torch.rand(rng.choice(shapes)) for _ in range(4))
        how = {"reduction": rng.choice(("sum", "mean", "none", *VALUES))}
        losses.kl_divergence(mu, logvar, **how)
        losses.mse_reconstruction(recon, x, **how)
        losses.bce_reconstruction(recon, x, **how)

    def text(self, rng: Random) -> None:
        """A text there and back."""
        kind = rng.choice(list(self.tokenizers))
        written = "".join(rng.choices(CHARACTERS, k=rng.randrange(12)))
        ids = self.tokenizers[kind].encode(written)
        must(all(0 <= i < len(self.tokenizers[kind]) for i in ids), kind, written)
        back = self.tokenizers[kind].decode(ids)
        must(kind != "bpe" or back == written, kind, written, back)

    def vocabulary(self, rng: Random) -> None:
        """A tokenizer's file with a few bytes changed."""
        at, file = rng.randrange(len(self.saved)), self.work / "tokenizer.json"
        file.write_bytes(self.saved[:at] + rng.choice(BYTES) + self.saved[at + rng.randrange(3) :])
        must(Tokenizer.load(file).encode("a b") is not None)

    def read(self, rng: Random) -> None:
        """A file of any bytes."""
        file = self.work / f"any{rng.choice(SUFFIXES)}"
        file.write_bytes(b"".join(rng.choices(BYTES, k=rng.randrange(30))))
        whole = {"valid_fraction": 0, "test_fraction": 0}
        found = load_corpus(file, cache_dir=str(self.work / "cache"), **whole)
        for sentence in found["train"]["text"]:
            must(sentence.strip() == sentence != "" and not find_reserved(sentence), sentence)


def fuzzed(work: Path, corpus_file: str, run: str) -> Trial:
    """A use of one of the kinds, the cheap ones more often than those that touch the disk."""
    uses = Uses(work, corpus_file, run)
    often = (uses.options, uses.decoding, uses.annealed, uses.lost, uses.text)
    kinds = [*often * 20, *(uses.vocabulary,) * 4, uses.started, uses.read, uses.read]

    def trial(rng: Random) -> None:
        use = rng.choice(kinds)
        try:
            use(rng)
        except REFUSED:
            return
        except Exception as error:
            if isinstance(error, TypeError) and " must be " in str(error):
                return
            raise Fault("tracebacks", f"{use.__name__}: {error!r}") from error

    return trial
