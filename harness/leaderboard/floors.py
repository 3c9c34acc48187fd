"""Rows of methods that train nothing: floors, under names of their own and never ranked."""

from collections.abc import Mapping, Sequence
from typing import Any

PREFIX = "floor"
POOLED = "floor:pooled"


def floor_protocol(method: str) -> str:
    """``floor:centred`` for the method ``floor_centred``; ``floor:pooled`` for ``floor`` itself."""
    if method == PREFIX:
        return POOLED
    return f"{PREFIX}:{method.removeprefix(PREFIX + '_')}"


def as_floors(rows: Sequence[Mapping[str, Any]], *, searched: bool) -> list[dict[str, Any]]:
    """The picks of a method that trains nothing, as floor rows.

    ``floor:csls`` has the settings that the label-free objective chose, or the only ones there are;
    ``floor:csls:paper``, ``:transfer`` and ``:oracle`` say as the protocols of these names do who
    else chose. There is one epoch to choose from, so ``label_free`` would repeat ``last``.

    Args:
        rows: of one study, a row per pick.
        searched: whether the study searches any setting.
    """
    floors: dict[str, dict[str, Any]] = {}
    for row in rows:
        chosen_by = row["protocol"].partition(":")[0]
        name = floor_protocol(row["method"])
        if searched and chosen_by not in ("last", "label_free"):
            name = f"{name}:{row['protocol']}"
        floors.setdefault(name, {**row, "kind": "floor", "protocol": name, "oracle_gap": None})
    return list(floors.values())
