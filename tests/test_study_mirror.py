"""``study.db`` is written by plain SQL: it must be what Optuna itself would have written."""

from dataclasses import replace

import optuna
import pytest
from study_examples import epoch, plan, record, study

from harness.search import study_mirror
from harness.search.pair_search import PairSearch
from harness.search.samplers import describe_sampler
from harness.search.study_mirror import StudyMirror

PAIR = ("a", "b")


def ended(sampler="tpe"):
    held = [
        record(0, epoch(0, 0.1, 1, 1), epoch(1, 0.2, 1, 1), epoch(3, 0.4, 1, 1), origin="start"),
        record(1, epoch(1, 0.3, 1, 1), status="pruned"),
        record(2, status="failed"),
        record(3, epoch(1, 0.1, 1, 1), epoch(2, float("nan"), 1, 1), status="failed"),
        record(4, epoch(3, 1 / 3, 1, 1)),
    ]
    for trial in held:
        trial.config = replace(trial.config, study=study(sampler=describe_sampler(sampler)))
    return held


def stored(path, search):
    name = f"{search.plan.config.study_id}/a-b"
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}").trials


def same(left, right):
    fields = ("number", "state", "values", "params", "distributions", "user_attrs")
    return all(
        getattr(left, name) == getattr(right, name) for name in (*fields, "intermediate_values")
    )


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_trials_stand_in_the_file_as_optuna_writes_them(tmp_path, sampler, monkeypatch):
    search = PairSearch(plan(9, sampler=describe_sampler(sampler)), PAIR, ended(sampler), [])
    StudyMirror(tmp_path / "fast.db").reconcile(search)
    # A file of other tables than we know is left to Optuna.
    monkeypatch.setattr(study_mirror, "SCHEMA_VERSION", -1)
    StudyMirror(tmp_path / "slow.db").reconcile(search)
    fast, slow = stored(tmp_path / "fast.db", search), stored(tmp_path / "slow.db", search)
    assert [trial.state.name for trial in fast] == [
        "COMPLETE",
        "PRUNED",
        "FAIL",
        "FAIL",
        "COMPLETE",
    ]
    assert len(fast) == len(slow) == 5
    for left, right in zip(fast, slow, strict=True):
        assert same(left, right), (left, right)
        assert abs((left.datetime_complete - right.datetime_complete).total_seconds()) < 60
        assert left.duration is not None


def test_what_is_missing_is_added_and_what_is_wrong_is_made_anew(tmp_path):
    records = ended()
    path = tmp_path / "study.db"
    StudyMirror(path).reconcile(PairSearch(plan(9), PAIR, records[:2], []))
    search = PairSearch(plan(9), PAIR, records, [])
    StudyMirror(path).reconcile(search)
    assert [trial.user_attrs["number"] for trial in stored(path, search)] == [0, 1, 2, 3, 4]
    fewer = PairSearch(plan(9), PAIR, records[1:], [])  # the file of trial 0 was deleted
    StudyMirror(path).reconcile(fewer)
    assert [trial.user_attrs["number"] for trial in stored(path, fewer)] == [1, 2, 3, 4]
    finished = record(2, epoch(3, 0.9, 1, 1))  # done again by another run
    retried = PairSearch(plan(9), PAIR, [records[1], finished, *records[3:]], [])
    StudyMirror(path).reconcile(retried)
    assert [trial.state.name for trial in stored(path, retried)][1] == "COMPLETE"


def test_a_reader_that_has_the_file_open_sees_trials_as_they_come(tmp_path):
    search = PairSearch(plan(9), PAIR, [], [])
    mirror = StudyMirror(tmp_path / "study.db")
    mirror.reconcile(search)
    name = f"{search.plan.config.study_id}/a-b"
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/study.db")
    assert study.trials == []
    mirror.add(search, ended()[0])
    assert len(study.trials) == 1
    mirror.add(search, ended()[4])
    assert [trial.number for trial in study.trials] == [0, 1]
