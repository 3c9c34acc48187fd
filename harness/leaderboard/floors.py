"""Rows of methods that train nothing: floors, under names of their own and never ranked."""

from collections.abc import Mapping, Sequence
from typing import Any

PREFIX = "floor"
POOLED = "floor:pooled"
FREE_PROTOCOLS = ("last", "label_free")
"""Protocols whose choice knew no label."""


def floor_protocol(method: str) -> str:
    """``floor:centred`` for the method ``floor_centred``; ``floor:pooled`` for ``floor`` itself."""
    if method == PREFIX:
        return POOLED
    return f"{PREFIX}:{method.removeprefix(PREFIX + '_')}"


def as_floors(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The row of a method that trains nothing: one, with the settings of its first pick.

    There is no epoch to choose, and what other protocols would choose among its settings says
    nothing of a training.

    Args:
        rows: of one study in one direction, a row per pick, the objective's own first.
    """
    return [
        {
            **row,
            "kind": "floor",
            "protocol": floor_protocol(row["method"]),
            "oracle_gap": None,
            "epoch": None,
        }
        for row in rows[:1]
    ]


def one_row_each(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a board of schema 1 without the further floors of methods that train nothing.

    Those had a row per protocol, such as ``floor:csls:oracle``, and once more the pooled features
    that every study has.
    """
    # Of the floors only the rows of such methods count the seeds of a training.
    idle = {row["study_id"] for row in rows if row["kind"] == "floor" and row["n_seeds"]}
    first: dict[str, dict[str, Any]] = {}
    kept = []
    for row in rows:
        if row["study_id"] not in idle:
            kept.append(dict(row))
        elif row["protocol"] == floor_protocol(row["method"]) and row["study_id"] not in first:
            first[row["study_id"]] = {**row, "epoch": None}
            kept.append(first[row["study_id"]])
    return kept


def verdict(rows: Sequence[Mapping[str, Any]], metric: str) -> str | None:
    """A sentence where no training beats the untrained features on a board; else None.

    Set against each other are the best row that a choice without labels made and the best floor.

    Args:
        rows: of one directed pair, all answers to one question.
        metric: the figure compared.
    """
    trained = [
        row
        for row in rows
        if row["kind"] == "trained" and row["protocol"].partition(":")[0] in FREE_PROTOCOLS
    ]
    floors = [row for row in rows if row["kind"] == "floor"]
    values = [
        [row[metric] for row in group if row.get(metric) is not None] for group in (trained, floors)
    ]
    if not all(values) or max(values[0]) > max(values[1]):
        return None
    query, gallery = trained[0]["query"], trained[0]["gallery"]
    return (
        f"No training beats the untrained features on {query} → {gallery}: {metric} "
        f"{max(values[0]):.1f} against {max(values[1]):.1f}."
    )
