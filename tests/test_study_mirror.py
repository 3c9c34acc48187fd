"""``study.db``, read as optuna-dashboard reads it."""

from dataclasses import replace

import optuna
import pytest
from study_db import study_storage
from study_examples import SPACE, epoch, record, study

from harness.leaderboard.mirror import StudyMirror
from harness.plan.samplers import describe_sampler, directions

NAME = "cluster-1/a-b"


def ended(sampler="tpe"):
    trials = [
        record(0, epoch(0, 0.1, 1, 1), epoch(1, 0.2, 1, 1), epoch(3, 0.4, 1, 1), origin="start"),
        record(1, epoch(1, 0.3, 1, 1), status="pruned"),
        record(2, status="failed"),
        record(3, epoch(1, 0.1, 1, 1), epoch(2, float("nan"), 1, 1), status="failed"),
        record(4, epoch(3, 1 / 3, 1, 1)),
    ]
    for trial in trials:
        trial.config = replace(trial.config, study=study(sampler=describe_sampler(sampler)))
    return {trial.config.number: trial for trial in trials}


def write(path, records, sampler="tpe"):
    StudyMirror(path).write(NAME, directions(describe_sampler(sampler)), SPACE, records)


def stored(path):
    return optuna.load_study(study_name=NAME, storage=study_storage(path)).trials


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_failed_is_fail_and_stopped_is_pruned_with_its_last_value(tmp_path, sampler):
    write(tmp_path / "study.db", ended(sampler), sampler)
    trials = stored(tmp_path / "study.db")
    assert [t.state.name for t in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "COMPLETE"]
    assert [t.user_attrs["number"] for t in trials] == [0, 1, 2, 3, 4]
    assert trials[0].params == {"K": 5, "tau": 0.1}
    assert trials[0].distributions == SPACE
    assert trials[0].duration is not None
    if sampler == "tpe":
        assert trials[0].intermediate_values == {1: 0.2, 3: 0.4}
        assert [t.value for t in trials] == [0.4, 0.3, None, None, pytest.approx(1 / 3)]
    else:
        assert trials[0].values == [0.4, 1.5]
        assert trials[0].intermediate_values == {}


def test_what_is_missing_is_added_and_what_is_wrong_is_made_anew(tmp_path):
    records, path = ended(), tmp_path / "study.db"
    write(path, {number: records[number] for number in (0, 1)})
    write(path, records)
    assert [t.user_attrs["number"] for t in stored(path)] == [0, 1, 2, 3, 4]
    del records[0]  # its file was deleted
    write(path, records)
    assert [t.user_attrs["number"] for t in stored(path)] == [1, 2, 3, 4]
    records[2] = record(2, epoch(3, 0.9, 1, 1))  # done again by another run
    write(path, records)
    assert [t.state.name for t in stored(path)] == ["PRUNED", "COMPLETE", "FAIL", "COMPLETE"]


@pytest.mark.parametrize("damage", ["another format", "cut short", "empty"])
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    path = tmp_path / "study.db"
    write(path, ended())
    kept = {
        "another format": b"what?" * 1000,
        "cut short": path.read_bytes()[:50_000],
        "empty": b"",
    }
    path.write_bytes(kept[damage])
    write(path, ended())
    assert [t.user_attrs["number"] for t in stored(path)] == [0, 1, 2, 3, 4]


def test_a_write_that_ctrl_c_cuts_off_is_completed_by_the_next(tmp_path, monkeypatch):
    add_trial, added = optuna.Study.add_trial, []

    def interrupted(self, trial):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(trial)
        add_trial(self, trial)

    mirror = StudyMirror(tmp_path / "study.db")
    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "add_trial", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mirror.write(NAME, ["maximize"], SPACE, ended())
    mirror.write(NAME, ["maximize"], SPACE, ended())
    assert [t.user_attrs["number"] for t in stored(tmp_path / "study.db")] == [0, 1, 2, 3, 4]


def test_trials_of_a_stranger_do_not_stay(tmp_path):
    path = tmp_path / "study.db"
    write(path, ended())
    study = optuna.load_study(study_name=NAME, storage=study_storage(path))
    study.optimize(lambda trial: 1.0, n_trials=1)
    write(path, ended())
    assert [t.user_attrs["number"] for t in stored(path)] == [0, 1, 2, 3, 4]


def test_a_reader_that_has_the_file_open_sees_trials_as_they_come(tmp_path):
    records, path = ended(), tmp_path / "study.db"
    mirror = StudyMirror(path)
    mirror.write(NAME, ["maximize"], SPACE, {0: records[0]})
    reader = optuna.load_study(study_name=NAME, storage=study_storage(path))
    assert len(reader.trials) == 1
    mirror.write(NAME, ["maximize"], SPACE, {0: records[0], 4: records[4]})
    assert [trial.number for trial in reader.trials] == [0, 1]


@pytest.mark.parametrize("name", ["what?", "a%41b", "with space", "a#b", "x?mode=memory"])
def test_the_file_stays_in_its_folder_whatever_the_folder_is_called(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    write(folder / "study.db", ended())
    assert [path.name for path in folder.iterdir()] == ["study.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(stored(folder / "study.db")) == 5
