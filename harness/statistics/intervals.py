"""``intervals.parquet``: how much a confirmed row is better than those ranked below it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.leaderboard.board import question
from harness.leaderboard.schema import with_pandas_types
from harness.leaderboard.store import table_of, write_table
from harness.statistics.comparison import compare
from harness.statistics.query_files import queries_path

FILE = "intervals.parquet"
CONFIDENCE = 0.95

SIDES = ("method", "study_id", "trial_id", "n_seeds")
"""What is named of either row, under ``left.`` and ``right.``."""

SCHEMA = with_pandas_types(
    [
        *((name, pa.string()) for name in ("query", "gallery", "protocol", "scenario", "metric")),
        *(
            (f"{side}.{name}", pa.int64() if name == "n_seeds" else pa.string())
            for side in ("left", "right")
            for name in SIDES
        ),
        *((name, pa.float64()) for name in ("difference", "low", "high", "confidence")),
    ]
)


def intervals(
    root: Path, board: Iterable[Mapping[str, Any]], study_ids: Iterable[str], metric: str
) -> list[dict[str, Any]]:
    """Every two confirmed rows of a board that are ranked against each other.

    Args:
        root: results folder of the data set.
        board: rows of one directed pair.
        study_ids: whose rows are compared.
        metric: as in :func:`harness.statistics.comparison.compare`.

    Returns:
        Rows of the file; the left row is the better one by the figure of the board.
    """
    wanted = set(study_ids)
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in board:
        is_known = row["study_id"] in wanted and queries_path(root, row["trial_id"] or "").exists()
        if row["kind"] == "trained" and row["confirmed"] and is_known:
            groups.setdefault((row["protocol"], *question(row)), []).append(row)
    found = []
    for group in groups.values():
        group.sort(key=lambda row: -row[metric])
        for left, right in combinations(group, 2):
            result = compare(root, left, right, metric, confidence=CONFIDENCE)
            named = {
                f"{side}.{name}": row[name]
                for side, row in (("left", left), ("right", right))
                for name in SIDES
            }
            shared = {name: left[name] for name in ("query", "gallery", "protocol", "scenario")}
            found.append(
                {
                    **shared,
                    "metric": metric,
                    **named,
                    "difference": result.difference,
                    "low": result.low,
                    "high": result.high,
                    "confidence": CONFIDENCE,
                }
            )
    return found


def write_intervals(
    root: Path, study_ids: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Writes the file; rows in which a study that is not named takes part stay."""
    path, anew = root / FILE, set(study_ids)
    before = pq.ParquetFile(path).read().to_pylist() if path.exists() else []
    kept = [row for row in before if not {row["left.study_id"], row["right.study_id"]} <= anew]
    write_table(table_of([*kept, *rows], SCHEMA), path)
