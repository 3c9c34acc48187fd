"""Leaderboard rows of a directed pair: picks, floors, chance, and their rank."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config import StudyConfig, to_json
from harness.leaderboard.floors import POOLED, as_floors
from harness.leaderboard.schema import SCHEMA_VERSION
from harness.leaderboard.trial_file import parameter_cells
from harness.methods import get_method
from harness.records import EpochRecord, TrialRecord, ends
from harness.selection.protocols import ORACLE, Pick, picks

PROTOCOL_ORDER = ("last", "label_free", "transfer", "paper", ORACLE, "floor", "chance")

COMPARABLE = (
    "scenario",
    "scenario_seed",
    "backbone",
    "weights",
    "image_size",
    "epochs",
    "precision",
    "fingerprint",
)
"""Only rows of one protocol that agree in these are ranked against each other."""


@dataclass(frozen=True, kw_only=True)
class BoardContext:
    """What a row needs beside its trial.

    Attributes:
        ks: the k of the data set's P@k.
        primary_metric: ranks the board.
        half_classes: the half of them that the smaller side of ``partial`` and ``open`` keeps.
        class_count: classes of the data set, to say whether K was the true number.
    """

    ks: tuple[int, ...]
    primary_metric: str
    class_count: int
    half_classes: tuple[str, ...] = ()

    @property
    def first_metric(self) -> str:
        """The first P@k: ``paper`` and ``oracle`` choose by its mean over the directions."""
        return f"P@{self.ks[0]}"


def study_rows(
    trials: Sequence[TrialRecord],
    direction: str,
    context: BoardContext,
    transfer: Sequence[Pick] = (),
    chosen_among: Sequence[TrialRecord] | None = None,
) -> list[dict[str, Any]]:
    """Rows of one study on one pair in one direction: a row per protocol, and its floors.

    Args:
        trials: of the study on the pair, by number.
        direction: ``ab`` or ``ba``.
        context: what a row needs beside its trial.
        transfer: picks that other pairs' trials made (:mod:`harness.selection.transfer`).
        chosen_among: see :func:`harness.selection.protocols.picks`.
    """
    chosen = [*picks(trials, context.first_metric, chosen_among), *transfer]
    oracle = next((pick for pick in chosen if pick.protocol == ORACLE), None)
    finished = sum(trial.status == "finished" for trial in trials)
    rows = []
    for pick in chosen:
        row = _trained_row(pick, direction, context)
        row["trials_finished"] = finished
        if oracle is not None and pick.protocol.partition(":")[0] in (
            "last",
            "label_free",
            "transfer",
        ):
            row["oracle_gap"] = _difference(
                _metric(oracle.epoch, direction, context.primary_metric),
                _metric(pick.epoch, direction, context.primary_metric),
            )
        rows.append(row)
    if trials and not get_method(trials[0].config.study.method).trains:
        return as_floors(rows)
    return rows + _floor_rows(trials, direction, context)


def chance_row(
    study: StudyConfig,
    pair: tuple[str, str],
    direction: str,
    metrics: Mapping[str, float],
    context: BoardContext,
) -> dict[str, Any]:
    """What a uniformly random ranking is expected to reach."""
    query, gallery = ends(pair, direction)
    return {
        "kind": "chance",
        "method": "chance",
        "protocol": "chance",
        "scenario": study.scenario,
        **_class_split_cells(study, context),
        "query": query,
        "gallery": gallery,
        "dataset": study.dataset,
        "fingerprint": study.fingerprint,
        "warnings": "\n".join(study.dataset_warnings),
        "schema_version": SCHEMA_VERSION,
        **_cells(metrics),
    }


def merge_rows(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], primary_metric: str
) -> list[dict[str, Any]]:
    """The rows of a board after those of some studies were made anew, ranked and sorted.

    Of the ``old`` ones those of studies that occur in ``new`` are dropped, and chance rows of a
    question that ``new`` has too.
    """
    studies = {row["study_id"] for row in new if row.get("study_id")}
    chances = {_chance_key(row) for row in new if row["kind"] == "chance"}
    kept = [
        dict(row)
        for row in old
        if row.get("study_id") not in studies
        and not (row["kind"] == "chance" and _chance_key(row) in chances)
    ]
    rows = kept + [dict(row) for row in new]
    _rank(rows, primary_metric)
    return sorted(rows, key=_order)


def question(
    row: Mapping[str, Any], names: Sequence[str] = (*COMPARABLE, "half_classes")
) -> tuple[Any, ...]:
    """What a row answers: rows of different questions are not set beside each other.

    Without a class split, in ``close``, its seed does not matter.
    """
    split = row["scenario"] != "close"
    return tuple(row.get(name) if split or name != "scenario_seed" else None for name in names)


def _chance_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return question(row, ("scenario", "scenario_seed", "fingerprint"))


def _rank(rows: list[dict[str, Any]], primary_metric: str) -> None:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        row["rank"] = None
        if row["kind"] == "trained" and row.get(primary_metric) is not None:
            groups.setdefault((row["protocol"], *question(row)), []).append(row)
    for group in groups.values():
        group.sort(key=lambda row: (-row[primary_metric], row["study_id"]))
        for place, row in enumerate(group):
            tied = place > 0 and group[place - 1][primary_metric] == row[primary_metric]
            row["rank"] = group[place - 1]["rank"] if tied else place + 1


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    base = row["protocol"].partition(":")[0]
    place = PROTOCOL_ORDER.index(base) if base in PROTOCOL_ORDER else len(PROTOCOL_ORDER)
    comparable = (row["protocol"], *map(str, question(row)))
    rank = row["rank"] if row["rank"] is not None else math.inf
    return (place, *comparable, rank, row["method"] or "", row.get("study_id") or "")


def _class_split_cells(study: StudyConfig, context: BoardContext) -> dict[str, Any]:
    return {
        "scenario_seed": study.scenario_seed,
        "half_classes": ",".join(context.half_classes) if study.scenario != "close" else None,
    }


def _study_cells(trial: TrialRecord, context: BoardContext) -> dict[str, Any]:
    study = trial.config.study
    return {
        "method": study.method,
        "scenario": study.scenario,
        **_class_split_cells(study, context),
        "backbone": study.backbone,
        "weights": study.weights_name,
        "preset": study.preset,
        "image_size": study.image_size,
        "epochs": study.epochs,
        "batch_size": trial.batch_size or study.batch_size,
        "precision": study.precision,
        "sampler": study.sampler,
        "objective": study.objective,
        "study_id": study.study_id,
        "dataset": study.dataset,
        "fingerprint": study.fingerprint,
        "warnings": "\n".join(study.dataset_warnings),
        "notes": "\n".join(trial.notes),
        "trial_id": trial.config.trial_id,
        "config_json": to_json(trial.config),
        "schema_version": SCHEMA_VERSION,
        "versions": trial.versions or None,
        "git_commit": trial.git_commit or None,
        "command_line": trial.command_line or None,
        "host": trial.host,
        "device": trial.device,
    }


def _trained_row(pick: Pick, direction: str, context: BoardContext) -> dict[str, Any]:
    trial, epoch = pick.trial, pick.epoch
    query, gallery = ends(trial.config.pair, direction)
    return {
        "kind": "trained",
        "protocol": pick.protocol,
        "query": query,
        "gallery": gallery,
        **_study_cells(trial, context),
        **parameter_cells(trial.config),
        "k_mode": _k_mode(trial, context),
        "epoch": epoch.epoch,
        **_cells(epoch.metrics.get(direction, {})),
        "transfer_from": pick.transfer_from or None,
        "n_seeds": 1,
        "objective_value": None if math.isnan(epoch.objective) else epoch.objective,
        "seed": trial.config.study.seed,
        "seconds": trial.seconds,
    }


def _floor_rows(
    trials: Sequence[TrialRecord], direction: str, context: BoardContext
) -> list[dict[str, Any]]:
    """The untrained weights, which all trials of a study share, by embedding and pooled."""
    start = next((trial for trial in trials if 0 in trial.epochs), None)
    if start is None:
        return []
    record = start.epochs[0]
    query, gallery = ends(start.config.pair, direction)
    rows = []
    for protocol, metrics in (("floor", record.metrics), (POOLED, record.pooled_metrics)):
        if direction in metrics:
            rows.append(
                {
                    "kind": "floor",
                    "protocol": protocol,
                    "query": query,
                    "gallery": gallery,
                    **_study_cells(start, context),
                    "epoch": 0,
                    **_cells(metrics[direction]),
                    "seed": start.config.study.seed,
                    "seconds": record.seconds,
                }
            )
    return rows


def _k_mode(trial: TrialRecord, context: BoardContext) -> str | None:
    """``true``, ``fixed``, ``searched`` or ``elbow``; None for a method without clusters."""
    params = trial.config.params
    name = "K" if "K" in params else "clusters"
    value = params.get(name)
    if value is None or value == "elbow":
        return None if value is None else "elbow"
    counts = {context.class_count}
    if trial.config.study.scenario != "close":
        counts.add(context.class_count // 2)
    if int(value) in counts:
        return "true"
    return "searched" if name in trial.config.searched else "fixed"


def _metric(record: EpochRecord, direction: str, metric: str) -> float:
    return record.metrics.get(direction, {}).get(metric, math.nan)


def _difference(left: float, right: float) -> float | None:
    return None if math.isnan(left) or math.isnan(right) else left - right


def _cells(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}
