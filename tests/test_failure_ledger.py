"""``failures.parquet`` says of every failed trial of a folder what happened."""

import dataclasses
import json

import pandas as pd
from driven_search import PAIR, driver, failed
from study_examples import plan, record, study, toy_index
from test_search_driver import finish

from harness.leaderboard.failures import SCHEMA
from harness.leaderboard.store import ResultsStore


def fail(search, config):
    """Ends a trial whose process raised."""
    return search.end(config, failed(config, "ValueError", "no", "x.py:1 f", "long trace"))


def read(folder):
    return pd.read_parquet(folder / "toy" / "failures.parquet")


def test_a_trial_that_failed_before_its_first_report_is_in_the_ledger_at_once(tmp_path):
    search = driver(tmp_path, plan(3))
    finish(search, search.next_trial())
    config = search.next_trial()
    search.restarted(config)
    fail(search, config)
    row = read(tmp_path).iloc[0]
    assert len(read(tmp_path)) == 1
    assert (row["trial_id"], row["study_id"]) == (config.trial_id, config.study.study_id)
    assert (row["pair"], row["number"], row["attempts"]) == ("-".join(PAIR), 1, 2)
    assert json.loads(row["params"]) == dict(config.params)
    assert (row["error_type"], row["error_last_line"]) == ("ValueError", "no")
    assert (row["error_frame"], row["error_trace"]) == ("x.py:1 f", "long trace")
    assert pd.isna(row["epoch"])
    assert str(read(tmp_path)["epoch"].dtype) == "Int64"
    written = search.store.trial_path(config).stat().st_mtime
    assert abs(row["when"].timestamp() - written) < 1e-3
    assert str(row["when"].tz) == "UTC"
    search.store.close()


def test_without_failures_the_file_is_there_with_its_columns(tmp_path):
    search = driver(tmp_path, plan(1))
    finish(search, search.next_trial())
    search.finish()
    search.store.close()
    assert list(read(tmp_path)) == SCHEMA.names
    assert len(read(tmp_path)) == 0
    assert str(read(tmp_path)["when"].dtype) == "datetime64[us, UTC]"


def test_a_trial_that_finishes_after_all_vanishes(tmp_path):
    """Tune leaves the error file of a retried trial in its folder, even when it has finished."""
    search = driver(tmp_path, plan(2))
    broken = search.next_trial()
    fail(search, broken)
    finish(search, search.next_trial())
    search.finish()
    search.store.close()
    assert list(read(tmp_path)["trial_id"]) == [broken.trial_id]
    search = driver(tmp_path, plan(2), retry_failed=True)
    again = search.next_trial()
    assert again.trial_id == broken.trial_id
    finish(search, again)
    search.finish()
    search.store.close()
    assert len(read(tmp_path)) == 0


def test_the_same_command_again_keeps_the_failures_of_all_studies(tmp_path):
    store = ResultsStore(tmp_path, "toy", (1, 5, 15))
    store.open_for_writing(toy_index())
    other = study(seed=9)
    held = record(0, status="failed")
    config = dataclasses.replace(held.config, study=other, trial_id=f"{other.study_id}.a-b.0000")
    held = dataclasses.replace(held, config=config, error_type="OSError")
    store.write_trial(held)
    store.close()
    search = driver(tmp_path, plan(1))
    broken = search.next_trial()
    fail(search, broken)
    search.store.close()
    expected = sorted([config.trial_id, broken.trial_id])
    assert list(read(tmp_path)["trial_id"]) == expected
    for _ in range(2):
        search = driver(tmp_path, plan(1))
        search.finish()
        search.store.close()
        assert list(read(tmp_path)["trial_id"]) == expected
