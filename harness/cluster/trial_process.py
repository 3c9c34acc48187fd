"""The process that trains: a Tune trainable that is reused from trial to trial."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune

from harness.records import TrialRecord
from harness.training.checkpoint import TrialFiles, trial_folder
from harness.training.pair_training import NonFiniteLossError
from harness.training.run_trial import run_trial
from harness.training.scored_trial import TrialData

FINAL_ERRORS = (NonFiniteLossError.__name__, "NonFiniteObjective")
"""What would come again: such a trial is not started anew."""


@dataclass(frozen=True)
class RunInfo:
    """What the trials of one run share beside the data.

    Attributes:
        storage: folder of checkpoints, reachable from every node.
        token: unique to the run; see :mod:`harness.training.checkpoint`.
    """

    storage: Path
    token: str


class TrialFailedError(Exception):
    """Carries the record of a failed trial from its process to the driver."""

    def __init__(self, record: TrialRecord) -> None:
        super().__init__(record)
        self.record = record


def train_under_tune(config: dict[str, Any], data: TrialData, run: RunInfo) -> None:
    """Trains the trial ``config["trial"]``; every report brings the driver the new epochs.

    Raises:
        TrialFailedError: the training raised; Tune starts the trial again.
    """
    trial = config["trial"]
    sent: set[int] = set()

    def send(record: TrialRecord) -> None:
        new = {number: epoch for number, epoch in record.epochs.items() if number not in sent}
        sent.update(new)
        report: dict[str, Any] = {"record": replace(record, epochs=new)}
        if record.status != "running":
            report["done"] = True
        tune.report(report)

    files = TrialFiles(trial_folder(run.storage, trial.trial_id), run.token)
    record = run_trial(trial, data, send, files)
    if record.status == "failed":
        if record.error_type not in FINAL_ERRORS:
            raise TrialFailedError(record)
        if record.error_type != "NonFiniteObjective":
            send(record)
