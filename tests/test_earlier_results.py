"""Results that the version before wrote: they open, read, resume and can be replayed."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from study_examples import epoch, record, study

from harness.leaderboard.earlier_versions import continued as continued_study
from harness.leaderboard.schema import SCHEMA_VERSION, board_schema, trial_schema
from harness.leaderboard.store import ResultsStore

STORED = Path(__file__).parent / "golden" / "results_v1"
FLAGS = (
    *("--dataset", "shapes", "--pairs", "clipart-real", "--epochs", "2", "--image-size", "32"),
    *("--backbone", "test_resnet", "--seed", "3"),
)
KS = (1, 5, 15)


def run(command, *flags):
    return subprocess.run(
        [sys.executable, "-m", f"harness.{command}", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """The folder after the same command with two more trials, and what that said."""
    out = tmp_path_factory.mktemp("earlier") / "results"
    shutil.copytree(STORED, out)
    done = run("tune", *FLAGS, "--trials", "4", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "shapes", done.stdout


def test_the_same_command_goes_on_with_what_was_half_done_and_trains_nothing_twice(continued):
    folder, said = continued
    assert "Results of an earlier version are continued" in said
    assert "4 trials over 1 pair, 2 of them done before" in said
    trials = pd.read_parquet(folder / "trials").drop_duplicates("trial_id")
    before = pd.read_parquet(STORED / "shapes" / "trials").drop_duplicates("trial_id")
    assert sorted(trials["number"]) == [0, 1, 2, 3]
    assert set(before["trial_id"]) < set(trials["trial_id"])
    assert trials["study_id"].nunique() == 1
    by_number = trials.set_index("number")
    assert (by_number.loc[2, "K"], by_number.loc[2, "tau"]) == (9, 0.31)
    assert not list((folder / "in_flight").iterdir())


def test_all_files_have_the_schema_of_today_and_old_rows_name_no_run_but_their_own(continued):
    folder, _ = continued
    for path in folder.glob("trials/*/*.parquet"):
        assert pq.read_schema(path).equals(trial_schema(KS), check_metadata=True)
    for path in folder.glob("leaderboard/*.parquet"):
        assert pq.read_schema(path).equals(board_schema(KS), check_metadata=True)
    trials = pd.read_parquet(folder / "trials").drop_duplicates("trial_id").set_index("number")
    assert (trials["schema_version"] == SCHEMA_VERSION).all()
    # What the version before did not note stays unknown; what this run trained says it all.
    assert trials.loc[[0, 1], ["git_commit", "command_line"]].isna().all(axis=None)
    assert trials.loc[[2, 3], "command_line"].str.contains("harness.tune").all()
    before = pd.read_parquet(STORED / "shapes" / "trials").drop_duplicates("trial_id")
    versions = before.set_index("number")["versions"]
    assert (trials.loc[[0, 1], "versions"] == versions).all()


def test_figures_of_old_trials_are_what_they_were(continued):
    folder, _ = continued
    now, then = pd.read_parquet(folder / "trials"), pd.read_parquet(STORED / "shapes" / "trials")
    keys = ["trial_id", "epoch", "query"]
    figures = [name for name in then.columns if name in now.columns and name not in keys]
    figures = [name for name in figures if pd.api.types.is_float_dtype(then[name])]
    then = then.set_index(keys)[figures].sort_index()
    pd.testing.assert_frame_equal(now.set_index(keys)[figures].loc[then.index], then)


def test_an_old_trial_is_replayed(continued):
    folder, _ = continued
    trial_id = pd.read_parquet(STORED / "shapes" / "trials")["trial_id"].min()
    done = run("train", "--replay", trial_id, "--out", str(folder.parent))
    assert "3 epochs" in done.stdout or "is the first that differs" in done.stdout, done.stderr


@pytest.mark.parametrize(("file", "goes_on"), [("then", True), ("another", False), ("", False)])
def test_a_study_of_a_plug_in_goes_on_with_the_same_file_alone(tmp_path, file, goes_on):
    """The version before digested the file of a plug-in as a whole."""
    store = ResultsStore(tmp_path, "toy", KS)
    made = record(0, epoch(3, 0.5, 1, 1))
    earlier = replace(study(method_digest="then"), legacy_id="cluster-01234567")
    made.config = replace(made.config, study=earlier, trial_id="cluster-01234567.a-b.0000")
    store.write_trial(made)
    now = study(method_digest="source of now")
    found = continued_study(now, store, file)
    assert found == (earlier if goes_on else now)
