"""`Decoding`: every option of decoding, checked when built, all faults named at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from textvae.config import Options, option

STRATEGIES = ("greedy", "sample", "beam")
MAX_LENGTH = 200
NUM_BEAMS = 5

ONLY_FOR = {
    "temperature": "sample",
    "top_k": "sample",
    "top_p": "sample",
    "typical_p": "sample",
    "num_beams": "beam",
    "length_penalty": "beam",
}
"""Options of one strategy: with another they are refused, unless they have no effect."""


@dataclass(frozen=True, kw_only=True)
class Decoding(Options):
    """How sentences are made of latent codes: the options of `decode` and of all that decodes.

    `dataclasses.fields(Decoding)` holds each one's help. The same `seed` gives the same sentences,
    whatever the batch size.

    Raises:
        InputError: If options are outside their ranges; all faults are named at once.
    """

    strategy: Literal["greedy", "sample", "beam"] = option(
        "greedy", "greedy, sample (draws each token) or beam (searches)"
    )
    temperature: float = option(
        1.0, "sample: below 1 keeps to likely tokens, above 1 strays", "(0, inf)"
    )
    top_k: int | None = option(None, "sample: among so many likeliest tokens")
    top_p: float | None = option(
        None, "sample: among the likeliest tokens of this probability in all", "(0, 1]"
    )
    typical_p: float | None = option(
        None, "sample: the same among the tokens of most typical information", "(0, 1]"
    )
    num_beams: int | None = option(None, f"beam: width of the search, {NUM_BEAMS} if not given")
    length_penalty: float = option(
        0.0, "beam: ranks by log p / tokens ** this, EOS counted; 1 favours longer", "[0, inf)"
    )
    min_length: int = option(0, "fewest tokens of a sentence", "[0, inf)")
    max_length: int = option(MAX_LENGTH, "most tokens of a sentence; a longer one is cut")
    forbidden: Sequence[int] = option((), "ids of tokens that must not come")
    allow_unknown: bool = option(True, "whether <unk> may come")
    seed: int = option(0, "of draws: the same seed, the same sentences", "[0, inf)")

    def faults(self) -> Iterator[str]:
        """An option that would do nothing is a fault, too."""
        for name, strategy in ONLY_FOR.items():
            default = type(self).__dataclass_fields__[name].default
            if strategy != self.strategy in STRATEGIES and getattr(self, name) != default:
                yield (
                    f"{name} is an option of strategy {strategy!r} only, "
                    f"got strategy {self.strategy!r}"
                )
        yield from super().faults()
        if self.min_length > self.max_length >= 1:
            yield (
                f"min_length must be at most max_length ({self.max_length}), got {self.min_length}"
            )

    @property
    def beams(self) -> int:
        """Width of the search: `num_beams` or its default; 1 without a search."""
        if self.strategy != "beam":
            return 1
        return NUM_BEAMS if self.num_beams is None else self.num_beams
