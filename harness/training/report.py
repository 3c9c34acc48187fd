"""What a trial tells the driver after an epoch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

SEALED_PARTS = ("sealed", "sealed_pooled", "counterpart", "counterpart_pooled")
"""Fields of a report that labels went into."""


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """State after ``epoch`` completed epochs (0 = untrained).

    Attributes:
        epoch: completed epochs.
        objective: what the search maximises.
        losses: means over the epoch.
        validators: label-free scores.
        sealed: retrieval metrics from the vault, to be opened by the driver alone.
        sealed_pooled: those of the pooled features; at epoch 0 only, else "".
        counterpart: sealed metrics of the trial of the other scenario that this training serves
            too (:mod:`harness.training.counterpart`), or "".
        counterpart_pooled: those of the pooled features, likewise.
        seconds: wall time of the epoch.
    """

    epoch: int
    objective: float
    losses: Mapping[str, float] = field(default_factory=dict)
    validators: Mapping[str, float] = field(default_factory=dict)
    sealed: str
    sealed_pooled: str = ""
    counterpart: str = ""
    counterpart_pooled: str = ""
    seconds: float

    @property
    def from_labels(self) -> dict[str, str]:
        """The sealed parts, as plain text."""
        return {name: str(getattr(self, name)) for name in SEALED_PARTS}

    def without_labels(self) -> "EpochReport":
        """The report without its sealed parts."""
        return self.with_labels(dict.fromkeys(SEALED_PARTS, ""))

    def with_labels(self, parts: Mapping[str, str]) -> "EpochReport":
        """The report with the sealed parts that :attr:`from_labels` gave."""
        changed: dict[str, Any] = dict(parts)
        return replace(self, **changed)

    def to_json(self) -> str:
        """Text of the report."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "EpochReport":
        """The report of :meth:`to_json`."""
        return cls(**json.loads(text))


@dataclass(frozen=True, kw_only=True)
class About:
    """Where and how a trial ran, for its rows.

    Attributes:
        host: name of the machine.
        device: ``cpu`` or the GPU's name.
        batch_size: images per domain and step, after cutting.
        notes: what the recipe cut to fit the pair.
        versions: JSON of the versions of what the numbers depend on.
    """

    host: str
    device: str
    batch_size: int
    notes: tuple[str, ...]
    versions: str = ""
