"""What comes back of a trial, as it grows from report to report.

A direction is ``ab`` (query in the first domain of the pair, gallery in the second) or ``ba``.
"""

import json
import math
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.config import TrialConfig

PROJECT = Path(__file__).resolve().parents[1]

Status = Literal["running", "finished", "pruned", "failed"]

DIRECTIONS = ("ab", "ba")

SEALED_PARTS = ("sealed", "sealed_pooled")
"""Fields of an epoch's record that labels went into."""


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
        sealed: the metrics as the vault gave them, until the driver opens them; then "".
        sealed_pooled: the pooled metrics, likewise.
    """

    epoch: int
    objective: float
    losses: Mapping[str, float] = field(default_factory=dict)
    validators: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pooled_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    sealed: str = ""
    sealed_pooled: str = ""

    @property
    def from_labels(self) -> dict[str, str]:
        """The sealed parts, as plain text."""
        return {name: str(getattr(self, name)) for name in SEALED_PARTS}

    def with_labels(self, parts: Mapping[str, str]) -> "EpochRecord":
        """The record with other sealed parts, such as :attr:`from_labels` gave."""
        changed: dict[str, Any] = dict(parts)
        return replace(self, **changed)

    def without_labels(self) -> "EpochRecord":
        """The record without its sealed parts."""
        return self.with_labels(dict.fromkeys(SEALED_PARTS, ""))

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
        git_commit: of this project when the trial ended, or "".
        command_line: of the run in which it ended.
        error_type: of a failed trial, likewise the next three.
        error_last_line: message.
        error_frame: ``file:line function`` of the user's code nearest to the error.
        error_trace: whole traceback.
        queries: of a finished confirmation the sealed scores of single queries, by epoch; they go
            into a file of their own.
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
    git_commit: str = ""
    command_line: str = ""
    error_type: str = ""
    error_last_line: str = ""
    error_frame: str = ""
    error_trace: str = ""
    queries: dict[int, str] = field(default_factory=dict)

    def fail(self, error: BaseException) -> None:
        """Ends the trial with an error that was caught where it happened."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        lines = str(error).strip().splitlines()
        self.status = "failed"
        self.error_type = type(error).__name__
        self.error_last_line = lines[-1] if lines else ""
        self.error_frame = (
            f"{_short(ours[-1].filename)}:{ours[-1].lineno} {ours[-1].name}" if ours else ""
        )
        self.error_trace = "".join(traceback.format_exception(error))

    def take_error(self, failed: "TrialRecord") -> None:
        """Ends the trial with the error of another record of it."""
        self.status = "failed"
        self.error_type, self.error_last_line = failed.error_type, failed.error_last_line
        self.error_frame, self.error_trace = failed.error_frame, failed.error_trace

    def conclude(self) -> None:
        """Gives a trial that ran to its end, or was stopped, its status.

        Failed where an objective is not finite, pruned where epochs are missing.
        """
        if self.status != "running":
            return
        broken = self.first_non_finite
        if broken is not None:
            self.status, self.error_type = "failed", "NonFiniteObjective"
            self.error_last_line = self.error_trace = (
                f"{self.config.study.objective} is {broken.objective} after epoch {broken.epoch}"
            )
            return
        is_done = self.last is not None and self.last.epoch >= self.config.study.epochs
        self.status = "finished" if is_done else "pruned"

    @property
    def first_non_finite(self) -> EpochRecord | None:
        """The first trained epoch whose objective is NaN or infinite; None without one.

        The untrained state does not count: ``cluster_stability`` has no value without an epoch
        before. Every score has one after each trained epoch, unless the trial or the data is
        beyond mending.
        """
        return next((e for e in self.trained if not math.isfinite(e.objective)), None)

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


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else path.name


def scored_directions(scenario: str) -> tuple[str, ...]:
    """Both directions in ``close``; query to gallery alone elsewhere."""
    return DIRECTIONS if scenario == "close" else ("ab",)


def ends(pair: tuple[str, str], direction: str) -> tuple[str, str]:
    """Query and gallery domain of a direction."""
    return pair if direction == "ab" else (pair[1], pair[0])
