"""Rows of confirmed picks: mean and spread over trainings with fresh seeds.

A pick is the best of many, and its own figures flatter it. A confirmation trains its settings anew
with seeds that no choice has seen; the epoch is chosen anew in each, by the row's own protocol.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.records import EpochRecord, TrialRecord
from harness.selection.protocols import ORACLE, best, oracle_value

EPOCH_RULES = {
    "last": "last",
    "transfer": "last",
    "label_free": "objective",
    "paper": "labels",
    ORACLE: "labels",
    "floor": "last",
}
"""How a protocol chooses its epoch, by the part of its name before the colon."""


def epoch_rule(protocol: str) -> str:
    """``last``, ``objective`` or ``labels``."""
    return EPOCH_RULES[protocol.partition(":")[0]]


def epoch_by(rule: str, trial: TrialRecord, first_metric: str) -> EpochRecord | None:
    """The epoch of a trial that a rule chooses; None where no epoch has a value."""
    if rule == "last":
        return trial.last
    candidates = [(trial, report) for report in trial.trained]
    if rule == "objective":
        chosen = best(candidates, lambda report: report.objective)
    else:
        chosen = best(candidates, lambda report: oracle_value(report, first_metric))
    return None if chosen is None else chosen[1]


def confirm_rows(
    rows: Sequence[Mapping[str, Any]],
    fresh: Mapping[str, Sequence[TrialRecord]],
    direction: str,
    *,
    first_metric: str,
    primary_metric: str,
) -> list[dict[str, Any]]:
    """The rows of one study in one direction, with the figures of fresh seeds where there are any.

    A confirmed row has ``confirmed`` True, the number of seeds in ``n_seeds``, and mean and
    standard deviation (ddof 1; null with one seed) over the fresh seeds alone; ``epoch`` and
    ``objective_value`` remain those of the pick. ``oracle_gap`` is the difference of the figures
    shown, and null while only one of the two rows is confirmed.

    Args:
        rows: as :func:`harness.leaderboard.board.study_rows` makes them.
        fresh: by trial id of the pick its finished trainings with fresh seeds.
        direction: ``ab`` or ``ba``.
        first_metric: the data set's first P@k.
        primary_metric: of ``oracle_gap``.
    """
    made = []
    for row in rows:
        confirmed = dict(row)
        # Picks of trainings and of methods that train nothing; no floor of an untrained epoch.
        if row.get("n_seeds"):
            trials = fresh.get(row["trial_id"], ())
            confirmed |= _fresh_cells(row["protocol"], trials, direction, first_metric)
        made.append(confirmed)
    oracle = next((row for row in made if row["protocol"] == ORACLE), None)
    for row in made:
        if oracle is None or row.get("oracle_gap") is None:
            continue
        best_value, value = oracle.get(primary_metric), row.get(primary_metric)
        row["oracle_gap"] = None
        if best_value is not None and value is not None and oracle["confirmed"] == row["confirmed"]:
            row["oracle_gap"] = best_value - value
    return made


def _fresh_cells(
    protocol: str, trials: Sequence[TrialRecord], direction: str, first_metric: str
) -> dict[str, Any]:
    chosen = [epoch_by(epoch_rule(protocol), trial, first_metric) for trial in trials]
    metrics = [report.metrics.get(direction, {}) for report in chosen if report is not None]
    if not metrics:
        return {"confirmed": False}
    cells: dict[str, Any] = {"confirmed": True, "n_seeds": len(metrics)}
    for name in dict.fromkeys(name for of_seed in metrics for name in of_seed):
        values = [of_seed.get(name, math.nan) for of_seed in metrics]
        whole = not any(math.isnan(value) for value in values)
        cells[name] = statistics.fmean(values) if whole else None
        spread = whole and len(values) > 1
        cells[f"{name}.std"] = statistics.stdev(values) if spread else None
    return cells
