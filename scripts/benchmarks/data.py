"""From text to batches, against the usual loop; memory and time as a corpus grows."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import datasets  # noqa: F401 - not counted, like all imports
import torch
from jsonargparse.typing import PositiveInt

from benchmarks.bench import Bench, Side, Timed, in_fresh_process, peak
from benchmarks.train import our_terms
from benchmarks.usual import PaddedBatch, ids_of, random_batches, read_words, vocabulary_of
from textvae import Batch, BatchLoader, SentenceVAE, Tokenizer, grammar, load_corpus
from textvae.batches import EncodedSplit, encode_split
from textvae.corpus import train_tokenizer
from textvae.files import replacing
from textvae.recipes import source_and_recipe

SPLITS = ("test", "valid", "train")

STARTS = {
    "textvae --help": ["-m", "textvae.cli", "--help"],
    "import torch": ["-c", "import torch"],
    "all names of textvae": ["-c", "from textvae import *"],
}

NUM_STARTS = 5
"""Processes, of which the median counts."""

DRAWN_AT_ONCE = 20_000
"""Sentences in memory while the grammar's are written."""

SMALL_MODEL = {"embedding_dim": 64, "encoder_hidden_size": 64, "decoder_hidden_size": 64}


def data(bench: Bench, data_dir: str | None = None, batch_size: PositiveInt = 32) -> None:
    """From text to batches, and how long a start takes."""
    name, source, _ = source_and_recipe(data_dir)
    corpus, num_tokens = load_corpus(source), 0
    with tempfile.TemporaryDirectory(prefix="textvae-benchmark-") as directory:
        texts = Path(directory)
        for split in SPLITS:
            lines = [f"{text}\n" for text in corpus[split]["text"]]
            (texts / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
            num_tokens += sum(len(line.split()) + 1 for line in lines)
        bench.describe(
            "none",
            {
                "corpus": f"{name}, {num_tokens:,} tokens in {len(SPLITS)} splits",
                "batches": f"{batch_size} sentences",
                "usual loop": "lines split at blanks, a dict, lists of ids, random padded batches",
                "first batch": "in fresh processes, imports not counted",
            },
        )
        compare_first_batch(bench, texts, num_tokens)
        compare_epoch(bench, texts, batch_size)
    starts = {title: median(run_times(command)) for title, command in STARTS.items()}
    bench.note("seconds to start", starts)


def run_times(arguments: list[str]) -> Iterator[float]:
    """Seconds that Python takes to run something, its own start included, again and again."""
    for _ in range(NUM_STARTS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        yield time.perf_counter() - start


def compare_first_batch(bench: Bench, texts: Path, num_tokens: int) -> None:
    """With a new cache, and with what the first time left there; the usual loop has none."""

    def ours(is_new: bool) -> Timed:
        cache = texts / (f"cache-{time.time_ns()}" if is_new else "cache")
        found = in_fresh_process(stages, texts, cache)
        return Timed(num_tokens, found["first batch, seconds"])

    def usual() -> Timed:
        return Timed(num_tokens, in_fresh_process(usual_first_batch, texts))

    agreement = same_sentences(texts)  # fills the cache
    for name, is_new in (("new cache", True), ("cached", False)):
        title = f"text to first batch, {name}"
        bench.compare(title, "tokens/s", agreement, Side(partial(ours, is_new)), Side(usual))
    new, cached = bench.pairs
    sides = {"new cache": new["ours"], "cached": cached["ours"], "usual loop": new["reference"]}
    seconds = {name: num_tokens / side["median"] for name, side in sides.items()}
    bench.note("seconds to the first batch", seconds)


def usual_first_batch(texts: Path) -> float:
    """Seconds, the usual way."""
    start = time.perf_counter()
    words = {name: read_words(texts / f"{name}.txt") for name in SPLITS}
    vocabulary = vocabulary_of(words["train"])
    ids = {name: ids_of(sentences, vocabulary) for name, sentences in words.items()}
    next(random_batches(ids["train"], 32))
    return time.perf_counter() - start


def stages(texts: Path, cache: Path, steps: int = 0) -> dict[str, float]:
    """From text to training: when each stage was done, and the peak of memory by then."""
    figures, began = {"imported, peak MB": peak()}, time.perf_counter()

    def note(stage: str) -> None:
        figures[f"{stage}, seconds"] = time.perf_counter() - began
        figures[f"{stage}, peak MB"] = peak()

    corpus = load_corpus(texts, cache_dir=str(cache))
    note("read")
    tokenizer = train_tokenizer(corpus["train"])
    note("vocabulary")
    encoded = {name: encode_split(corpus[name], tokenizer) for name in SPLITS}
    note("tokenised")
    loader = BatchLoader(encoded["train"])
    next(loader.epoch(0))
    note("first batch")
    if steps > 0:
        model = SentenceVAE(len(tokenizer), latent_dim=16, **SMALL_MODEL)
        optimizer = torch.optim.Adam(model.parameters())
        for batch in islice(loader.epoch(0), steps):
            optimizer.zero_grad()
            sum(our_terms(model, batch)).backward()
            optimizer.step()
        note("trained")
    return figures


def same_sentences(texts: Path) -> str:
    """Compare the words that ids stand for on both sides."""
    tokenizer, split = ours_of(texts)
    words = read_words(texts / "train.txt")
    vocabulary = vocabulary_of(words)
    names = list(vocabulary)
    for i, ids in enumerate(ids_of(words, vocabulary)):
        if tokenizer.decode(split.sentence(i)) != " ".join(names[k] for k in ids):
            raise RuntimeError(f"the two sides don't do the same: sentence {i + 1} differs")
    return f"the same {len(words):,} sentences, {len(vocabulary):,} ids"


def ours_of(texts: Path) -> tuple[Tokenizer, EncodedSplit]:
    """Textvae's vocabulary and ids of the training split."""
    corpus = load_corpus(texts, cache_dir=str(texts / "cache"))
    tokenizer = train_tokenizer(corpus["train"])
    return tokenizer, encode_split(corpus["train"], tokenizer)


def compare_epoch(bench: Bench, texts: Path, batch_size: int) -> None:
    """All batches of an epoch: of like length, or random ones."""
    loader = BatchLoader(ours_of(texts)[1], batch_size=batch_size)
    words = read_words(texts / "train.txt")
    ids = ids_of(words, vocabulary_of(words))
    ours, usual = padding(loader.epoch(0)), padding(random_batches(ids, batch_size))
    bench.compare(
        "an epoch's batches",
        "batches/s",
        f"padding {ours:.1%} and {usual:.1%}",
        Side(lambda: sum(1 for _ in loader.epoch(0))),
        Side(lambda: sum(1 for _ in random_batches(ids, batch_size))),
    )


def padding(batches: Iterable[Batch | PaddedBatch]) -> float:
    """The share of places that hold no token."""
    counts = [(int(batch.lengths.sum()), batch.input_ids.numel()) for batch in batches]
    return 1 - sum(real for real, _ in counts) / sum(places for _, places in counts)


def memory(
    bench: Bench,
    small: PositiveInt = 200_000,
    large: PositiveInt = 5_000_000,
    steps: PositiveInt = 200,
    work_dir: str = "benchmark-memory",
) -> None:
    """Memory and time as a corpus grows."""
    directory = Path(work_dir).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    bench.describe(
        "fp32",
        {
            "corpus": "the grammar's sentences in one text file, 5% held out twice",
            "stages": f"in a fresh process; {steps} batches of 32 are trained on",
            "seconds": "since the imports",
            "MB": "peak of resident memory (VmHWM), in which pages of mapped files count that the "
            "system takes back when it wants",
        },
    )
    for size in (small, large):
        texts, cache = directory / f"grammar-{size}.txt", directory / f"cache-{time.time_ns()}"
        if not texts.is_file():
            write_sentences(texts, size)
        for name in ("new cache", "cached"):
            bench.note(f"{name}, {size:,} sentences", in_fresh_process(stages, texts, cache, steps))
    for name in ("new cache", "cached"):
        less, more = (bench.also[f"{name}, {size:,} sentences"] for size in (small, large))
        bench.note(f"{name}, difference", {stage: more[stage] - less[stage] for stage in more})


def write_sentences(path: Path, number: int) -> None:
    """Draw sentences and write them, some at a time."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for seed, start in enumerate(range(0, number, DRAWN_AT_ONCE)):
            drawn = grammar.sample(min(DRAWN_AT_ONCE, number - start), seed)
            file.writelines(f"{sentence.text}\n" for sentence in drawn)
