"""What the driver knows of a trial, as it grows from the trial's reports.

A direction is ``ab`` (query in the first domain of the pair, gallery in the second) or ``ba``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from harness.config import TrialConfig

Status = Literal["running", "finished", "pruned", "failed"]

DIRECTIONS = ("ab", "ba")


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One report of a trial: the state after ``epoch`` completed epochs (0 = untrained).

    Attributes:
        epoch: completed epochs.
        objective: what the search maximises (a score whose direction is ``min`` is negated).
        losses: means over the epoch.
        validators: label-free scores.
        metrics: per direction, of the scored encoder; opened from the vault by the driver alone.
        pooled_metrics: per direction, of the pooled features; at epoch 0 only.
        seconds: wall time of the epoch.
    """

    epoch: int
    objective: float
    losses: Mapping[str, float] = field(default_factory=dict)
    validators: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pooled_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> str:
        """Text of the record."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "EpochRecord":
        """The record of :meth:`to_json`."""
        return cls(**json.loads(text))


@dataclass(kw_only=True)
class TrialRecord:
    """A trial: its configuration, its reports so far and how it ended.

    Attributes:
        config: what it was asked to do.
        status: ``running`` until it ends.
        epochs: reports by completed epochs.
        attempts: how often it was started.
        host: where it ran last.
        device: what it ran on.
        batch_size: images per domain and step after cutting.
        notes: what was cut to fit the pair.
        versions: JSON of the versions of what the numbers depend on.
        error_type: of a failed trial, likewise the next three.
        error_last_line: message.
        error_frame: ``file:line function`` of the user's code nearest to the error.
        error_trace: whole traceback.
    """

    config: TrialConfig
    status: Status = "running"
    epochs: dict[int, EpochRecord] = field(default_factory=dict)
    attempts: int = 1
    host: str = ""
    device: str = ""
    batch_size: int = 0
    notes: tuple[str, ...] = ()
    versions: str = ""
    error_type: str = ""
    error_last_line: str = ""
    error_frame: str = ""
    error_trace: str = ""

    @property
    def trained(self) -> list[EpochRecord]:
        """Reports of trained epochs, in order."""
        return [self.epochs[epoch] for epoch in sorted(self.epochs) if epoch > 0]

    @property
    def last(self) -> EpochRecord | None:
        """The report of the last trained epoch."""
        epoch = max(self.epochs, default=0)
        return self.epochs[epoch] if epoch > 0 else None

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions this trial is scored in."""
        return scored_directions(self.config.study.scenario)

    @property
    def seconds(self) -> float:
        """Wall time of all reports."""
        return sum(record.seconds for record in self.epochs.values())


def scored_directions(scenario: str) -> tuple[str, ...]:
    """Both directions in ``close``; query to gallery alone elsewhere."""
    return DIRECTIONS if scenario == "close" else ("ab",)


def ends(pair: tuple[str, str], direction: str) -> tuple[str, str]:
    """Query and gallery domain of a direction."""
    return pair if direction == "ab" else (pair[1], pair[0])
