"""Checkpoints of running trials, and the weights and embeddings that ended trials hand over.

One folder per trial under ``--storage``. Every start of a run writes under a token of its own, so
that an orphan worker of a killed driver can never write into the next run's files.

A checkpoint is two files: ``<epoch>.<run token>.pt``, which no label has any part in, and beside it
``.sealed``, the figures of the vault so far and what they chose.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.evaluation.snapshots import Snapshot
from harness.whole_files import replacing
from losses.contract import Clustering, MergedPrototypes
from models.encoder import EncoderSettings, save_encoder


@dataclass(frozen=True)
class TrialFiles:
    """Where a trial leaves its files.

    Attributes:
        folder: for weights and embeddings of the epochs that a pick may choose.
        run_token: names the checkpoints of this run; "" writes none.
    """

    folder: Path
    run_token: str = ""


torch.serialization.add_safe_globals([Clustering, MergedPrototypes])


def trial_folder(storage: Path, trial_id: str) -> Path:
    """Folder of a trial's checkpoints and snapshots."""
    return storage / trial_id


def save_checkpoint(state: dict[str, Any], folder: Path, run_token: str, epoch: int) -> None:
    """Writes ``<epoch>.<run token>.pt`` by rename and drops this run's earlier one.

    What ``state`` holds under ``sealed`` goes into the file beside it, which is there first: a
    checkpoint without it counts as none.
    """
    path = folder / f"{epoch:06d}.{run_token}.pt"
    free = {name: value for name, value in state.items() if name != "sealed"}
    for part, place in ((state.get("sealed", {}), _sealed(path)), (free, path)):
        with replacing(place) as temporary:
            torch.save(part, temporary)
    for old in folder.glob(f"*.{run_token}.pt"):
        if int(old.name.partition(".")[0]) < epoch:
            _drop(old)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The furthest checkpoint of a trial, whichever run wrote it; None without one."""
    for path in sorted(folder.glob("*.pt"), reverse=True):
        if not _sealed(path).exists():
            continue
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state["sealed"] = torch.load(_sealed(path), map_location="cpu", weights_only=True)
        return state
    return None


def drop_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a trial; its snapshots stay."""
    for path in folder.glob("*.pt"):
        _drop(path)


def _sealed(path: Path) -> Path:
    return path.with_suffix(".sealed")


def _drop(path: Path) -> None:
    path.unlink(missing_ok=True)
    _sealed(path).unlink(missing_ok=True)


def drop_trial(folder: Path) -> None:
    """Removes everything that is stored of a trial."""
    shutil.rmtree(folder, ignore_errors=True)


def save_snapshots(
    snapshots: dict[str, Snapshot],
    folder: Path,
    settings: EncoderSettings,
    notes: dict[str, str],
) -> None:
    """Writes weights (``.safetensors``) and embeddings (``.a.npy``, ``.b.npy``).

    Args:
        snapshots: by the name of their files, without ending.
        folder: where they go.
        settings: of the encoder, so that :func:`models.encoder.load_encoder` reads the weights.
        notes: further texts that stand in the weight files.
    """
    for name, snapshot in snapshots.items():
        save_encoder(folder / f"{name}.safetensors", snapshot.weights, settings, notes)
        for side, z_ND in (("a", snapshot.z_a_ND), ("b", snapshot.z_b_ND)):
            with (
                replacing(folder / f"{name}.{side}.npy") as temporary,
                temporary.open("wb") as file,
            ):
                np.save(file, z_ND)
