"""What Optuna hears of trials that Tune stops early."""

import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from study_db import study_storage


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


@pytest.fixture(scope="module")
def trials(folder):
    """One row per trial and epoch, without the second direction, by study and pair."""
    rows = pd.read_parquet(folder / "toy" / "trials").drop_duplicates(["trial_id", "epoch"])
    rows["pair"] = rows["trial_id"].str.split(".").str[1]
    return dict(list(rows.groupby(["study_id", "pair"])))


@pytest.fixture(scope="module")
def stored(folder):
    """Optuna's trials by number, by the name of their study."""
    storage = study_storage(folder / "toy" / "study.db")
    return {
        name: {
            trial.user_attrs["number"]: trial
            for trial in optuna.load_study(study_name=name, storage=storage).trials
        }
        for name in optuna.get_all_study_names(storage)
    }


def test_one_tune_run_holds_many_studies_with_all_states_right(trials, stored):
    """Two studies on two pairs; each is asked, compared and stopped among its own trials alone."""
    assert len(trials) == 4
    assert set(stored) == {"/".join(key) for key in trials}
    proposed = set()
    for key, rows in trials.items():
        ended = stored["/".join(key)]
        status = rows.groupby("number")["status"].first()
        assert set(ended) == set(status.index) == set(range(12))
        named = {"finished": "COMPLETE", "pruned": "PRUNED"}
        assert {number: trial.state.name for number, trial in ended.items()} == {
            number: named[held] for number, held in status.items()
        }
        assert set(status) == {"finished", "pruned"}
        settings = rows.groupby("number")[["K", "tau"]].first()
        for number, trial in ended.items():
            assert trial.params == dict(settings.loc[number])
        proposed.add(tuple(settings.loc[4:, "tau"]))
    assert len(proposed) == 4


def test_a_trial_that_tune_stops_is_pruned_with_the_value_it_was_stopped_at(trials, stored):
    """Tune's own searcher never hears the stopping report and tells COMPLETE with the one before.

    Every epoch of these trials has another value, so one report too old is another number.
    """
    for key, rows in trials.items():
        last = rows.groupby("number")["epoch"].max()
        by_epoch = rows.set_index(["number", "epoch"])
        for number, trial in stored["/".join(key)].items():
            row = by_epoch.loc[(number, last[number])]
            assert (last[number] == 9) == (trial.state.name == "COMPLETE")
            assert trial.value == pytest.approx(1 / (1 + abs(row["K"] - 20)) + last[number] / 1000)
            assert max(trial.intermediate_values) == last[number]


def test_common_start_trials_are_never_stopped(folder):
    rows = pd.read_parquet(folder / "toy" / "trials")
    starts = rows[rows["number"] < 4]
    assert set(starts["status"]) == {"finished"}
