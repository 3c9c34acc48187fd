"""``validators.parquet``: the judges judged.

How well does a label-free validator order trained settings? Its value at the last epoch is set
against the true figure, on the common start trials alone: no sampler chose them to some
validator's liking, and they are the same settings on every pair.

Shapes: T trials.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import rankdata

from harness.config import Pair, StudyConfig
from harness.datasets.scenario import pair_slug
from harness.leaderboard.schema import with_pandas_types
from harness.leaderboard.store import table_of, write_table
from harness.records import TrialRecord
from harness.selection.protocols import oracle_value
from harness.selection.start_trials import finished_by_setting
from harness.validators import get_validator, validator_names

FILE = "validators.parquet"

FIGURES = ("spearman", "weighted_spearman", "regret", "random_regret")

MIN_CHOICE = 2
"""Whoever has one trial to pick from cannot pick a wrong one; a regret needs a choice."""

MIN_TRIALS = 3
"""Two trials can only agree or disagree; a correlation needs one more."""

RANK_POWER = 2

SCHEMA = with_pandas_types(
    [
        *((name, pa.string()) for name in ("study_id", "method", "scenario", "kind", "pair")),
        *((name, pa.string()) for name in ("validator", "direction", "metric")),
        ("is_objective", pa.bool_()),
        *((name, pa.float64()) for name in FIGURES),
        *((f"{name}.other_pairs", pa.float64()) for name in FIGURES),
        *((name, pa.float64()) for name in ("best", "picked")),
        ("n_trials", pa.int64()),
        ("n_pairs", pa.int64()),
        *((name, pa.string()) for name in ("dataset", "fingerprint")),
    ]
)


def spearman(score_T: NDArray[np.float64], truth_T: NDArray[np.float64]) -> float:
    """Spearman's rank correlation in [-1, 1], ties at their mean rank.

    NaN for fewer than three trials, and where one side is constant.
    """
    return _correlation(rankdata(score_T), rankdata(truth_T), np.ones(len(score_T)))


def weighted_spearman(score_T: NDArray[np.float64], truth_T: NDArray[np.float64]) -> float:
    """Spearman's correlation in which trials that the score likes weigh more.

    Nobody picks a trial that the validator ranks low; a mistake at its top costs. The weight is
    the square of the score's rank as a share of the largest (equal scores share a rank without
    gaps), as in Musgrave et al., *Three New Validators and a Large-Scale Benchmark Ranking for
    Unsupervised Domain Adaptation* (2022); the correlation is Pearson's of the ordinary ranks
    under these weights.
    """
    return _correlation(rankdata(score_T), rankdata(truth_T), _top_weights(score_T))


def _top_weights(score_T: NDArray[np.float64]) -> NDArray[np.float64]:
    dense_T = np.unique(score_T, return_inverse=True)[1] + 1.0
    weight_T: NDArray[np.float64] = (dense_T / dense_T.max(initial=1.0)) ** RANK_POWER
    return weight_T


def _correlation(
    score_rank_T: NDArray[np.float64],
    truth_rank_T: NDArray[np.float64],
    weight_T: NDArray[np.float64],
) -> float:
    """Pearson's correlation of ranks under weights; NaN for few trials or a constant side."""
    if len(weight_T) < MIN_TRIALS:
        return math.nan
    total = weight_T.sum()
    x_T, y_T = (rank_T - rank_T @ weight_T / total for rank_T in (score_rank_T, truth_rank_T))
    variance_x, variance_y = np.sum(weight_T * x_T**2), np.sum(weight_T * y_T**2)
    if variance_x < 1e-12 or variance_y < 1e-12:
        return math.nan
    return float(np.sum(weight_T * x_T * y_T) / math.sqrt(variance_x * variance_y))


def judge_pair(trials: Iterable[TrialRecord], first_metric: str) -> list[dict[str, Any]]:
    """Rows of one study on one pair: one per validator and true figure.

    ``regret`` is the best start trial's figure minus that of the trial the validator likes best
    (percentage points; of equal scores the first trial is taken); ``random_regret`` what a random
    choice is expected to lose. A validator that is NaN for a trial cannot pick it, but still pays
    for having missed it; correlations leave such a trial out. All figures are NaN where the
    validator has fewer than two trials to choose from.

    Args:
        trials: ended trials; those that are no finished start trials are left out.
        first_metric: the data set's first P@k, judged beside ``mAP@All``.
    """
    finished = finished_by_setting(trials)
    reports = [report for _, report in finished.values()]
    if not reports:
        return []
    config = next(iter(finished.values()))[0].config
    shared = _shared_cells(config.study, config.pair)
    rows = []
    for metric in ("mAP@All", first_metric):
        truth_T = np.array([oracle_value(report, metric) for report in reports])
        for name in validator_names():
            value_T = np.array([report.validators.get(name, math.nan) for report in reports])
            figures = _judge(value_T, truth_T, get_validator(name).direction)
            if figures is not None:
                judged = {
                    "validator": name,
                    "direction": get_validator(name).direction,
                    "metric": metric,
                    "is_objective": name == config.study.objective,
                }
                rows.append(shared | judged | figures)
    return rows


def _judge(
    value_T: NDArray[np.float64], truth_T: NDArray[np.float64], direction: str
) -> dict[str, Any] | None:
    """The figures of one validator against one true figure; None where nothing can be judged."""
    known_T = np.isfinite(truth_T)
    score_T = value_T if direction == "max" else -value_T
    usable_T = known_T & np.isfinite(score_T)
    if not usable_T.any():
        return None
    best = float(truth_T[known_T].max())
    held_T, true_T = score_T[usable_T], truth_T[usable_T]
    picked = float(true_T[np.argmax(held_T)])
    ranks = rankdata(held_T), rankdata(true_T)
    is_choice = len(held_T) >= MIN_CHOICE
    return {
        "spearman": _correlation(*ranks, np.ones(len(held_T))),
        "weighted_spearman": _correlation(*ranks, _top_weights(held_T)),
        "regret": best - picked if is_choice else math.nan,
        "random_regret": best - float(truth_T[known_T].mean()) if is_choice else math.nan,
        "best": best,
        "picked": picked,
        "n_trials": int(usable_T.sum()),
        "n_pairs": 1,
    }


def _shared_cells(study: StudyConfig, pair: Pair) -> dict[str, Any]:
    return {
        "study_id": study.study_id,
        "method": study.method,
        "scenario": study.scenario,
        "kind": "pair",
        "pair": pair_slug(*pair),
        "dataset": study.dataset,
        "fingerprint": study.fingerprint,
    }


def judge_study(
    start_trials: Mapping[Pair, Sequence[TrialRecord]], first_metric: str
) -> list[dict[str, Any]]:
    """Rows of one study: per pair, and pooled.

    A pair's row carries in ``<figure>.other_pairs`` the mean of the figure over the study's other
    pairs: whoever chooses a validator by it has not looked at this pair (leave one pair out). The
    pooled row (``kind`` = ``pooled``) is the mean over all pairs in which the validator had two
    trials to choose from; without one there is no such row.

    Args:
        start_trials: ended start trials of every pair.
        first_metric: the data set's first P@k.
    """
    rows = [row for trials in start_trials.values() for row in judge_pair(trials, first_metric)]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["metric"], row["validator"]), []).append(row)
    pooled = []
    for group in groups.values():
        for row in group:
            others = [other for other in group if other is not row]
            row |= {f"{name}.other_pairs": _mean(others, name) for name in FIGURES}
        group = [row for row in group if row["n_trials"] >= MIN_CHOICE]
        if not group:
            continue
        means = {name: _mean(group, name) for name in (*FIGURES, "best", "picked")}
        pooled.append(
            group[0]
            | {f"{name}.other_pairs": None for name in FIGURES}
            | means
            | {"kind": "pooled", "pair": None, "n_pairs": len(group)}
            | {"n_trials": sum(row["n_trials"] for row in group)}
        )
    return rows + pooled


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [row[name] for row in rows if not math.isnan(row[name])]
    return math.fsum(values) / len(values) if values else math.nan


def write_judges(root: Path, study_ids: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the file; rows of studies that are not named stay.

    Args:
        root: the results folder of the data set.
        study_ids: the studies judged anew.
        rows: their rows.
    """
    path, anew = root / FILE, set(study_ids)
    before = pq.ParquetFile(path).read().to_pylist() if path.exists() else []
    kept = [row for row in before if row["study_id"] not in anew]
    table = table_of([*kept, *map(_without_nan, rows)], SCHEMA)
    write_table(table, path)


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in row.items()
    }
