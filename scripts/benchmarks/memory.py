"""Memory and time as a corpus grows: tokenising it, opening it, training on it.

Every size is worked on in fresh processes. Reported are the peak of resident memory (VmHWM of
/proc/self/status) and, apart, that of its anonymous part (RssAnon, looked at every few
milliseconds): the rest are pages of mapped files, which the system takes back when it wants.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from tqdm import tqdm

from benchmarks.fresh import in_fresh_process
from benchmarks.measuring import Benchmark, Plan, at_least
from textvae import grammar
from textvae.files import replacing

__all__ = ["MEMORY"]

DRAWN_AT_ONCE = 20_000
"""Sentences in memory while the text is written."""

SIZES = {"embedding_dim": 64, "encoder_hidden_size": 64, "decoder_hidden_size": 64}

STATUS = Path("/proc/self/status")


def add_memory_options(parser: ArgumentParser) -> None:
    """How large, and where."""
    parser.add_argument("--small", type=int, default=200_000, help="sentences")
    parser.add_argument("--large", type=int, default=5_000_000, help="sentences")
    parser.add_argument("--steps", type=int, default=200, help="training batches")
    parser.add_argument(
        "--work-dir", type=str, default="benchmark-memory", help="for texts and caches; kept"
    )


def plan_memory(options: Namespace) -> Plan:
    """Two sizes, and what the larger one takes more."""
    at_least(100, small=options.small, large=options.large)
    at_least(1, steps=options.steps)
    if not STATUS.is_file():
        raise ValueError(f"memory is read from {STATUS}, which this system does not have")
    directory = Path(options.work_dir).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, dict[str, float]]] = {}
    also: dict[str, Callable[[], Mapping[str, Any]]] = {}
    for size in (options.small, options.large):
        found[size] = {}
        for stage in ("tokenise", "train"):
            work = partial(measured, stage, size, options.steps, directory, found[size])
            also[f"{stage}, {size:,} sentences"] = work
    for stage in ("tokenise", "train"):
        also[f"{stage}, difference"] = partial(
            difference, stage, found[options.small], found[options.large]
        )
    return Plan(
        [],
        precision="fp32",
        setting={
            "corpus": "the grammar's sentences in one text file, 5% held out twice",
            "tokenise": "text to ids in a new cache",
            "train": f"cached; opening, first batch, {options.steps} batches of 32",
            "MB": "peak resident memory, and its anonymous part, from the process's start",
        },
        also=also,
    )


def measured(
    stage: str, size: int, steps: int, directory: Path, found: dict[str, dict[str, float]]
) -> dict[str, float]:
    """One stage in a fresh process; `tokenise` in a new cache, which `train` finds."""
    texts = directory / f"grammar-{size}.txt"
    if not texts.is_file():
        write_texts(texts, size)
    marker = directory / f"cache-{size}.txt"
    if stage == "tokenise":
        marker.write_text(str(directory / f"cache-{size}-{time.time_ns()}"), encoding="utf-8")
    cache = marker.read_text(encoding="utf-8")
    arguments = [str(texts)] if stage == "tokenise" else [str(texts), steps]
    found[stage] = in_fresh_process(
        "benchmarks.memory", stage, *arguments, environment={"HF_DATASETS_CACHE": cache}
    )
    return found[stage]


def write_texts(path: Path, number: int) -> None:
    """Draw sentences and write them, some at a time."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8") as file,
        tqdm(total=number, desc="drawing sentences", unit_scale=True, delay=2) as bar,
    ):
        for seed, start in enumerate(range(0, number, DRAWN_AT_ONCE)):
            drawn = grammar.sample(min(DRAWN_AT_ONCE, number - start), seed)
            file.writelines(sentence.text + "\n" for sentence in drawn)
            bar.update(len(drawn))


def difference(stage: str, small: Mapping[str, Any], large: Mapping[str, Any]) -> dict[str, float]:
    """How much more the larger corpus took."""
    pairs = zip(large[stage].items(), small[stage].values(), strict=True)
    return {name: more - less for (name, more), less in pairs}


def tokenise(texts: str) -> dict[str, float]:
    """Text to ids. For a process of its own."""
    with watched() as look:
        from textvae.batches import encode_split
        from textvae.corpus import load_corpus, train_tokenizer

        start = time.perf_counter()
        corpus = load_corpus(texts)
        read = time.perf_counter()
        tokenizer = train_tokenizer(corpus["train"])
        counted = time.perf_counter()
        splits = [encode_split(corpus[name], tokenizer) for name in ("train", "valid", "test")]
        end = time.perf_counter()
        return {
            "reading seconds": read - start,
            "vocabulary seconds": counted - read,
            "tokenising seconds": end - counted,
            "million tokens/s": sum(split.num_tokens for split in splits) / (end - counted) / 1e6,
            **look(""),
        }


def train(texts: str, steps: int) -> dict[str, float]:
    """Ids to training. For a process of its own."""
    import torch

    with watched() as look:
        before = look("before: ")
        start = time.perf_counter()
        from textvae.batches import BatchLoader, encode_split
        from textvae.corpus import load_corpus, train_tokenizer

        corpus = load_corpus(texts)
        tokenizer = train_tokenizer(corpus["train"])
        split = encode_split(corpus["train"], tokenizer)
        opened = {"opened, seconds": time.perf_counter() - start, **look("opened, ")}
        loader = BatchLoader(split)
        next(loader.epoch(0))
        first = {"first batch, seconds": time.perf_counter() - start, **look("first batch, ")}

        from textvae.losses import elbo_terms
        from textvae.model import SentenceVAE

        torch.manual_seed(0)
        model = SentenceVAE(len(tokenizer), latent_dim=16, **SIZES)
        optimizer = torch.optim.Adam(model.parameters())
        begin = time.perf_counter()
        for batch in islice(loader.epoch(0), steps):
            terms = elbo_terms(*model(batch))
            optimizer.zero_grad()
            (terms.rec + terms.kl).backward()
            optimizer.step()
        trained = {"trained, seconds": time.perf_counter() - begin, **look("trained, ")}
        return {**before, **opened, **first, **trained}


@contextmanager
def watched() -> Iterator[Callable[[str], dict[str, float]]]:
    """Gives what tells the peaks so far, in megabytes."""
    peak, over, most = memory("RssAnon"), threading.Event(), 0.0

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.005):
            peak = max(peak, memory("RssAnon"))

    def look(prefix: str) -> dict[str, float]:
        nonlocal most
        # The system counts pages per processor and adds up late: its peak can seem to fall.
        most = max(most, memory("VmHWM"))
        return {
            f"{prefix}peak MB": most,
            f"{prefix}anonymous MB": max(peak, memory("RssAnon")),
        }

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield look
    finally:
        over.set()
        watcher.join()


def memory(field: str) -> float:
    """A field of this process's status, in megabytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} has no {field}")
    return int(found[1]) / 1024


MEMORY = Benchmark("memory as a corpus grows", add_memory_options, plan_memory)
