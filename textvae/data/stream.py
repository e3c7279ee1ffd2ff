"""Batches from sentences that are read and let go, for corpora without room on the disk.

`StreamLoader` takes any iterable of texts, such as `datasets.load_dataset(…, streaming=True)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from textvae.batch import Batch
from textvae.data.batches import BatchLoader
from textvae.data.corpus import DataError
from textvae.data.encoding import EncodedSplit
from textvae.tokenizer import Tokenizer

__all__ = ["StreamLoader"]


class StreamLoader:
    """Every sentence of a stream once an epoch, in batches of like length.

    Sentences are gathered in a buffer, and each full buffer becomes batches as `BatchLoader`
    makes them: of like length, shuffled. Nothing else is held, and nothing is written.

    What a stream can't give, as its end is not known before it is there:

    - `len(loader)`, the number of batches: schedules must be told in steps, not in epochs;
    - an order drawn from the whole corpus: sentences mix within a buffer only. A stream in the
      order of its sources wants `IterableDataset.shuffle` too, or a larger buffer;
    - `epoch(number, start)` in no time: what comes before `start` is read again, though not
      made into batches.

    The `Trainer` needs the first, so this is for loops of your own; see `docs/large-corpora.md`.
    """

    def __init__(
        self,
        texts: Iterable[str] | Iterable[Mapping[str, str]],
        tokenizer: Tokenizer,
        *,
        batch_size: int | None = 32,
        max_tokens: int | None = None,
        buffer_size: int = 20_000,
        max_length: int | None = None,
        text_field: str = "text",
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        """Take a stream.

        Args:
            texts: Sentences, or rows that hold one; iterated anew for every epoch, so that a
                generator, which can be read only once, gives one epoch. If it has `set_epoch`
                (as data sets of `datasets` do), that is called first.
            tokenizer: Makes ids of them.
            batch_size: Most sentences in a batch; no limit if None.
            max_tokens: Most tokens in a batch, padding counted; no limit if None.
            buffer_size: Sentences in a buffer: more of them, less padding and better mixing.
            max_length: Longer sentences are cut to as many ids, without EOS; no limit if None.
            text_field: Where a row holds its sentence.
            shuffle: Whether a buffer is shuffled; else its batches go from short to long.
            seed: Decides, with the number of the epoch, the order.

        Raises:
            DataError: If a limit is not positive, or neither `batch_size` nor `max_tokens` given.
        """
        if buffer_size < 1:
            raise DataError(f"buffer_size must be at least 1, got {buffer_size}")
        self.texts = texts
        self.tokenizer = tokenizer
        self.buffer_size = buffer_size
        self.max_length = max_length
        self.text_field = text_field
        self._options: dict[str, Any] = {
            "batch_size": batch_size,
            "max_tokens": max_tokens,
            "shuffle": shuffle,
            "seed": seed,
        }
        # What is wrong with these is told now, not with the first buffer.
        self._loader([[]])

    def __iter__(self) -> Iterator[Batch]:
        """Epoch 0, for loops that need no other."""
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; the same number gives the same batches of the same stream.

        Args:
            number: Which epoch, from 0; with the seed it decides the order in each buffer.
            start: First batch to give: to go on in the middle of an epoch.

        Yields:
            Batches; their `indices` are positions in the stream, empty lines not counted.

        Raises:
            DataError: If `number` or `start` is negative, if the stream holds no sentences, or
                if one of them contains a reserved token or is above `max_tokens`.
        """
        for name, value in (("number", number), ("start", start)):
            if value < 0:
                raise DataError(f"{name} must be at least 0, got {value}")
        return self._epoch(number, start)

    def _epoch(self, number: int, start: int) -> Iterator[Batch]:
        if hasattr(self.texts, "set_epoch"):
            self.texts.set_epoch(number)
        sentences = self._sentences()
        num_read = 0
        while buffer := list(islice(sentences, self.buffer_size)):
            loader = self._loader(self._encoded(buffer, num_read))
            if start < len(loader):
                for batch in loader.epoch(number, start):
                    yield batch._replace(indices=batch.indices + num_read)
            start = max(0, start - len(loader))
            num_read += len(buffer)
        if num_read == 0:
            raise DataError(
                f"the stream holds no sentences in epoch {number} (a generator can be read once)"
            )

    def _sentences(self) -> Iterator[str]:
        for number, row in enumerate(self.texts, start=1):
            if isinstance(row, Mapping) and self.text_field not in row:
                raise DataError(
                    f"row {number} of the stream has no field {self.text_field!r}; "
                    f"it has {', '.join(row)}"
                )
            text = row[self.text_field] if isinstance(row, Mapping) else row
            if not isinstance(text, str):
                raise DataError(f"row {number} of the stream must be a string, got {text!r}")
            if stripped := text.strip():
                yield stripped

    def _encoded(self, buffer: list[str], first: int) -> list[list[int]]:
        try:
            return self.tokenizer.encode_batch(buffer)
        except ValueError as fault:
            raise DataError(f"in the stream, counted from sentence {first + 1}: {fault}") from None

    def _loader(self, ids: list[list[int]]) -> BatchLoader:
        split = EncodedSplit.from_ids(ids, max_length=self.max_length)
        special = self.tokenizer
        return BatchLoader(
            split,
            **self._options,
            bos_id=special.bos_id,
            eos_id=special.eos_id,
            pad_id=special.pad_id,
        )
