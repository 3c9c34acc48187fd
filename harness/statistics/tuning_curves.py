"""``tuning_curves.parquet``: what a method reaches after n trials of tuning.

A board shows one number per method, which hides how much tuning it took. A curve shows the figure
of the trial that the study's objective picks among n, at its last epoch (the ``last`` protocol):
for a label-free objective it is what somebody without labels takes home after n trials, and it
falls where the objective misleads. Its expectation over the choice of the n trials has a meaning
only where trials are exchangeable: the quasi-random start trials, or every trial of a sampler that
learns from none. Anything else is shown in the order it happened, as an observed trajectory.

Shapes: T trials, N numbers of trials (N = T), R resamples.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.datasets.scenario import pair_slug
from harness.leaderboard.schema import with_pandas_types
from harness.leaderboard.store import write_table
from harness.records import TrialRecord, ends
from harness.seeds import derive_seed

FILE = "tuning_curves.parquet"

EXCHANGEABLE, OBSERVED = "exchangeable", "observed"

EXCHANGEABLE_SAMPLERS = ("random", "qmc")
"""Samplers whose proposals do not depend on the results of earlier trials."""

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_TRIALS = 3
"""A bootstrap over fewer trials says nothing."""

SCHEMA = with_pandas_types(
    [
        *((name, pa.string()) for name in ("study_id", "method", "scenario", "pair", "query")),
        *((name, pa.string()) for name in ("gallery", "metric", "objective", "sampler", "basis")),
        *((name, pa.int64()) for name in ("n", "n_trials", "n_finished")),
        *((name, pa.float64()) for name in ("value", "low", "high", "confidence")),
        *((name, pa.string()) for name in ("dataset", "fingerprint")),
    ]
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """Percentile interval of a curve.

    Attributes:
        low_N: lower end after 1, 2, ... trials; NaN without a band.
        high_N: upper end.
    """

    low_N: Floats
    high_N: Floats


def pick_probabilities(count: int) -> Floats:
    """Probability (N, T) that the trial of a rank is the best of n drawn without replacement.

    Of the C(T, n) subsets those in which rank i (0 = best) comes first hold n - 1 of the T - 1 - i
    trials behind it: C(T - 1 - i, n - 1) / C(T, n). This is the unbiased form of the expected
    validation performance of Dodge et al., *Show Your Work: Improved Reporting of Experimental
    Results* (2019), whose draws with replacement underestimate it (Tang et al., *Showing Your Work
    Doesn't Always Work*, 2020).
    """
    n_N1 = np.arange(1.0, count + 1)[:, None]
    rank_T = np.arange(count - 1)
    shrink_NT = np.maximum(0.0, count - n_N1 - rank_T) / (count - 1 - rank_T)
    return (n_N1 / count) * np.cumprod(np.hstack([np.ones((count, 1)), shrink_NT]), axis=1)


def expected_curve(objective_T: Floats, value_T: Floats) -> Floats:
    """Expected figure of the trial that the objective picks among n of T exchangeable trials.

    A trial that did not finish (NaN on either side) takes one of the n places and is never picked;
    the expectation is over the draws that hold a finished one. Among equal objectives each trial
    is as likely to be picked.

    Args:
        objective_T: what is maximised.
        value_T: the figure reported.

    Returns:
        The curve for n = 1 ... T; NaN where nothing finished.
    """
    rank_T, usable_T = _rank(objective_T, value_T), _usable(objective_T, value_T)
    level_T = np.array([np.mean(usable_T[rank_T == rank]) for rank in rank_T])
    return _curve(level_T[np.argsort(rank_T, kind="stable")][None], len(value_T))[0]


def bootstrap_band(
    objective_T: Floats,
    value_T: Floats,
    rng: np.random.Generator,
    *,
    n_resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Band:
    """Percentile band of :func:`expected_curve` over resamples of the trials with replacement.

    Near n = T it is one-sided: no resample holds a trial better than the best that was tried.

    Args:
        objective_T: what is maximised.
        value_T: the figure reported.
        rng: draws the resamples.
        n_resamples: their number.
        confidence: of the band.
    """
    count = len(value_T)
    if np.isfinite(_usable(objective_T, value_T)).sum() < MIN_TRIALS:
        return Band(np.full(count, np.nan), np.full(count, np.nan))
    rank_T = _rank(objective_T, value_T)
    drawn_RT = rng.integers(count, size=(n_resamples, count))
    # The fraction below 1 orders trials of equal objective at random, anew in every resample.
    order_RT = np.argsort(rank_T[drawn_RT] + rng.random(drawn_RT.shape), axis=1)
    sorted_RT = np.take_along_axis(_usable(objective_T, value_T)[drawn_RT], order_RT, axis=1)
    curve_RN = _curve(sorted_RT, count)
    curve_RN = curve_RN[np.isfinite(curve_RN).all(axis=1)]
    tail = (1 - confidence) / 2
    low_N, high_N = np.quantile(curve_RN, [tail, 1 - tail], axis=0)
    return Band(low_N, high_N)


def observed_curve(objective_T: Floats, value_T: Floats) -> Floats:
    """Figure of the trial that the objective picks among the first n, for n = 1 ... T.

    Of equal objectives the first trial is picked, as on the board. NaN until one has finished.
    """
    best, picked, curve = -math.inf, math.nan, []
    for objective, value in zip(objective_T, _usable(objective_T, value_T), strict=True):
        if math.isfinite(value) and objective > best:
            best, picked = float(objective), float(value)
        curve.append(picked)
    return np.array(curve)


def _usable(objective_T: Floats, value_T: Floats) -> Floats:
    return np.where(np.isfinite(objective_T), value_T, np.nan)


def _rank(objective_T: Floats, value_T: Floats) -> NDArray[np.int64]:
    """Dense rank by falling objective, 0 = best; unfinished trials share the last one."""
    key_T = np.where(np.isfinite(_usable(objective_T, value_T)), -objective_T, np.inf)
    rank_T: NDArray[np.int64] = np.unique(key_T, return_inverse=True)[1].astype(np.int64)
    return rank_T


def _curve(sorted_RT: Floats, count: int) -> Floats:
    """Curves (R, N) of figures sorted by falling objective, NaN of unfinished trials at the end."""
    pick_TN = pick_probabilities(count).T
    finished_RT = np.isfinite(sorted_RT)
    total_RN = np.where(finished_RT, sorted_RT, 0.0) @ pick_TN
    mass_RN = finished_RT.astype(np.float64) @ pick_TN
    return np.divide(total_RN, mass_RN, out=np.full_like(total_RN, np.nan), where=mass_RN > 0)


def exchangeable_trials(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Those of a study's ended trials on a pair whose order means nothing.

    The start trials; under ``--sampler random`` or ``qmc`` the proposed ones too, unless one was
    stopped early: who is stopped depends on who ran before. Trial 0 is left out, since the paper's
    point is no draw from the space, but not where nothing is searched.
    """
    exchangeable = [
        record for record in trials if record.config.number > 0 or not record.config.searched
    ]
    proposed = [record for record in exchangeable if record.config.origin == "proposed"]
    start = [record for record in exchangeable if record.config.origin == "start"]
    sampler = exchangeable[0].config.study.sampler.partition("(")[0] if exchangeable else ""
    if sampler in EXCHANGEABLE_SAMPLERS and all(r.status != "pruned" for r in proposed):
        return start + proposed
    return start


def curve_rows(trials: Sequence[TrialRecord], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of one study on one pair: per direction, metric and basis one per n.

    Args:
        trials: that ended, in any order.
        metrics: columns of the leaderboard.
    """
    ordered = sorted(trials, key=lambda record: record.config.number)
    rows = []
    for basis, curve_trials in ((EXCHANGEABLE, exchangeable_trials(ordered)), (OBSERVED, ordered)):
        if not curve_trials:
            continue
        for direction in curve_trials[0].directions:
            for metric in metrics:
                rows += _rows_of(curve_trials, basis, direction, metric)
    return rows


def _rows_of(
    trials: Sequence[TrialRecord], basis: str, direction: str, metric: str
) -> list[dict[str, Any]]:
    config = trials[0].config
    objective_T = np.array([_last(record, None, metric) for record in trials])
    value_T = np.array([_last(record, direction, metric) for record in trials])
    finished = int(np.isfinite(_usable(objective_T, value_T)).sum())
    if not finished:
        return []
    if basis == EXCHANGEABLE:
        curve_N = expected_curve(objective_T, value_T)
        # One seed for all metrics and both directions: their bands rest on the same resamples.
        seed = derive_seed(config.study.seed, config.study.study_id, *config.pair, "tuning curve")
        band = bootstrap_band(objective_T, value_T, np.random.default_rng(seed))
    else:
        curve_N = observed_curve(objective_T, value_T)
        band = Band(np.full(len(trials), np.nan), np.full(len(trials), np.nan))
    query, gallery = ends(config.pair, direction)
    shared = {
        "study_id": config.study.study_id,
        "method": config.study.method,
        "scenario": config.study.scenario,
        "pair": pair_slug(*config.pair),
        "query": query,
        "gallery": gallery,
        "metric": metric,
        "objective": config.study.objective,
        "sampler": config.study.sampler,
        "basis": basis,
        "n_trials": len(trials),
        "n_finished": finished,
        "confidence": None if math.isnan(band.low_N[0]) else CONFIDENCE,
        "dataset": config.study.dataset,
        "fingerprint": config.study.fingerprint,
    }
    return [
        shared | {"n": n, "value": _cell(value), "low": _cell(low), "high": _cell(high)}
        for n, (value, low, high) in enumerate(
            zip(curve_N, band.low_N, band.high_N, strict=True), start=1
        )
    ]


def _last(record: TrialRecord, direction: str | None, metric: str) -> float:
    """Objective (without a direction) or metric at a finished trial's last epoch, else NaN."""
    if record.status != "finished" or record.last is None:
        return math.nan
    if direction is None:
        return record.last.objective
    return record.last.metrics.get(direction, {}).get(metric, math.nan)


def _cell(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def study_curves(records: Iterable[TrialRecord], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of :func:`curve_rows` of every study and pair that the ended trials belong to."""
    groups: dict[tuple[str, tuple[str, str]], list[TrialRecord]] = {}
    for record in records:
        key = (record.config.study.study_id, record.config.pair)
        groups.setdefault(key, []).append(record)
    return [row for key in sorted(groups) for row in curve_rows(groups[key], metrics)]


def write_curves(root: Path, study_ids: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes the file; rows of studies that are not named stay.

    Args:
        root: the results folder of the data set.
        study_ids: the studies whose curves are new.
        rows: their rows.
    """
    path, anew = root / FILE, set(study_ids)
    before = pq.ParquetFile(path).read().to_pylist() if path.exists() else []
    kept = [row for row in before if row["study_id"] not in anew]
    write_table(pa.Table.from_pylist([*kept, *map(dict, rows)], schema=SCHEMA), path)
