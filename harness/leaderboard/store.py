"""The results folder of one data set: where the driver writes and everybody reads.

Files appear by rename, whole or not at all. One driver at a time: a lock file says so.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from harness.config import TrialConfig, content_hash, study_id_of
from harness.datasets.contract import DatasetIndex
from harness.datasets.scenario import pair_slug
from harness.errors import UsageError
from harness.leaderboard.floors import one_row_each
from harness.leaderboard.schema import SCHEMA_VERSION, board_schema, trial_schema
from harness.leaderboard.trial_file import read_record, trial_rows
from harness.records import TrialRecord
from harness.whole_files import UNFINISHED, replacing

KINDS = ("trials", "confirmations")
"""Folders of trial files."""


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
            self._bring_up()
        except UsageError:
            self.close()
            raise

    def close(self) -> None:
        """Gives the lock back."""
        self._lock.release()

    def _drop_unfinished(self) -> None:
        """Removes what a killed driver left half written; under the lock no other one writes."""
        for path in self.root.rglob(UNFINISHED):
            path.unlink(missing_ok=True)

    def _check_images(self, index: DatasetIndex) -> None:
        """Refuses to mix results of two data sets of one name; notes the images at first."""
        path = self.root / "dataset.json"
        domains = {d.name: [len(d), content_hash([*d.paths, *d.digests])] for d in index.domains}
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(
                    json.dumps(
                        {
                            "fingerprint": index.fingerprint,
                            "domains": domains,
                            "schema_version": SCHEMA_VERSION,
                        },
                        indent=1,
                    )
                )
            return
        before = json.loads(path.read_text())
        if before["fingerprint"] == index.fingerprint:
            return
        changed = [
            f"{name} ({before['domains'].get(name, [0])[0]} images then, "
            f"{domains.get(name, [0])[0]} now)"
            for name in sorted({*before["domains"], *domains})
            if before["domains"].get(name) != domains.get(name)
        ]
        raise UsageError(
            f"{self.root} holds results of other images under the name '{index.name}': "
            f"{', '.join(changed)} changed. Choose another --out, or bring the images back."
        )

    def _bring_up(self) -> None:
        """Rewrites the files of an older schema version, once.

        Their boards named the versions of the run that last wrote them: here each row takes those
        of its trial, or none.
        """
        path = self.root / "dataset.json"
        described = json.loads(path.read_text())
        if described.get("schema_version") == SCHEMA_VERSION:
            return
        versions: dict[str, str] = {}
        for kind in KINDS:
            for trial_path in self.trial_paths(kind):
                record = self.read_trial(trial_path)
                versions[record.config.trial_id] = record.versions
                self.write_trial(record)
        for board_path in self.board_folder.glob("*.parquet"):
            rows = pq.ParquetFile(board_path).read().to_pylist()
            # It is not known of which class split these chance rows are; they are made anew.
            rows = [r for r in rows if r["kind"] != "chance" or r["scenario"] == "close"]
            rows = one_row_each(rows)
            for row in rows:
                row["versions"] = versions.get(row["trial_id"]) or None
                row["git_commit"], row["schema_version"] = None, SCHEMA_VERSION
            write_table(table_of(rows, board_schema(self.ks)), board_path)
        with replacing(path) as temporary:
            described["schema_version"] = SCHEMA_VERSION
            temporary.write_text(json.dumps(described, indent=1))

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
        write_table(
            table_of(trial_rows(record), trial_schema(self.ks)), self.trial_path(record.config)
        )

    def read_trials(
        self, study_ids: Iterable[str] | None = None, *, kind: str = "trials"
    ) -> list[TrialRecord]:
        """All trials (or ``confirmations``) of the folder, or of some studies, by id."""
        wanted = None if study_ids is None else set(study_ids)
        paths = [
            path
            for path in self.trial_paths(kind)
            if wanted is None or study_id_of(path.stem) in wanted
        ]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.read_trial, paths))

    def trial_paths(self, kind: str = "trials") -> list[Path]:
        """The files of all ended trials (or ``confirmations``), by name."""
        return sorted((self.root / kind).glob("*/*.parquet"))

    def read_trial(self, path: Path) -> TrialRecord:
        """The trial of one file."""
        return read_record(path.read_bytes(), self.ks)

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
        write_table(table_of(rows, board_schema(self.ks)), self.board_path(query, gallery))


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The table of rows under a schema; a cell that a row lacks is null.

    ``Table.from_pylist`` looks every row up for every column, most of which no row has.
    """
    named = {name for row in rows for name in row}
    arrays = [
        pa.array([row.get(field.name) for row in rows], field.type)
        if field.name in named
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file.

    Our files have many columns and few rows: what is written once per column weighs more than the
    values. So there are neither statistics nor dictionaries, nor the Arrow schema a second time
    (Parquet's own types say all of it), and only texts, which repeat, are compressed.
    """
    texts = {field.name for field in table.schema if field.type == pa.string()}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression={n: "snappy" if n in texts else "none" for n in table.column_names},
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        # What pandas has to know goes with the Arrow schema unless it is written by hand.
        notes = table.schema.metadata or {}
        writer.add_key_value_metadata({k.decode(): v.decode() for k, v in notes.items()})
    return bytes(sink.getvalue().to_pybytes())


def write_table(table: pa.Table, path: Path) -> None:
    """Writes a Parquet file by rename: a reader sees the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_bytes(parquet_bytes(table))
