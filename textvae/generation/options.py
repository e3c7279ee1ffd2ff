"""`Decoding`: every option of decoding, checked when built, all faults named at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from textvae.runtime import PRECISIONS

__all__ = ["MAX_LENGTH", "NUM_BEAMS", "STRATEGIES", "Decoding"]

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
class Decoding:
    """How sentences are made of latent codes: the options of `decode` and of all that decodes.

    Attributes:
        strategy: `"greedy"` takes the likeliest token, `"sample"` draws one, `"beam"` searches
            for the likeliest sentence.
        temperature: Of `"sample"`: divides the scores before drawing; above 0, 1 is the model's
            own distribution.
        top_k: Of `"sample"`: draw among so many likeliest tokens.
        top_p: Of `"sample"`: draw among the likeliest tokens that hold this probability together.
        typical_p: Of `"sample"`: the same with the tokens of the most typical information.
        num_beams: Of `"beam"`: width of the search, 5 if not given.
        length_penalty: Of `"beam"`: sentences are ranked by log p / tokens ** length_penalty
            (EOS counted); 0 ranks by log p, 1 by the mean per token.
        min_length: Fewest tokens of a sentence.
        max_length: Most tokens of a sentence; one that has not ended by then is cut.
        forbidden: Ids of tokens that must not come.
        allow_unknown: Whether `<unk>` may come.
        repetition_penalty: Above 1 makes tokens that the sentence already has less likely.
        precision: `"fp32"`, `"bf16"`, or `"auto"`: bf16 where the hardware multiplies it. In bf16
            are then the scores of all but the likeliest tokens: faster, the same but for ties
            where the likeliest are sought, slightly other draws.
        seed: Of `"sample"`; the same seed gives the same sentences, whatever the batch size.

    Raises:
        ValueError: If options are outside their ranges; all faults are named at once.
    """

    strategy: str = "greedy"
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    num_beams: int | None = None
    length_penalty: float = 0.0
    min_length: int = 0
    max_length: int = MAX_LENGTH
    forbidden: Sequence[int] = ()
    allow_unknown: bool = True
    repetition_penalty: float = 1.0
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [*self._misplaced(), *self._outside()]
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def beams(self) -> int:
        """Width of the search: `num_beams` or its default."""
        return NUM_BEAMS if self.num_beams is None else self.num_beams

    @property
    def draws_from_model(self) -> bool:
        """Whether tokens are drawn from the model's own distribution, but for forbidden ones."""
        chosen = self.temperature, self.repetition_penalty, self.top_k, self.top_p, self.typical_p
        return self.strategy == "sample" and chosen == (1, 1, None, None, None)

    def _misplaced(self) -> list[str]:
        if self.strategy not in STRATEGIES:
            return [f"strategy must be one of {', '.join(STRATEGIES)}, got {self.strategy!r}"]
        default = {field.name: field.default for field in fields(self)}
        return [
            f"{name} is an option of strategy {strategy!r} only, got strategy {self.strategy!r}"
            for name, strategy in ONLY_FOR.items()
            if strategy != self.strategy and getattr(self, name) != default[name]
        ]

    def _outside(self) -> list[str]:
        faults = []
        for name in ("temperature", "repetition_penalty"):
            if not 0 < getattr(self, name) < math.inf:
                faults.append(f"{name} must be finite and above 0, got {getattr(self, name)}")
        for name in ("top_p", "typical_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                faults.append(f"{name} must be above 0 and at most 1, got {value}")
        for name, least in (("top_k", 1), ("num_beams", 1), ("min_length", 0), ("max_length", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                faults.append(f"{name} must be at least {least}, got {value}")
        if self.precision not in PRECISIONS:
            allowed = ", ".join(PRECISIONS)
            faults.append(f"precision must be one of {allowed}, got {self.precision!r}")
        if self.min_length > self.max_length >= 1:
            faults.append(
                f"min_length must be at most max_length ({self.max_length}), got {self.min_length}"
            )
        if not 0 <= self.length_penalty < math.inf:
            faults.append(
                f"length_penalty must be finite and at least 0, got {self.length_penalty}"
            )
        return faults
