"""Weights and embeddings of the epochs that a pick may choose.

A trial keeps at most three: the last epoch, the best by the search's objective, the best by the
labels of the vault. The third serves the ``paper`` and ``oracle`` rows alone.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.evaluation.oracle import mean_over_directions

BY_LABELS = "oracle"
"""What is kept for the sake of labels; a checkpoint holds it in a file of its own."""


@dataclass(frozen=True)
class Snapshot:
    """Scored encoder and embeddings of one epoch.

    Attributes:
        epoch: completed epochs.
        weights: state dict of the scored encoder on the CPU.
        z_a_ND: embeddings of the pair's first domain, float32, in the order of its index.
        z_b_ND: of the second.
    """

    epoch: int
    weights: dict[str, Any]
    z_a_ND: NDArray[np.float32]
    z_b_ND: NDArray[np.float32]


class SnapshotKeeper:
    """Decides which epochs of a trial stay.

    Args:
        first_metric: the P@k whose mean over the directions the label rows choose by.
    """

    def __init__(self, first_metric: str) -> None:
        self.first_metric = first_metric
        self.kept: dict[str, Snapshot] = {}
        self.best: dict[str, float] = {}

    def offer(
        self,
        epoch: int,
        objective: float,
        sealed: str,
        take: Callable[[], Snapshot],
    ) -> None:
        """Offers a trained epoch; ``take`` is called at most once, and only if it is kept.

        Of equal values the earlier epoch stays, as in the picks of the leaderboard.

        Args:
            epoch: completed epochs.
            objective: what the search maximises.
            sealed: metrics from the vault.
            take: makes the snapshot.
        """
        roles = ["last"]
        values = {
            "objective": objective,
            BY_LABELS: mean_over_directions(sealed, self.first_metric),
        }
        for role, value in values.items():
            if value == value and value > self.best.get(role, -np.inf):
                self.best[role] = value
                roles.append(role)
        snapshot = take()
        for role in roles:
            self.kept[role] = snapshot

    def by_epoch(self) -> dict[int, Snapshot]:
        """The kept snapshots, each once."""
        return {snapshot.epoch: snapshot for snapshot in self.kept.values()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint, plain values and tensors: what was kept without a look at labels."""
        return self._state([role for role in self.kept if role != BY_LABELS], set())

    def sealed_state_dict(self) -> dict[str, Any]:
        """The rest of :meth:`state_dict`: which epochs labels chose, by which figures."""
        free = {shot.epoch for role, shot in self.kept.items() if role != BY_LABELS}
        return self._state([role for role in self.kept if role == BY_LABELS], free)

    def load_state_dict(self, state: dict[str, Any], sealed: dict[str, Any]) -> None:
        """Takes up what :meth:`state_dict` and :meth:`sealed_state_dict` gave."""
        self.best = {**state["best"], **sealed["best"]}
        snapshots = {
            epoch: Snapshot(epoch, weights, z_a_ND.numpy(), z_b_ND.numpy())
            for part in (state, sealed)
            for epoch, (weights, z_a_ND, z_b_ND) in part["snapshots"].items()
        }
        epochs = {**state["epochs"], **sealed["epochs"]}
        self.kept = {role: snapshots[epoch] for role, epoch in epochs.items()}

    def _state(self, roles: Sequence[str], without: Set[int]) -> dict[str, Any]:
        kept = {role: self.kept[role] for role in roles}
        return {
            "best": {role: self.best[role] for role in roles if role in self.best},
            "epochs": {role: snapshot.epoch for role, snapshot in kept.items()},
            "snapshots": {
                shot.epoch: (
                    shot.weights,
                    torch.from_numpy(shot.z_a_ND),
                    torch.from_numpy(shot.z_b_ND),
                )
                for shot in kept.values()
                if shot.epoch not in without
            },
        }
