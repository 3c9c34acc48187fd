"""Is one row better than another? The difference of two confirmed rows with its interval.

Shapes: S fresh seeds of a row, C classes of the queries, R resamples.

Two things could have come out otherwise: the classes of the data set, and the seeds of the
trainings. Both are resampled with replacement, a class with all of its queries (queries of one
class stand or fall together) and the same classes for both rows. The percentiles of the resampled
differences are the interval. With few seeds it is rather too narrow: S seeds resampled show
(S - 1) / S of their variance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import UsageError, nearest
from harness.selection.confirmed import epoch_rule
from harness.statistics.query_files import queries_path, read_queries

Floats = NDArray[np.float64]
_BLOCK = 1024  # resamples held at a time


@dataclass(frozen=True)
class Comparison:
    """Left row minus right row.

    Attributes:
        difference: of the figures as the board shows them, in points.
        low: lower end of the interval.
        high: upper end.
    """

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassSums:
    """A metric of a row in parts: over drawn classes it is sum(part) / sum(weight).

    Attributes:
        part_SC: sum over the queries of a class of score times weight, in percent, per seed.
        weight_C: sum of the queries' weights.
    """

    part_SC: Floats
    weight_C: Floats


def compare(
    root: Path,
    left: Mapping[str, Any],
    right: Mapping[str, Any],
    metric: str,
    *,
    n_resamples: int = 5000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compares two confirmed rows of one directed pair.

    Args:
        root: results folder of the data set, ``<out>/<dataset>``.
        left: a leaderboard row, or its ``trial_id``, ``protocol``, ``query`` and ``gallery``.
        right: another one.
        metric: ``mAP@All``, ``P@k`` or ``P@k.query_mean``.
        n_resamples: of the bootstrap.
        seed: of its draws.
        confidence: of the interval.

    Raises:
        UsageError: a row that was not confirmed, rows of different pairs or queries, a metric that
            is no mean over queries.
    """
    frames = [_queries(root, row) for row in (left, right)]
    ways = [(row["query"], row["gallery"]) for row in (left, right)]
    images = [set(frame["image"]) for frame in frames]
    if ways[0] != ways[1] or images[0] != images[1]:
        raise UsageError(
            "Two rows can be compared on the same queries and gallery only: "
            f"{' → '.join(ways[0])} ({len(images[0])} queries) and {' → '.join(ways[1])} "
            f"({len(images[1])} queries) differ."
        )
    same_trainings = left["trial_id"] == right["trial_id"]
    return bootstrap_difference(
        class_sums(frames[0], metric),
        class_sums(frames[1], metric),
        paired_seeds=same_trainings,
        n_resamples=n_resamples,
        seed=seed,
        confidence=confidence,
    )


def class_sums(queries: pd.DataFrame, metric: str) -> ClassSums:
    """The parts of a metric from the scores of single queries.

    Args:
        queries: rows of ``queries/<trial_id>.parquet`` of one direction and rule.
        metric: ``mAP@All``, ``P@k`` (each query weighs min(k, relevant)) or ``P@k.query_mean``.

    Raises:
        UsageError: a metric that is no mean over queries.
    """
    column, weighted = _column_of(metric, queries.columns)
    valid = queries[queries["n_relevant"] > 0]
    weight = np.ones(len(valid))
    if weighted:
        weight = np.minimum(valid["n_relevant"].to_numpy(), int(column.removeprefix("P@")))
    parts = pd.DataFrame(
        {
            "confirmation": valid["confirmation"],
            "class": valid["class"],
            "part": valid[column].to_numpy() * weight,
            "weight": weight,
        }
    )
    sums = parts.groupby(["confirmation", "class"], observed=True).sum()
    part_SC = sums["part"].unstack("class").to_numpy(dtype=np.float64)
    weight_C = sums["weight"].unstack("class").to_numpy(dtype=np.float64)[0]
    return ClassSums(part_SC, weight_C)


def bootstrap_difference(
    left: ClassSums,
    right: ClassSums,
    *,
    paired_seeds: bool,
    n_resamples: int,
    seed: int,
    confidence: float,
) -> Comparison:
    """Difference and percentile interval over classes and seeds.

    Args:
        left: of one row.
        right: of the other, over the same classes.
        paired_seeds: both rows come from the same trainings, so the same seeds are drawn for both.
        n_resamples: number of resamples.
        seed: of the draws.
        confidence: of the interval.
    """
    rng = np.random.default_rng(seed)
    n_left, n_classes = left.part_SC.shape
    n_right = len(right.part_SC)
    differences_R = np.empty(n_resamples)
    for start in range(0, n_resamples, _BLOCK):
        count = min(_BLOCK, n_resamples - start)
        class_RC = _draws(rng, n_classes, count)
        left_RS = _draws(rng, n_left, count)
        right_RS = left_RS if paired_seeds else _draws(rng, n_right, count)
        differences_R[start : start + count] = _value(left, class_RC, left_RS) - _value(
            right, class_RC, right_RS
        )
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences_R, [tail, 1 - tail])
    once_1C = np.ones((1, n_classes))
    shown = _value(left, once_1C, np.ones((1, n_left))) - _value(
        right, once_1C, np.ones((1, n_right))
    )
    return Comparison(float(shown[0]), float(low), float(high))


def _draws(rng: np.random.Generator, n: int, count: int) -> Floats:
    """How often each of n things is drawn in ``count`` resamples of n draws."""
    return rng.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)


def _value(sums: ClassSums, class_RC: Floats, seed_RS: Floats) -> Floats:
    """The metric of each resample: mean over its seeds of the ratio of sums over its classes."""
    part_RS = class_RC @ sums.part_SC.T
    mean_R = (part_RS * seed_RS).sum(axis=1) / seed_RS.sum(axis=1)
    return mean_R / (class_RC @ sums.weight_C)


def _queries(root: Path, row: Mapping[str, Any]) -> pd.DataFrame:
    trial_id, rule = row["trial_id"], epoch_rule(row["protocol"])
    if not queries_path(root, trial_id).exists():
        raise UsageError(
            f"The pick {trial_id} has no scores of single queries; run its search with --confirm N."
        )
    frame = read_queries(root, trial_id).to_pandas()
    queries = frame[
        (frame["epoch_by"] == rule)
        & (frame["query"] == row["query"])
        & (frame["gallery"] == row["gallery"])
    ]
    if queries.empty:
        raise UsageError(
            f"The pick {trial_id} has no scores of {row['query']} → {row['gallery']} by the "
            f"protocol {row['protocol']}."
        )
    return queries


def _column_of(metric: str, columns: pd.Index) -> tuple[str, bool]:
    """The column of a metric and whether each query weighs min(k, relevant)."""
    precisions = [name for name in columns if name.startswith("P@")]
    known = {"mAP@All": ("AP", False)}
    known |= {name: (name, True) for name in precisions}
    known |= {f"{name}.query_mean": (name, False) for name in precisions}
    if metric not in known:
        raise UsageError(f"No interval is known for '{metric}'. {nearest(metric, known)}")
    return known[metric]
