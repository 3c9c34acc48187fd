"""What a trial tells the driver after an epoch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


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
        seconds: wall time of the epoch.
    """

    epoch: int
    objective: float
    losses: Mapping[str, float] = field(default_factory=dict)
    validators: Mapping[str, float] = field(default_factory=dict)
    sealed: str
    sealed_pooled: str = ""
    seconds: float

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
