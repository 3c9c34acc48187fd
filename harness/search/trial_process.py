"""The process that trains: a Tune trainable that is reused from trial to trial."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from harness.config import TrialConfig, from_json, to_json
from harness.datasets.registry import ensure_generated
from harness.search.failure import Failure
from harness.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    save_snapshots,
    trial_folder,
)
from harness.training.pair_training import NonFiniteLossError
from harness.training.scored_trial import ScoredTrial, TrialData


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
    """Carries a failure from the trial's process to the driver."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class TrialProcess(tune.Trainable):
    """Trains one trial after another in one process; a step is a report.

    A report to Tune holds the objective and, as text, what the driver alone reads.
    """

    _trial: ScoredTrial | None = None

    def setup(self, config: dict[str, Any], data: TrialData, run: RunInfo) -> None:
        """Called once per process."""
        self._data = data
        self._run = run
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Called for every further trial of the process."""
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One report. The trial is built here, so that its errors are the trial's."""
        try:
            return self._step()
        except NonFiniteLossError as error:
            return {"done": True, "failure": json.dumps(asdict(Failure.of(error)))}
        except Exception as error:
            self._trial = None
            raise TrialFailedError(Failure.of(error)) from None

    def _take(self, config: dict[str, Any]) -> None:
        self._config = from_json(TrialConfig, config["trial"])
        self._trial = None

    def _step(self) -> dict[str, Any]:
        folder = trial_folder(self._run.storage, self._config.trial_id)
        resumed = False
        if self._trial is None:
            self._trial, resumed = self._build(folder)
        trial = self._trial
        if not (resumed and trial.done):
            trial.next_report()
        if trial.done:
            snapshots = {
                f"{self._config.trial_id}@{epoch}": held
                for epoch, held in trial.keeper.by_epoch().items()
            }
            save_snapshots(snapshots, folder, {"config_json": to_json(self._config)})
        else:
            save_checkpoint(trial.state_dict(), folder, self._run.token, trial.training.epoch)
        sent = trial.history if resumed else trial.history[-1:]
        queries = trial.sealed_queries() if trial.done and self._config.confirms else {}
        return {
            "done": trial.done,
            "objective": trial.history[-1].objective,
            "reports": json.dumps([report.to_json() for report in sent]),
            "about": json.dumps(asdict(trial.about())),
            "queries": json.dumps(queries),
        }

    def _build(self, folder: Path) -> tuple[ScoredTrial, bool]:
        ensure_generated(self._data.index, self._data.cache_dir)
        gpu = self._config.study.device_type == "cuda"
        trial = ScoredTrial(self._config, self._data, torch.device("cuda" if gpu else "cpu"))
        state = load_checkpoint(folder)
        if state is not None:
            trial.load_state_dict(state)
        return trial, state is not None
