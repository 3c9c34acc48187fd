"""Means of what the steps of an epoch log."""

import torch
from torch import Tensor


class LossMeans:
    """Sums named scalars of the steps on the device; one host synchronisation an epoch."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Adds a step's scalar."""
        value = value.detach().float()
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean over the steps in which each name occurred."""
        if not self._sums:
            return {}
        values = torch.stack(list(self._sums.values())).tolist()
        return {
            name: value / self._counts[name] for name, value in zip(self._sums, values, strict=True)
        }
