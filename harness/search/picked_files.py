"""Weights and embeddings of the picks: moved from the trials' storage to the results.

A trial that ends hands over at most three epochs. Those that a pick chooses are moved to
``picks/``; files of epochs that no pick can choose any more are deleted. The last epoch of a common
start trial waits in the storage until the search is over: a trial of another pair may still make it
this pair's ``transfer`` pick.
"""

import shutil
from collections.abc import Sequence, Set
from pathlib import Path

from harness.leaderboard.protocols import Pick
from harness.leaderboard.store import replacing
from harness.records import TrialRecord
from harness.training.checkpoint import drop_trial, trial_folder

ENDINGS = (".safetensors", ".a.npy", ".b.npy")


class PickedFiles:
    """Keeps ``picks/`` equal to the picks of every study and pair.

    Args:
        folder: ``<out>/<dataset>/picks``.
        storage: where workers put the snapshots of ended trials.
    """

    def __init__(self, folder: Path, storage: Path) -> None:
        self._folder = folder
        self._storage = storage
        self._held: dict[str, set[str]] = {}
        for path in folder.glob("*@*"):
            self._held.setdefault(path.name.rpartition("@")[0], set()).add(path.name)

    def update(
        self,
        trials: Sequence[TrialRecord],
        chosen: Sequence[Pick],
        *,
        undecided: Set[int] = frozenset(),
        is_over: bool = False,
    ) -> None:
        """Takes over the files of new picks and drops those of old ones.

        Args:
            trials: ended trials of one study on one pair: those that are picked now, were picked
                before, or have just ended.
            chosen: the picks among them, ``transfer`` included.
            undecided: numbers of trials that keep all they have handed over for now.
            is_over: nothing else is to end: what no pick chose is deleted.
        """
        wanted: dict[str, set[int]] = {}
        for pick in chosen:
            wanted.setdefault(pick.trial.config.trial_id, set()).add(pick.epoch.epoch)
        for trial in trials:
            trial_id = trial.config.trial_id
            epochs = wanted.get(trial_id, set())
            kept = set() if is_over else _may_transfer(trial)
            if trial.config.number in undecided:
                kept = set(trial.epochs)
            self._return(trial_id, epochs, kept)
            self._take_over(trial_id, epochs, kept - epochs)

    def _return(self, trial_id: str, wanted: set[int], kept: set[int]) -> None:
        """Takes files out of ``picks/``: back to the storage if they may be chosen again."""
        held = self._held.get(trial_id, set())
        for name in sorted(held):
            epoch = int(name.removeprefix(f"{trial_id}@").partition(".")[0])
            if epoch in wanted:
                continue
            if epoch in kept:
                back = trial_folder(self._storage, trial_id)
                back.mkdir(parents=True, exist_ok=True)
                shutil.move(self._folder / name, back / name)
            else:
                (self._folder / name).unlink(missing_ok=True)
            held.discard(name)

    def _take_over(self, trial_id: str, wanted: set[int], kept: set[int]) -> None:
        """Moves wanted files into ``picks/`` and deletes what else is stored but ``kept``."""
        source = trial_folder(self._storage, trial_id)
        if not source.exists():
            return
        for epoch in sorted(wanted):
            self._folder.mkdir(parents=True, exist_ok=True)
            for ending in ENDINGS:
                held = source / f"{trial_id}@{epoch}{ending}"
                if held.exists():
                    # Copied and renamed, because the storage may lie on another file system.
                    with replacing(self._folder / held.name) as temporary:
                        shutil.copyfile(held, temporary)
                    held.unlink()
                    self._held.setdefault(trial_id, set()).add(held.name)
        stays = {f"{trial_id}@{epoch}{ending}" for epoch in kept for ending in ENDINGS}
        if not any((source / name).exists() for name in stays):
            drop_trial(source)
            return
        for path in source.iterdir():
            if path.name not in stays:
                path.unlink()


def _may_transfer(trial: TrialRecord) -> set[int]:
    """The epoch that a trial of another pair can still choose, if any."""
    is_start = trial.config.origin == "start" and trial.status == "finished"
    return {trial.last.epoch} if is_start and trial.last is not None else set()
