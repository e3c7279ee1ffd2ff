"""Labels that a model is told: F of each of B sentences, of C values in all."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from textvae.checks import InputError, one_of


class Labels:
    """A model's labels and how often training has each value; F is 0 where there are none."""

    def __init__(self, counts: Mapping[str, Mapping[str, int]] | None) -> None:
        self.counts = counts or {}
        self.values = {name: list(values) for name, values in self.counts.items()}
        self.names = ", ".join(self.values) or "none (training had no --condition-on)"

    def numbered(self, columns: Any) -> Tensor:
        """The place of each value, (B, F), in columns by name, such as a data set's."""
        known = getattr(columns, "column_names", columns)
        if missing := [name for name in self.values if name not in known]:
            raise InputError(f"labels must be {self.names}: there is no {missing[0]}")
        found = [[self._number(name, one) for one in columns[name]] for name in self.values]
        return torch.tensor(found).T

    def changed(self, labels: Tensor | None, size: int, label: str | None) -> Tensor:
        """Numbers (B, F) but for what `label`, "NAME=VALUE,NAME=VALUE", sets: if None, all."""
        given = dict(part.partition("=")[::2] for part in label.split(",")) if label else {}
        if unknown := [name for name in given if name not in self.values]:
            raise InputError(f"label must be NAME=VALUE, NAME of {self.names}, got {unknown[0]!r}")
        if labels is None and len(given) < len(self.values):
            raise InputError(f"label must be NAME=VALUE for each of {self.names}, got {label}")
        found = torch.zeros(1, len(self.values)).long() if labels is None else labels
        found = found.expand(size, -1).clone()
        for column, name in enumerate(self.values):
            if name in given:
                found[:, column] = self._number(name, given[name])
        return found

    def named(self, labels: Tensor) -> list[dict[str, str]]:
        """Each sentence's values by name, of numbers (B, F)."""
        columns = self.values.items()
        return [
            {n: v[i] for (n, v), i in zip(columns, row, strict=True)} for row in labels.tolist()
        ]

    def told(self, labels: Tensor, read: Tensor) -> Tensor:
        """What a layer reads, (…, B, W), after a 1 for each true value: (…, B, C + W)."""
        # The layer's weights for these columns are the embedding of the values.
        if not self.values:
            return read
        if labels.shape[-1] != len(self.values):
            raise InputError(f"the model is told {self.names}: batches must have these labels")
        columns = zip(labels.T, self.values.values(), strict=True)
        hot = [own[:, None] == torch.arange(len(v), device=own.device) for own, v in columns]
        return torch.cat([torch.cat(hot, 1).to(read).expand(*read.shape[:-1], -1), read], -1)

    def _number(self, name: str, value: Any) -> int:
        values = self.values[name]
        return values.index(one_of(f"label {name}", str(value), values))
