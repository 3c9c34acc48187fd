"""The results folder of one data set: where the driver writes and everybody reads.

Files appear by rename, whole or not at all. One driver at a time: a lock file says so.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from harness.config import TrialConfig, content_hash, from_json, to_json
from harness.datasets.contract import DatasetIndex
from harness.datasets.scenario import pair_slug
from harness.errors import UsageError
from harness.leaderboard.records import EpochRecord, TrialRecord, ends
from harness.leaderboard.schema import (
    SCHEMA_VERSION,
    board_schema,
    loss_columns,
    metric_names,
    parameter_column,
    parameter_columns,
    trial_schema,
)
from harness.validators import validator_names


class ResultsStore:
    """Reads and writes ``<out>/<dataset>``.

    Attributes:
        root: that folder.
        ks: the k of the data set's P@k.
    """

    def __init__(self, out: Path, dataset: str, ks: Sequence[int]) -> None:
        self.root = out / dataset
        self.ks = tuple(ks)
        self._lock = FileLock(self.root / ".driver.lock")

    def open_for_writing(self, index: DatasetIndex) -> None:
        """Makes the folder and takes its lock for this process.

        Raises:
            UsageError: the folder cannot be written, another driver holds it, or it holds results
                of other images under the same name.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"Another run writes into {self.root}. Wait for it, or choose another --out."
            ) from None
        except OSError as error:
            raise UsageError(
                f"The results folder {self.root} cannot be written ({error.strerror}). "
                "Choose another one with --out."
            ) from error
        self._drop_unfinished()
        try:
            self._check_images(index)
        except UsageError:
            self.close()
            raise

    def close(self) -> None:
        """Gives the lock back."""
        self._lock.release()

    def _drop_unfinished(self) -> None:
        """Removes what a killed driver left half written; under the lock no other one writes."""
        for folder in (
            "",
            "config",
            "in_flight",
            "leaderboard",
            "trials/*",
            "confirmations/*",
            "picks",
            "queries",
            "counterparts/trials/*",
            "counterparts/picks",
        ):
            for path in self.root.glob(f"{folder}/.*.tmp" if folder else ".*.tmp"):
                path.unlink(missing_ok=True)

    def _check_images(self, index: DatasetIndex) -> None:
        """Refuses to mix results of two data sets of one name; notes the images at first."""
        path = self.root / "dataset.json"
        domains = {d.name: [len(d), content_hash([*d.paths, *d.digests])] for d in index.domains}
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(
                    json.dumps({"fingerprint": index.fingerprint, "domains": domains}, indent=1)
                )
            return
        held = json.loads(path.read_text())
        if held["fingerprint"] == index.fingerprint:
            return
        changed = [
            f"{name} ({held['domains'].get(name, [0])[0]} images then, "
            f"{domains.get(name, [0])[0]} now)"
            for name in sorted({*held["domains"], *domains})
            if held["domains"].get(name) != domains.get(name)
        ]
        raise UsageError(
            f"{self.root} holds results of other images under the name '{index.name}': "
            f"{', '.join(changed)} changed. Choose another --out, or bring the images back."
        )

    @property
    def board_folder(self) -> Path:
        """Folder of the leaderboards."""
        return self.root / "leaderboard"

    def trial_path(self, config: TrialConfig) -> Path:
        """File of a trial."""
        kind = "confirmations" if config.confirms else "trials"
        return self.root / kind / pair_slug(*config.pair) / f"{config.trial_id}.parquet"

    def board_path(self, query: str, gallery: str) -> Path:
        """Leaderboard of a directed pair."""
        return self.board_folder / f"{pair_slug(query, gallery)}.parquet"

    def write_trial(self, record: TrialRecord) -> None:
        """Writes an ended trial's file."""
        table = pa.Table.from_pylist(trial_rows(record), schema=trial_schema(self.ks))
        write_table(table, self.trial_path(record.config))

    def read_trials(
        self, study_ids: Iterable[str] | None = None, *, kind: str = "trials"
    ) -> list[TrialRecord]:
        """All trials (or ``confirmations``) of the folder, or of some studies, by id."""
        wanted = None if study_ids is None else set(study_ids)
        paths = [
            path
            for path in sorted((self.root / kind).glob("*/*.parquet"))
            if wanted is None or path.stem.partition(".")[0] in wanted
        ]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.read_trial, paths))

    def read_trial(self, path: Path) -> TrialRecord:
        """The trial of one file."""
        rows = pq.ParquetFile(path).read(use_threads=False).to_pylist()
        return record_from_rows(rows, self.ks)

    def find_trial(self, trial_id: str) -> TrialRecord | None:
        """The trial of that id, or None."""
        for path in (self.root / "trials").glob(f"*/{trial_id}.parquet"):
            return self.read_trial(path)
        return None

    def read_board(self, query: str, gallery: str) -> list[dict[str, Any]]:
        """Rows of a leaderboard; none where it does not exist yet."""
        path = self.board_path(query, gallery)
        return pq.ParquetFile(path).read().to_pylist() if path.exists() else []

    def write_board(self, query: str, gallery: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a leaderboard."""
        table = pa.Table.from_pylist(list(rows), schema=board_schema(self.ks))
        write_table(table, self.board_path(query, gallery))


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a Parquet file by rename: a reader sees the old file or the new one."""
    with replacing(path) as temporary:
        # Statistics of some 150 columns would be most of a small file, and nobody reads them.
        pq.write_table(table, temporary, compression="zstd", write_statistics=False)


class replacing:
    """Context of a temporary file beside ``path`` that takes its place if all goes well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        os.close(handle)
        self._temporary = Path(name)

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._temporary.chmod(0o644)
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


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


def record_from_rows(rows: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> TrialRecord:
    """The trial whose file holds these rows."""
    first = rows[0]
    record = TrialRecord(
        config=from_json(TrialConfig, first["config_json"]),
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
