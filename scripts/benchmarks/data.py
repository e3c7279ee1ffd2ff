"""From text to batches, against the usual loop: first batch, tokenising, an epoch; start-up."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from benchmarks.fresh import in_fresh_process
from benchmarks.measuring import Benchmark, Pair, Plan, Timed, at_least
from benchmarks.usual import random_batches
from benchmarks.usual.reading import ids_of, read_words, vocabulary_of
from textvae.batches import BatchLoader, EncodedSplit, encode_split
from textvae.corpus import Corpus, load_corpus, train_tokenizer
from textvae.recipes import source_and_recipe

__all__ = ["DATA"]

SPLITS = ("train", "valid", "test")

STARTS = 5
"""Processes, of which the median counts."""

NO_LIMIT = "no matrix products in it"


class Texts(NamedTuple):
    """A corpus as text files, a sentence a line, that both sides read.

    Attributes:
        directory: Holds `train.txt`, `valid.txt` and `test.txt`, and their caches.
        num_words: Words of the training split.
        num_tokens: Predicted tokens of all splits: words, and an end for each sentence.
    """

    directory: Path
    num_words: int
    num_tokens: int


def add_data_options(parser: ArgumentParser) -> None:
    """What is read."""
    parser.add_argument(
        "--data-dir", type=str | None, help="Penn Treebank (default: the embedded corpus)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="sentences per batch")


def plan_data(options: Namespace) -> Plan:
    """The same files on both sides."""
    at_least(1, batch_size=options.batch_size)
    name, source, _ = source_and_recipe(options.data_dir)
    loaded = load_corpus(source)
    directory = Path(tempfile.mkdtemp(prefix="textvae-benchmark-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    texts = write_texts(loaded, directory)
    corpus = load_texts(texts, "cache")
    split = encode_split(corpus["train"], train_tokenizer(corpus["train"]))
    words = read_words(texts.directory / "train.txt")
    ids = ids_of(words, vocabulary_of(words))
    pairs = [
        first_batch(texts, "text to first batch, new cache", new_cache=True),
        first_batch(texts, "text to first batch, cached", new_cache=False),
        tokenising(texts, corpus, words),
        epoch(split, ids, options.batch_size),
    ]
    return Plan(
        pairs,
        precision="none",
        setting={
            "corpus": f"{name}, {texts.num_tokens:,} tokens in {len(SPLITS)} splits",
            "batches": f"{options.batch_size} sentences",
            "usual loop": "lines split at blanks, a dict, lists of ids, random padded batches",
            "first batch": "in fresh processes, import of torch not counted",
        },
        also={
            "seconds to the first batch": partial(seconds_to_first_batch, texts),
            "seconds to start": seconds_to_start,
        },
    )


def write_texts(corpus: Corpus, directory: Path) -> Texts:
    """Write all splits of a corpus."""
    num_words, num_tokens = 0, 0
    for name in SPLITS:
        with (directory / f"{name}.txt").open("w", encoding="utf-8") as file:
            for text in corpus[name]["text"]:
                file.write(text + "\n")
                num = len(text.split())
                num_tokens += num + 1
                num_words += num if name == "train" else 0
    return Texts(directory, num_words, num_tokens)


def load_texts(texts: Texts, cache: str) -> Corpus:
    """The corpus in the files, cached beside them."""
    return load_corpus(texts.directory, cache_dir=str(texts.directory / cache))


def seconds(function: str, texts: Texts, cache: str) -> float:
    """From text to the first batch, in a fresh process."""
    found = in_fresh_process(
        "benchmarks.first_batch",
        function,
        str(texts.directory),
        environment={"HF_DATASETS_CACHE": str(texts.directory / cache), "HF_HUB_OFFLINE": "1"},
    )
    return float(found)


def first_batch(texts: Texts, name: str, *, new_cache: bool) -> Pair:
    """Both in fresh processes; the usual loop has no cache."""

    def work(function: str) -> Timed:
        cache = f"cache-{time.time_ns()}" if new_cache else "cache"
        return Timed(texts.num_tokens, seconds(function, texts, cache))

    def check() -> str:
        work("textvae_way")  # fills the cache
        return "the same files"

    return Pair(
        name,
        "tokens/s",
        check,
        partial(work, "textvae_way"),
        partial(work, "usual_way"),
        no_limit=NO_LIMIT,
    )


def tokenising(texts: Texts, corpus: Corpus, words: list[list[str]]) -> Pair:
    """Texts in memory or memory-mapped → vocabulary and ids."""

    def ours() -> Timed:
        fresh = load_texts(texts, f"cache-{time.time_ns()}")
        start = time.perf_counter()
        encode_split(fresh["train"], train_tokenizer(fresh["train"]))
        return Timed(texts.num_words, time.perf_counter() - start)

    def usual() -> Timed:
        lines = list(corpus["train"]["text"])
        start = time.perf_counter()
        split = [line.split() for line in lines]
        ids_of(split, vocabulary_of(split))
        return Timed(texts.num_words, time.perf_counter() - start)

    def check() -> str:
        tokenizer = train_tokenizer(corpus["train"])
        vocabulary = vocabulary_of(words)
        words_of = {i: word for word, i in vocabulary.items()}
        split = encode_split(corpus["train"], tokenizer)
        for i, ids in enumerate(ids_of(words, vocabulary)):
            if tokenizer.decode(split.sentence(i)) != " ".join(words_of[k] for k in ids):
                raise RuntimeError(f"the two sides don't do the same: sentence {i + 1} differs")
        return f"the same {len(words):,} sentences, {len(vocabulary):,} ids"

    return Pair("tokenising", "tokens/s", check, ours, usual, no_limit=NO_LIMIT)


def epoch(split: EncodedSplit, ids: list[list[int]], batch_size: int) -> Pair:
    """All batches of an epoch: of like length, or random ones."""
    loader = BatchLoader(split, batch_size=batch_size)

    def padding(batches: list[tuple[int, int]]) -> float:
        return 1 - sum(real for real, _ in batches) / sum(places for _, places in batches)

    def check() -> str:
        ours = [(batch.num_tokens, batch.input_ids.numel()) for batch in loader.epoch(0)]
        usual = [(int(b.lengths.sum()), b.inputs.numel()) for b in random_batches(ids, batch_size)]
        if (len(ours), sum(n for n, _ in ours)) != (len(usual), sum(n for n, _ in usual)):
            raise RuntimeError("the two sides don't do the same: other batches or tokens")
        return f"padding {padding(ours):.1%} and {padding(usual):.1%}"

    def consumed(batches: Callable[[], Any]) -> float:
        return sum(1 for _ in batches())

    return Pair(
        "an epoch's batches",
        "batches/s",
        check,
        partial(consumed, partial(loader.epoch, 0)),
        partial(consumed, partial(random_batches, ids, batch_size)),
        no_limit=NO_LIMIT,
    )


def seconds_to_first_batch(texts: Texts) -> dict[str, float]:
    """The first two pairs once more, in seconds."""
    cache = f"cache-{time.time_ns()}"
    return {
        "new cache": seconds("textvae_way", texts, cache),
        "cached": seconds("textvae_way", texts, cache),
        "usual loop": seconds("usual_way", texts, cache),
    }


def seconds_to_start() -> dict[str, float]:
    """Of whole processes, Python's own start included; medians."""
    commands = {
        "textvae --help": ["-m", "textvae.cli", "--help"],
        "import torch": ["-c", "import torch"],
        "all names of textvae": ["-c", "from textvae import *"],
    }
    return {name: median(map(run_time, [command] * STARTS)) for name, command in commands.items()}


def run_time(arguments: list[str]) -> float:
    """Seconds that Python takes to run something."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


DATA = Benchmark("text to batches", add_data_options, plan_data)
