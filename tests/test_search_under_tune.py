"""What Optuna hears of trials that Tune stops early."""

import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a search with early stopping."""
    folder = tmp_path_factory.mktemp("made_up")
    done = subprocess.run(
        [sys.executable, "search_under_tune.py", str(folder)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_f2_a_trial_that_tune_stops_is_pruned_with_the_value_it_was_stopped_at(folder):
    """Tune's own searcher never hears the stopping report and tells COMPLETE with the one before.

    Every epoch of these trials has another value, so one report too old is another number.
    """
    rows = pd.read_parquet(folder / "toy" / "trials")
    rows = rows[rows["query"] == "a"].set_index(["number", "epoch"])
    last = rows.reset_index().groupby("number")["epoch"].max()
    storage = f"sqlite:///{folder}/toy/study.db"
    name = optuna.get_all_study_names(storage)[0]
    stored = {
        trial.user_attrs["number"]: trial
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    }
    assert set(stored) == set(range(12))
    states = {number: trial.state.name for number, trial in stored.items()}
    assert set(states.values()) == {"COMPLETE", "PRUNED"}
    for number, trial in stored.items():
        row = rows.loc[(number, last[number])]
        assert (states[number], row["status"]) in {("COMPLETE", "finished"), ("PRUNED", "pruned")}
        assert (last[number] == 9) == (states[number] == "COMPLETE")
        assert trial.value == pytest.approx(1 / (1 + abs(row["K"] - 20)) + last[number] / 1000)
        assert max(trial.intermediate_values) == last[number]


def test_f2_common_start_trials_are_never_stopped(folder):
    rows = pd.read_parquet(folder / "toy" / "trials")
    starts = rows[rows["number"] < 4]
    assert set(starts["status"]) == {"finished"}
