"""What the nodes of a cluster see of the folders that the driver names.

Imports no torch: a probe runs in a fresh process of every node and should take no time.
"""

import socket
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.errors import UsageError

ANSWER_SECONDS = 120.0

Storage = Literal["shared", "apart", "unwritable"]


@dataclass(frozen=True)
class NodeView:
    """What one node sees.

    Attributes:
        host: name of the machine.
        storage: ``shared`` where the storage folder is the driver's own, ``apart`` where it is
            another folder of that name, ``unwritable`` where it cannot be made.
        has_images: whether the data root is there.
    """

    host: str
    storage: Storage
    has_images: bool


def look(storage: Path, token: str, root: Path) -> NodeView:
    """Runs on a node.

    Args:
        storage: folder of checkpoints.
        token: name of a file that the driver has written there.
        root: the data root.
    """
    return NodeView(socket.gethostname(), _storage(storage, token), root.is_dir())


def _storage(storage: Path, token: str) -> Storage:
    if (storage / token).exists():
        return "shared"
    try:
        storage.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=storage):
            return "apart"
    except OSError:
        return "unwritable"


def probe_nodes(storage: Path, root: Path) -> list[NodeView | None]:
    """Asks every node that is alive; None for one that does not answer.

    Args:
        storage: folder of checkpoints, absolute.
        root: the data root, absolute.
    """
    token = f".probe-{uuid.uuid4().hex}"
    storage.mkdir(parents=True, exist_ok=True)
    (storage / token).touch()
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(look)
        alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        asked = [
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            .remote(storage, token, root)
            for node in alive
        ]  # fmt: skip
        ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
        return [_answer(reference) for reference in asked]
    finally:
        (storage / token).unlink(missing_ok=True)


def _answer(reference: Any) -> NodeView | None:
    try:
        view: NodeView = ray.get(reference, timeout=0.1)
    except (ray.exceptions.RayError, TimeoutError):
        return None
    return view


def node_notes(views: Sequence[NodeView | None], storage: Path, root: Path) -> list[str]:
    """One sentence for each thing that will not work on some node.

    Raises:
        UsageError: a node cannot write the storage folder, so that every trial on it would fail.
    """
    seen = [view for view in views if view is not None]
    unwritable = _hosts([view for view in seen if view.storage == "unwritable"])
    if unwritable:
        raise UsageError(
            f"The folder of checkpoints {storage} cannot be written on {unwritable}: give "
            "--storage a folder that every machine of the cluster shares."
        )
    notes = []
    apart = _hosts([view for view in seen if view.storage == "apart"])
    if apart:
        notes.append(
            f"Checkpoints in {storage} on {apart} do not reach the other machines, so trials lost "
            "there restart at epoch 0 and picks trained there leave no weights under picks/; give "
            "--storage a folder that every machine of the cluster shares."
        )
    without = _hosts([view for view in seen if not view.has_images])
    if without:
        notes.append(
            f"The data root {root} is missing on {without}: trials that need to decode images "
            "there fail until it is mounted."
        )
    silent = len(views) - len(seen)
    if silent:
        notes.append(
            f"{silent} of {len(views)} nodes did not say within {ANSWER_SECONDS:.0f} seconds "
            "whether they see the storage folder and the data root."
        )
    return notes


def _hosts(views: Sequence[NodeView]) -> str:
    return ", ".join(sorted({view.host for view in views}))
