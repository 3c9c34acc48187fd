"""Weights and embeddings of the picks, copied from the trials' storage to the results.

A trial that ends leaves those of at most three epochs in the storage. They stay there until the run
ends; what the picks of the boards chose is then in ``picks/``, and of a search that is complete the
rest is deleted.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.records import TrialRecord
from harness.selection.protocols import Pick
from harness.training.checkpoint import drop_trial, trial_folder
from harness.whole_files import replacing

ENDINGS = (".safetensors", ".a.npy", ".b.npy")


def keep_picks(
    folder: Path,
    storage: Path,
    chosen: Iterable[Pick],
    ended: Iterable[TrialRecord],
    *,
    is_over: bool,
) -> None:
    """Brings ``picks/`` in line with the picks.

    Args:
        folder: ``<out>/<dataset>/picks``.
        storage: where the trials left their files.
        chosen: the picks of the ended trials.
        ended: trials of whole studies.
        is_over: whether the search is complete; then what no pick chose is deleted.
    """
    stems = {f"{pick.trial.config.trial_id}@{pick.epoch.epoch}" for pick in chosen}
    ended = list(ended)
    trial_ids = {record.config.trial_id for record in ended}
    for stem in sorted(stems):
        source = trial_folder(storage, stem.rpartition("@")[0])
        for ending in ENDINGS:
            path, place = source / f"{stem}{ending}", folder / f"{stem}{ending}"
            if path.exists() and not place.exists():
                # Copied and renamed, because the storage may lie on another file system.
                with replacing(place) as temporary:
                    shutil.copyfile(path, temporary)
    if not is_over:
        return
    for path in folder.glob("*@*"):
        stem = next((path.name.removesuffix(e) for e in ENDINGS if path.name.endswith(e)), "")
        if stem.rpartition("@")[0] in trial_ids and stem not in stems:
            path.unlink()
    for record in ended:
        drop_trial(trial_folder(storage, record.config.trial_id))
