"""Weights and embeddings of the epochs that a pick may choose.

A trial keeps three at most: the last epoch, the best by the search's objective, the best by the
labels of the vault. The last one serves the ``paper`` and ``oracle`` rows alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.evaluation.oracle import mean_over_directions


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
        self.held: dict[str, Snapshot] = {}
        self.best: dict[str, float] = {}

    def offer(
        self, epoch: int, objective: float, sealed: str, take: Callable[[], Snapshot]
    ) -> None:
        """Offers a trained epoch; ``take`` is called at most once, and only if it is kept.

        Of equal values the earlier epoch stays, as in the picks of the leaderboard.
        """
        roles = ["last"]
        by_labels = mean_over_directions(sealed, self.first_metric)
        for role, value in (("objective", objective), ("oracle", by_labels)):
            if value == value and value > self.best.get(role, -np.inf):
                self.best[role] = value
                roles.append(role)
        snapshot = take()
        for role in roles:
            self.held[role] = snapshot

    def by_epoch(self) -> dict[int, Snapshot]:
        """The kept snapshots, each once."""
        return {snapshot.epoch: snapshot for snapshot in self.held.values()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: plain values and tensors."""
        return {
            "best": self.best,
            "epochs": {role: snapshot.epoch for role, snapshot in self.held.items()},
            "snapshots": {
                epoch: (held.weights, torch.from_numpy(held.z_a_ND), torch.from_numpy(held.z_b_ND))
                for epoch, held in self.by_epoch().items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what :meth:`state_dict` gave."""
        self.best = dict(state["best"])
        held = {
            epoch: Snapshot(epoch, weights, z_a_ND.numpy(), z_b_ND.numpy())
            for epoch, (weights, z_a_ND, z_b_ND) in state["snapshots"].items()
        }
        self.held = {role: held[epoch] for role, epoch in state["epochs"].items()}
