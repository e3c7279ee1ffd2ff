"""From text to batches, against the usual loop; memory and time as a corpus grows."""

import tempfile
import time
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import datasets  # noqa: F401 - not counted, like all imports
import torch
from jsonargparse.typing import PositiveInt

from benchmarks import usual
from benchmarks.bench import Bench, Side, Timed, in_fresh_process, peak
from benchmarks.train import our_terms
from textvae import Batch, BatchLoader, SentenceVAE, grammar, load_corpus
from textvae.batches import encode_split
from textvae.corpus import train_tokenizer
from textvae.files import replacing
from textvae.recipes import source_and_sizes

SPLITS = ("test", "valid", "train")

DRAWN_AT_ONCE = 20_000  # sentences in memory while the grammar's are written

SMALL_MODEL = {"embedding_dim": 64, "encoder_hidden_size": 64, "decoder_hidden_size": 64}


def data(bench: Bench, data_dir: str | None = None, batch_size: PositiveInt = 32) -> None:
    """From text to batches."""
    name, source, _ = source_and_sizes(data_dir)
    corpus, num_tokens = load_corpus(source), 0
    with tempfile.TemporaryDirectory(prefix="textvae-benchmark-") as directory:
        texts, cache = Path(directory), Path(directory, "cache")
        for split in SPLITS:
            lines = [f"{text}\n" for text in corpus[split]["text"]]
            (texts / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
            num_tokens += sum(len(line.split()) + 1 for line in lines)
        bench.describe("none", {"corpus": f"{name}, {num_tokens:,} tokens in {len(SPLITS)} splits"})
        ids, vocabulary = usual.read(texts)
        corpus = load_corpus(texts, cache_dir=str(cache))  # fills the cache
        tokenizer = train_tokenizer(corpus["train"])
        split = encode_split(corpus["train"], tokenizer)
        words = list(vocabulary)
        read = [tokenizer.decode(split.sentence(i)) for i in range(len(split))]
        if read != [" ".join(words[k] for k in sentence) for sentence in ids["train"]]:
            raise RuntimeError("the two sides don't do the same: other words")
        agreement = f"the same {len(read):,} sentences, {len(words):,} ids"
        counted = partial(Timed, num_tokens)
        reference = Side(partial(usual_first_batch, texts), count=counted)
        for title, where in (("new cache", None), ("cached", cache)):
            ours = Side(partial(first_batch, texts, where), count=counted)
            bench.compare(f"text to first batch, {title}", "tokens/s", agreement, ours, reference)
        loader = BatchLoader(split, batch_size=batch_size)
        theirs = partial(usual.random_batches, ids["train"], batch_size)
        padded = f"padding {padding(loader):.1%} and {padding(theirs()):.1%}"
        ours = Side(lambda: sum(1 for _ in loader))
        reference = Side(lambda: sum(1 for _ in theirs()))
        bench.compare("an epoch's batches", "batches/s", padded, ours, reference)
    new, cached, _ = bench.pairs
    sides = {"new cache": new["ours"], "cached": cached["ours"], "usual loop": new["reference"]}
    seconds = {name: num_tokens / side["median"] for name, side in sides.items()}
    bench.note("seconds to the first batch", seconds)


def first_batch(texts: Path, cache: Path | None) -> float:
    """Seconds in a fresh process, textvae's way; in a new cache if none is given."""
    cache = cache or texts / f"cache-{time.time_ns()}"
    return in_fresh_process(stages, texts, cache)["first batch, seconds"]


def usual_first_batch(texts: Path) -> float:
    """Seconds, the usual way."""
    began = time.perf_counter()
    ids, _ = usual.read(texts)
    next(usual.random_batches(ids["train"], 32))
    return time.perf_counter() - began


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
        for batch in islice(loader, steps):
            optimizer.zero_grad()
            sum(our_terms(model, batch)).backward()
            optimizer.step()
        note("trained")
    return figures


def padding(batches: Iterable[Batch | usual.PaddedBatch]) -> float:
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
    bench.describe("fp32", {"MB": "peak of resident memory, pages of mapped files among it"})
    directory, found = Path(work_dir).absolute(), {}
    directory.mkdir(parents=True, exist_ok=True)
    for size in (small, large):
        texts, cache = directory / f"grammar-{size}.txt", directory / f"cache-{time.time_ns()}"
        if not texts.is_file():
            write_sentences(texts, size)
        for name in ("new cache", "cached"):
            found[name, size] = in_fresh_process(stages, texts, cache, steps)
            bench.note(f"{name}, {size:,} sentences", found[name, size])
    for name in ("new cache", "cached"):
        less, more = found[name, small], found[name, large]
        bench.note(f"{name}, difference", {stage: more[stage] - less[stage] for stage in more})


def write_sentences(path: Path, number: int) -> None:
    """Draw sentences and write them, some at a time."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for seed, first in enumerate(range(0, number, DRAWN_AT_ONCE)):
            drawn = grammar.sample(min(DRAWN_AT_ONCE, number - first), seed)
            file.writelines(f"{sentence.text}\n" for sentence in drawn)
