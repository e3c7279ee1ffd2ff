"""One function for every kind of corpus: `load_corpus`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from textvae import grammar
from textvae.data.corpus import Corpus, CorpusNotFound, DataError
from textvae.data.holding_out import check_fractions, hold_out
from textvae.data.local import SPLIT_NAMES, load_directory, load_file
from textvae.data.ptb import load_ptb
from textvae.data.rows import clean
from textvae.data.store import SHARD_ROWS, cache_root, digest, read_shard, stored
from textvae.data.texts import TextSplit
from textvae.files import require_repository

__all__ = ["load_corpus"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_ENDING = re.compile(r"\.[A-Za-z]\w{0,7}")


def load_corpus(
    source: str | Path,
    *,
    text_field: str = "text",
    valid_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
    cache_dir: str | None = None,
) -> Corpus:
    """Load a corpus by name, path or hub id.

    Args:
        source: One of:

            - `"grammar"`, the embedded corpus;
            - `"ptb"`, Penn Treebank wherever it is, or `"ptb:DIR"`;
            - a text file, a sentence a line, in UTF-8;
            - a file of JSON lines (`.jsonl`, `.ndjson`, `.json`);
            - a directory with files for train, valid and test, named such as `train.txt` or
              `my.valid.jsonl` (`validation`, `val` and `dev` do as well); test may be missing;
            - a hub data set id, `owner/name`.

            Local paths are tried before the hub.
        text_field: Field of the sentence in JSON lines and hub data sets.
        valid_fraction: Share of sentences held out for validation where the source has no split
            of its own; 0 for none.
        test_fraction: The same for test.
        seed: Draws the held-out sentences, and the embedded corpus itself.
        cache_dir: Where the Arrow files lie; if None, where `datasets` keeps its own.

    Returns:
        The corpus; empty lines are left out and counted.

    Raises:
        CorpusNotFound: If there is nothing of that name, or the hub can't be reached (known
            within five seconds).
        DataError: If what was found can't be used, or a fraction is out of its range.
    """
    check_fractions(valid_fraction, test_fraction)
    fractions = {"valid": valid_fraction, "test": test_fraction}
    name, path = str(source), Path(source).expanduser()
    if name == "grammar":
        return _load_grammar(seed, cache_dir)
    if name == "ptb" or name.startswith("ptb:"):
        return load_ptb(name[4:] or None, cache_dir=cache_dir)
    if path.is_dir():
        return load_directory(path, text_field=text_field, cache_dir=cache_dir)
    if path.is_file():
        return load_file(
            path, text_field=text_field, fractions=fractions, seed=seed, cache_dir=cache_dir
        )
    _require_hub_id(name)
    return _load_hub(
        name, text_field=text_field, fractions=fractions, seed=seed, cache_dir=cache_dir
    )


def _load_grammar(seed: int, cache_dir: str | None) -> Corpus:
    # Part of the cache's key: a changed grammar must not be answered with old sentences.
    signature = repr((grammar.vocabulary(), grammar.entropy(), grammar.sample(20, seed)))
    splits: dict[str, TextSplit] = {}
    for split in SPLIT_NAMES:
        key, root = digest("grammar", split, seed, signature), cache_root(cache_dir)
        found = stored(
            root / f"grammar-{key}",
            partial(_grammar_rows, split, seed),
            _grammar_table,
            title="drawing sentences",
        )
        shards = [partial(read_shard, path) for path in found.paths]
        splits[split] = TextSplit(shards, found.sizes, key=key, root=root)
    return Corpus("grammar", splits, "grammar", dict.fromkeys(splits, 0))


def _grammar_rows(split: str, seed: int) -> Iterator[list[dict[str, str]]]:
    # The held-out sets do not depend on how many training sentences are drawn after them.
    drawn = grammar.splits(seed) if split == "train" else grammar.splits(seed, train=0)
    rows = ({"text": sentence.text, **sentence.factors} for sentence in getattr(drawn, split))
    while part := list(islice(rows, SHARD_ROWS)):
        yield part


def _grammar_table(first: int, rows: list[dict[str, str]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(rows)


def _require_hub_id(name: str) -> None:
    """Raise for what can only be a mistyped path: it must not cost a look-up on the hub."""
    owner, _, last = name.partition("/")
    if not _HUB_ID.fullmatch(name) or _FILE_ENDING.fullmatch(Path(last).suffix):
        raise CorpusNotFound(
            f"no file or directory {name!r} (a corpus is a path, grammar, ptb, or a hub data set "
            "named owner/name)"
        )
    if Path(owner).is_dir():
        raise CorpusNotFound(
            f"no file or directory {name!r} (there is a directory {owner!r}, so it was not looked "
            "for on the hub)"
        )


def _load_hub(
    name: str, *, text_field: str, fractions: dict[str, float], seed: int, cache_dir: str | None
) -> Corpus:
    import datasets

    try:
        require_repository(name, "dataset")
    except OSError as error:
        raise CorpusNotFound(
            f"no file or directory {name!r}, and {error}",
            ["set HF_HUB_OFFLINE=1 to use what was downloaded before"],
        ) from None
    try:
        loaded: dict[str, Any] = datasets.load_dataset(name, cache_dir=cache_dir)
    # Networks, repositories and formats fail in ways of their own; the first line says which.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorpusNotFound(f"the data set {name!r} could not be loaded: {reason}") from error
    splits: dict[str, TextSplit] = {}
    skipped: dict[str, int] = {}
    for split, aliases in SPLIT_NAMES.items():
        found = next((alias for alias in aliases if alias in loaded), None)
        if found is not None:
            where = f"the data set {name!r} ({found})"
            splits[split], skipped[split] = clean(
                loaded[found], where, text_field=text_field, root=cache_root(cache_dir)
            )
    if "train" not in splits:
        raise DataError(f"the data set {name!r} has no split train; it has {', '.join(loaded)}")
    wanted = {split: share for split, share in fractions.items() if split not in splits}
    if wanted:
        splits.update(hold_out(splits["train"], wanted, seed, f"the data set {name!r}"))
    return Corpus(name, splits, name, skipped)
