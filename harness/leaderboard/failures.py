"""``failures.parquet``: the trials of a results folder that failed, where and why.

The trial files are the truth and this is an extract of them: a trial that is opened again and
finishes is no longer in it.
"""

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.config import study_id_of
from harness.datasets.scenario import pair_slug
from harness.leaderboard.schema import with_pandas_types
from harness.leaderboard.store import KINDS, ResultsStore, write_table
from harness.leaderboard.trial_file import parameter_cells
from harness.records import TrialRecord

FILE = "failures.parquet"


SCHEMA = with_pandas_types(
    [
        *((name, pa.string()) for name in ("trial_id", "study_id", "method", "scenario", "pair")),
        ("number", pa.int64()),
        ("params", pa.string()),
        ("attempts", pa.int64()),
        ("epoch", pa.int64()),
        *(
            (name, pa.string())
            for name in ("error_type", "error_last_line", "error_frame", "error_trace")
        ),
        *((name, pa.string()) for name in ("host", "device")),
        ("when", pa.timestamp("us", tz="UTC")),
    ]
)
"""``epoch``: epochs completed before the failure, null where there was no report; ``when``: when
the trial's file was written."""


class FailureLedger:
    """Keeps the file true while studies run.

    Rows of other studies stay as their own runs left them; where the file is missing, they are
    gathered from the trial files.

    Args:
        store: the results folder.
        study_ids: the studies of the present run, whose trials the driver knows.
    """

    def __init__(self, store: ResultsStore, study_ids: Iterable[str]) -> None:
        self._store = store
        ours = set(study_ids)
        path = store.root / FILE
        if path.exists():
            rows = pq.ParquetFile(path).read().to_pylist()
        else:
            rows = [
                row
                for kind in KINDS
                for row in failure_rows(
                    store, store.read_trials(_other_studies(store, ours, kind), kind=kind)
                )
            ]
        self._others = [row for row in rows if row["study_id"] not in ours]

    def write(self, records: Iterable[TrialRecord]) -> None:
        """Writes the file.

        Args:
            records: all ended trials of the studies of the present run, on whichever pair.
        """
        rows = [*self._others, *failure_rows(self._store, records)]
        rows.sort(key=lambda row: str(row["trial_id"]))
        write_table(pa.Table.from_pylist(rows, schema=SCHEMA), self._store.root / FILE)


def failure_rows(store: ResultsStore, records: Iterable[TrialRecord]) -> list[Mapping[str, Any]]:
    """A row for every failed trial among ``records``."""
    return [_row(record, store.trial_path(record.config)) for record in records if _failed(record)]


def _other_studies(store: ResultsStore, ours: set[str], kind: str) -> set[str]:
    """The studies with trial files of a kind in the results folder, without ``ours``."""
    files = (store.root / kind).glob("*/*.parquet")
    return {study_id_of(path.stem) for path in files} - ours


def _failed(record: TrialRecord) -> bool:
    return record.status == "failed"


def _row(record: TrialRecord, path: Path) -> dict[str, Any]:
    config = record.config
    written = path.stat().st_mtime if path.exists() else None
    return {
        "trial_id": config.trial_id,
        "study_id": config.study.study_id,
        "method": config.study.method,
        "scenario": config.study.scenario,
        "pair": pair_slug(*config.pair),
        "number": config.number,
        "params": parameter_cells(config)["params"],
        "attempts": record.attempts,
        "epoch": max(record.epochs, default=None),
        "error_type": record.error_type or None,
        "error_last_line": record.error_last_line or None,
        "error_frame": record.error_frame or None,
        "error_trace": record.error_trace or None,
        "host": record.host or None,
        "device": record.device or None,
        "when": None
        if written is None
        else datetime.datetime.fromtimestamp(written, tz=datetime.UTC),
    }
