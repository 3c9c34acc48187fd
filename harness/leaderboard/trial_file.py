"""The file of a trial: its rows, and back."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.config import TrialConfig, to_json, trial_from_json
from harness.leaderboard.schema import (
    ARROW_TYPES,
    SCHEMA_VERSION,
    figure_columns,
    metric_names,
    parameter_column,
    parameter_columns,
)
from harness.records import EpochRecord, TrialRecord, ends


def trial_rows(record: TrialRecord) -> list[dict[str, Any]]:
    """Rows of a trial's file: every report in every scored direction, or one without epoch."""
    config = record.config
    study = config.study
    shared: dict[str, Any] = {
        "trial_id": config.trial_id,
        "study_id": study.study_id,
        "status": record.status,
        "method": study.method,
        "scenario": study.scenario,
        **parameter_cells(config),
        "seed": config.seed,
        "number": config.number,
        "attempts": record.attempts,
        "batch_size": record.batch_size or study.batch_size,
        "epochs": study.epochs,
        "image_size": study.image_size,
        "backbone": study.backbone,
        "weights": study.weights_name,
        "preset": study.preset,
        "objective": study.objective,
        "precision": study.precision,
        "notes": "\n".join(record.notes),
        "host": record.host,
        "device": record.device,
        "error_type": record.error_type or None,
        "error_last_line": record.error_last_line or None,
        "error_frame": record.error_frame or None,
        "error_trace": record.error_trace or None,
        "dataset": study.dataset,
        "fingerprint": study.fingerprint,
        "config_json": to_json(config),
        "schema_version": SCHEMA_VERSION,
        "versions": record.versions or None,
        "git_commit": record.git_commit or None,
        "command_line": record.command_line or None,
    }
    rows = []
    reports: list[EpochRecord | None] = [record.epochs[epoch] for epoch in sorted(record.epochs)]
    for report in reports or [None]:
        for direction in record.directions:
            query, gallery = ends(config.pair, direction)
            row = {**shared, "query": query, "gallery": gallery}
            if report is not None:
                row |= _report_cells(report, direction)
            rows.append(row)
    return rows


def parameter_cells(config: TrialConfig) -> dict[str, Any]:
    """The parameter columns of a row; what has none, or another type there, is in ``params``."""
    columns = parameter_columns()
    cells: dict[str, Any] = {"params": json.dumps(dict(config.params), sort_keys=True)}
    for name, value in config.params.items():
        column = parameter_column(name)
        if column in columns and columns[column] == ARROW_TYPES.get(type(value)):
            cells[column] = value
    return cells


def _report_cells(report: EpochRecord, direction: str) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "epoch": report.epoch,
        "objective_value": _finite(report.objective),
        "seconds": report.seconds,
    }
    cells |= {name: _finite(v) for name, v in report.metrics.get(direction, {}).items()}
    cells |= {
        f"pooled.{name}": _finite(value)
        for name, value in report.pooled_metrics.get(direction, {}).items()
    }
    figures = {f"validator.{name}": _finite(v) for name, v in report.validators.items()}
    figures |= {f"loss.{name}": _finite(v) for name, v in report.losses.items()}
    columns = figure_columns()
    others = {name: value for name, value in figures.items() if name not in columns}
    return {
        **cells,
        **{name: value for name, value in figures.items() if name in columns},
        "other_figures": json.dumps(others, sort_keys=True) if others else None,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def record_from_rows(rows: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> TrialRecord:
    """The trial whose file holds these rows."""
    first = rows[0]
    record = TrialRecord(
        config=trial_from_json(first["config_json"]),
        status=first["status"],
        attempts=first["attempts"],
        host=first.get("host") or "",
        device=first.get("device") or "",
        batch_size=first.get("batch_size") or 0,
        notes=tuple(filter(None, (first.get("notes") or "").split("\n"))),
        versions=first.get("versions") or "",
        git_commit=first.get("git_commit") or "",
        command_line=first.get("command_line") or "",
        error_type=first.get("error_type") or "",
        error_last_line=first.get("error_last_line") or "",
        error_frame=first.get("error_frame") or "",
        error_trace=first.get("error_trace") or "",
    )
    names = metric_names(ks)
    grouped: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("epoch") is not None:
            direction = "ab" if row["query"] == record.config.pair[0] else "ba"
            grouped.setdefault(row["epoch"], {})[direction] = row
    for epoch, by_direction in grouped.items():
        row = next(iter(by_direction.values()))
        record.epochs[epoch] = EpochRecord(
            epoch=epoch,
            objective=math.nan if row.get("objective_value") is None else row["objective_value"],
            losses=_figures(row, "loss."),
            validators=_figures(row, "validator."),
            metrics={way: _present(r, names) for way, r in by_direction.items()},
            pooled_metrics={
                way: cells
                for way, r in by_direction.items()
                if (cells := _present(r, [f"pooled.{name}" for name in names], "pooled."))
            },
            seconds=row["seconds"],
        )
    return record


def _figures(row: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The losses or validators of a row: those with a column, and those of plug-ins."""
    others: dict[str, float] = json.loads(row.get("other_figures") or "{}")
    every = {**row, **others}
    return _present(every, [name for name in every if name.startswith(prefix)], prefix)


def _present(row: Mapping[str, Any], names: Iterable[str], prefix: str = "") -> dict[str, float]:
    return {name.removeprefix(prefix): row[name] for name in names if row.get(name) is not None}


def read_record(data: bytes, ks: Sequence[int]) -> TrialRecord:
    """The trial of a file's bytes.

    Raises:
        pyarrow.ArrowInvalid: the bytes are no Parquet file.
    """
    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    # Most of the columns belong to other methods and are empty: they would take most of the time.
    filled = [
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if column.null_count < len(column)
    ]
    return record_from_rows(table.select(filled).to_pylist(), ks)
