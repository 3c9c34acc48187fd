"""The file of a trial says all that a later run has to know of it."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from study_examples import epoch, record

from harness.leaderboard.schema import trial_schema
from harness.leaderboard.store import ResultsStore, parquet_bytes, table_of
from harness.leaderboard.trial_file import read_record, trial_rows
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
def test_a_record_comes_back_from_its_file(number):
    before = examples()[number]
    parquet = parquet_bytes(table_of(trial_rows(before), trial_schema(KS)))
    after = read_record(parquet, KS)
    assert sorted(after.epochs) == sorted(before.epochs)
    for number, report in before.epochs.items():
        again = after.epochs[number]
        for figures in ("losses", "validators"):
            finite = {k: v for k, v in getattr(report, figures).items() if not math.isnan(v)}
            assert getattr(again, figures) == finite
        assert again.metrics["ab"] == {
            name: value for name, value in report.metrics["ab"].items() if not math.isnan(value)
        }
        assert repr(again.objective) == repr(float(report.objective))
    notes = tuple(filter(None, "\n".join(before.notes).split("\n")))
    size = before.batch_size or before.config.study.batch_size
    assert replace(after, epochs={}) == replace(before, epochs={}, notes=notes, batch_size=size)


def test_a_trial_says_for_ever_with_what_it_was_made(tmp_path):
    store = ResultsStore(tmp_path, "toy", KS)
    made = record(0, epoch(3, 0.5, 1, 1))
    made.versions, made.git_commit = '{"torch": "1.0"}', "abc"
    made.command_line = "python -m harness.tune --pairs 'a b-c'"
    made.host, made.device = "there", "cpu"
    store.write_trial(made)
    again = store.read_trial(store.trial_path(made.config))
    for name in ("versions", "git_commit", "command_line", "host", "device"):
        assert getattr(again, name) == getattr(made, name)
    row = pd.read_parquet(tmp_path / "toy" / "trials").iloc[0]
    assert (row["git_commit"], row["command_line"]) == (made.git_commit, made.command_line)


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
