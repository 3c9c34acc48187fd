"""The file of a trial: its rows, and back.

A driver that resumes reads the files of all its trials, and of a Parquet file of some 150 columns
the columns are most of the work. The record therefore stands a second time in the file, as one
piece of compressed JSON between the last page and the footer, where no reader of Parquet looks::

    "PAR1", pages | JSON, checksum of the pages, length of the JSON, mark | footer, length, "PAR1"

The columns remain the truth: the piece counts only where the checksum is that of the pages that it
was written with, so that a file that anybody changed is read by its columns.
"""

import dataclasses
import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.config import TrialConfig, to_json, trial_from_json
from harness.leaderboard.schema import (
    SCHEMA_VERSION,
    loss_columns,
    metric_names,
    parameter_column,
    parameter_columns,
)
from harness.records import EpochRecord, TrialRecord, ends
from harness.validators import validator_names

_MARK = b"RECORD01"
_TAIL = struct.Struct("<II8s")
_FOOTER = struct.Struct("<I4s")


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
    """The parameter columns of a row."""
    columns = parameter_columns()
    cells: dict[str, Any] = {"params": json.dumps(dict(config.params), sort_keys=True)}
    for name, value in config.params.items():
        if (column := parameter_column(name)) in columns:
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
    cells |= {f"validator.{name}": _finite(v) for name, v in report.validators.items()}
    cells |= {f"loss.{name}": _finite(v) for name, v in report.losses.items()}
    return cells


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def record_from_rows(rows: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> TrialRecord:
    """The trial whose file holds these rows."""
    first = rows[0]
    record = TrialRecord(
        config=trial_from_json(first["config_json"]),
        status=first["status"],
        attempts=first["attempts"],
        host=first["host"] or "",
        device=first["device"] or "",
        batch_size=first["batch_size"] or 0,
        notes=tuple(filter(None, (first["notes"] or "").split("\n"))),
        versions=first.get("versions") or "",
        error_type=first["error_type"] or "",
        error_last_line=first["error_last_line"] or "",
        error_frame=first["error_frame"] or "",
        error_trace=first["error_trace"] or "",
    )
    names = metric_names(ks)
    grouped: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["epoch"] is not None:
            direction = "ab" if row["query"] == record.config.pair[0] else "ba"
            grouped.setdefault(row["epoch"], {})[direction] = row
    for epoch, by_direction in grouped.items():
        row = next(iter(by_direction.values()))
        record.epochs[epoch] = EpochRecord(
            epoch=epoch,
            objective=math.nan if row["objective_value"] is None else row["objective_value"],
            losses=_present(row, loss_columns(), "loss."),
            validators=_present(
                row, [f"validator.{name}" for name in validator_names()], "validator."
            ),
            metrics={held: _present(r, names) for held, r in by_direction.items()},
            pooled_metrics={
                held: cells
                for held, r in by_direction.items()
                if (cells := _present(r, [f"pooled.{name}" for name in names], "pooled."))
            },
            seconds=row["seconds"],
        )
    return record


def _present(row: Mapping[str, Any], names: Iterable[str], prefix: str = "") -> dict[str, float]:
    return {name.removeprefix(prefix): row[name] for name in names if row.get(name) is not None}


def with_record(parquet: bytes, record: TrialRecord, ks: Sequence[int]) -> bytes:
    """The Parquet file of a trial with its record between the last page and the footer."""
    start = _footer_start(parquet)
    text = zlib.compress(_record_text(record, ks).encode(), level=1)
    tail = _TAIL.pack(zlib.crc32(parquet[:start]), len(text), _MARK)
    return b"".join((parquet[:start], text, tail, parquet[start:]))


def read_record(data: bytes, ks: Sequence[int]) -> TrialRecord:
    """The trial of a file's bytes.

    Raises:
        pyarrow.ArrowInvalid: the bytes are no Parquet file.
    """
    text = _held_text(data)
    if text is None:
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
        return record_from_rows(table.to_pylist(), ks)
    held = json.loads(text)
    epochs = [EpochRecord(**report) for report in held.pop("epochs")]
    return TrialRecord(
        config=trial_from_json(held.pop("config")),
        epochs={report.epoch: report for report in epochs},
        notes=tuple(held.pop("notes")),
        **held,
    )


def _footer_start(data: bytes) -> int:
    length, mark = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
    return len(data) - _FOOTER.size - length if mark == b"PAR1" else 0


def _held_text(data: bytes) -> bytes | None:
    """The JSON of the record; None where the file has none, or one of other pages."""
    if len(data) < _FOOTER.size:
        return None
    end = _footer_start(data) - _TAIL.size
    if end < 0:
        return None
    checksum, length, mark = _TAIL.unpack_from(data, end)
    start = end - length
    if mark != _MARK or start < 0 or zlib.crc32(memoryview(data)[:start]) != checksum:
        return None
    return zlib.decompress(data[start:end])


def _record_text(record: TrialRecord, ks: Sequence[int]) -> str:
    """What the columns hold of a record, as JSON: known names only, and no NaN."""
    held = {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}
    held |= {
        "config": to_json(record.config),
        "notes": list(filter(None, "\n".join(record.notes).split("\n"))),
        "batch_size": record.batch_size or record.config.study.batch_size,
        "epochs": [
            _report_as_stored(record.epochs[epoch], record.directions, ks)
            for epoch in sorted(record.epochs)
        ],
    }
    return json.dumps(held, separators=(",", ":"))


def _report_as_stored(
    report: EpochRecord, directions: Sequence[str], ks: Sequence[int]
) -> dict[str, Any]:
    metrics = metric_names(ks)
    pooled = {
        held: cells
        for held in directions
        if (cells := _stored(report.pooled_metrics.get(held, {}), metrics))
    }
    losses = [name.removeprefix("loss.") for name in loss_columns()]
    return {
        "epoch": report.epoch,
        "objective": float(report.objective),
        "losses": _stored(report.losses, losses),
        "validators": _stored(report.validators, validator_names()),
        "metrics": {held: _stored(report.metrics.get(held, {}), metrics) for held in directions},
        "pooled_metrics": pooled,
        "seconds": float(report.seconds),
    }


def _stored(values: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    return {
        name: float(values[name])
        for name in names
        if name in values and not math.isnan(values[name])
    }
