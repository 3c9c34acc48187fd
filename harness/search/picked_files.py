"""Weights and embeddings of the picks: moved from the trials' storage to the results.

A trial that ends hands over at most three epochs. Those that a pick chooses are copied to
``picks/``; files of epochs that no pick can choose any more are deleted.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.leaderboard.protocols import picks
from harness.leaderboard.records import TrialRecord
from harness.training.checkpoint import drop_trial, trial_folder

ENDINGS = (".safetensors", ".a.npy", ".b.npy")


class PickedFiles:
    """Keeps ``picks/`` equal to the picks of every study and pair.

    Args:
        folder: ``<out>/<dataset>/picks``.
        storage: where workers put the snapshots of ended trials.
        first_metric: the P@k by which label rows choose.
    """

    def __init__(self, folder: Path, storage: Path, first_metric: str) -> None:
        self._folder = folder
        self._storage = storage
        self._first_metric = first_metric

    def update(self, trials: Sequence[TrialRecord], ended: TrialRecord) -> None:
        """After ``ended`` ended: takes over new picks of its study and pair, drops old ones."""
        chosen: dict[str, set[int]] = {}
        for pick in picks(trials, self._first_metric):
            chosen.setdefault(pick.trial.config.trial_id, set()).add(pick.epoch.epoch)
        for trial in trials:
            trial_id = trial.config.trial_id
            wanted = {self._stem(trial_id, epoch) for epoch in chosen.get(trial_id, ())}
            for path in self._folder.glob(f"{trial_id}@*"):
                if not any(path.name.startswith(f"{stem}.") for stem in wanted):
                    path.unlink()
        self._take_over(ended.config.trial_id, chosen.get(ended.config.trial_id, set()))

    def _take_over(self, trial_id: str, epochs: set[int]) -> None:
        source = trial_folder(self._storage, trial_id)
        for epoch in sorted(epochs):
            self._folder.mkdir(parents=True, exist_ok=True)
            for ending in ENDINGS:
                held = source / f"{self._stem(trial_id, epoch)}{ending}"
                if held.exists():
                    shutil.move(held, self._folder / held.name)
        drop_trial(source)

    @staticmethod
    def _stem(trial_id: str, epoch: int) -> str:
        return f"{trial_id}@{epoch}"
