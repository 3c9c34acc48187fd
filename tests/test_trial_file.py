"""A trial file holds its record twice; the columns are the truth."""

import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from study_examples import epoch, record

from harness.leaderboard import trial_file
from harness.leaderboard.schema import trial_schema
from harness.leaderboard.store import ResultsStore, parquet_bytes, table_of
from harness.leaderboard.trial_file import read_record, trial_rows, with_record
from harness.records import EpochRecord

KS = (1, 5, 15)


def examples():
    nan_end = EpochRecord(
        epoch=2,
        objective=math.nan,
        losses={"total": math.nan, "no such loss": 1.0},
        validators={"mutual_nn": np.float64(0.5), "no such score": 1.0},
        metrics={"ab": {"P@1": np.float64(50.0), "mAP@All": math.nan, "n_valid_queries": 9}},
    )
    failed = record(1, status="failed")
    failed.error_type, failed.error_trace, failed.attempts = "ValueError", "line\nline", 3
    noted = record(2, epoch(0, 0.1, 1, 2), epoch(1, 1 / 3, 3, 4))
    noted.notes, noted.versions, noted.batch_size = ("one\ntwo", "", "three"), "{}", 12
    return [noted, failed, record(3, nan_end, status="failed"), record(4, epoch(3, -1e-9, 0, 100))]


@pytest.mark.parametrize("number", range(4))
def test_the_record_beside_the_columns_is_what_the_columns_say(number):
    parquet = parquet_bytes(table_of(trial_rows(examples()[number]), trial_schema(KS)))
    by_columns = read_record(parquet, KS)
    held = with_record(parquet, examples()[number], KS)
    assert trial_file._held_text(held) is not None
    by_record = read_record(held, KS)
    # NaN is not equal to itself: as text, with whole numbers and reals alike.
    assert repr(by_record.epochs).replace("9.0", "9") == repr(by_columns.epochs).replace("9.0", "9")
    by_record.epochs = by_columns.epochs = {}
    assert by_record == by_columns


def test_a_file_that_somebody_changed_is_read_by_its_columns(tmp_path):
    store = ResultsStore(tmp_path, "toy", KS)
    held = record(0, epoch(1, 0.25, 1, 1), epoch(3, 0.5, 1, 1))
    store.write_trial(held)
    path = store.trial_path(held.config)
    table = pq.ParquetFile(path).read()
    assert table.schema.equals(trial_schema(KS), check_metadata=True)
    frame = pd.read_parquet(path)
    frame.loc[frame["epoch"] == 3, "objective_value"] = 0.75
    frame.to_parquet(path)
    assert store.read_trial(path).last.objective == 0.75


def test_a_file_whose_pages_changed_in_place_is_read_by_its_columns():
    held = record(0, epoch(3, 0.4375, 1, 1))
    parquet = parquet_bytes(table_of(trial_rows(held), trial_schema(KS)))
    data = with_record(parquet, held, KS)
    before, after = (np.float64(value).tobytes() for value in (0.4375, 0.5625))
    changed = read_record(data.replace(before, after), KS)
    assert (changed.last.objective, changed.last.validators["mutual_nn"]) == (0.5625, 0.5625)


def test_trial_files_and_boards_share_one_schema_that_pandas_reads_with_gaps(tmp_path):
    store = ResultsStore(tmp_path, "toy", KS)
    for held in examples():
        store.write_trial(held)
    folder = tmp_path / "toy" / "trials"
    schemas = [pq.read_schema(path) for path in sorted(folder.glob("*/*.parquet"))]
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
    frame = pd.read_parquet(folder)
    assert str(frame["K"].dtype) == str(frame["epoch"].dtype) == "Int64"
    assert frame["epoch"].isna().sum() == 2
    assert str(frame["P@1"].dtype) == "float64"
    assert str(frame["host"].dtype) == "str"
