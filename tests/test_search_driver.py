"""The driver by hand: no Ray, no training, made-up reports."""

import optuna
import pandas as pd
import pytest
from optuna.distributions import IntDistribution
from study_examples import CONTEXT, PAPER, SPACE, epoch, plan, record, toy_index

from harness.evaluation.vault import LabelVault
from harness.leaderboard.store import ResultsStore
from harness.search import proposals
from harness.search.driver import SearchDriver
from harness.search.failure import Failure
from harness.search.pair_search import PairSearch
from harness.search.samplers import describe_sampler, sampler_names
from harness.search.start_points import (
    start_point,
)
from harness.training.report import About, EpochReport

PAIR = ("a", "b")
ABOUT = About(host="h", device="cpu", batch_size=16, notes=())
SEALED = LabelVault([0, 1, 0], [1, 0, 1], (1, 5, 15)).chance()


def driver(folder, *plans, pairs=(PAIR,), **options):
    store = ResultsStore(folder, "toy", (1, 5, 15))
    store.open_for_writing(toy_index())
    return SearchDriver(plans, pairs, toy_index(), store, folder / "storage", CONTEXT, **options)


def objective(config) -> float:
    """A smooth bowl over the space with its top at K = 20."""
    return -abs(config.params["K"] - 20) / 50 - abs(config.params["tau"] - 0.1)


def finish(search, config, epochs=3):
    for number in range(epochs + 1):
        report = EpochReport(epoch=number, objective=objective(config), sealed=SEALED, seconds=0.1)
        search.report(config.trial_id, [report], ABOUT)
    return search.end(config.trial_id)


def end_one(search, config, fails=None):
    """Ends a trial: finished, every fifth stopped early, the one numbered ``fails`` failed."""
    if config.number == fails:
        return search.end(config.trial_id, Failure("ValueError", "no", "", ""))
    return finish(search, config, epochs=1 if fails is not None and config.number % 5 == 4 else 3)


def run_all(search, fails=None):
    configs = []
    while (config := search.next_trial()) is not None:
        configs.append(config)
        end_one(search, config, fails)
    search.write_boards()
    search.store.close()
    return configs


def settings(configs):
    return [(c.params["K"], c.params["tau"]) for c in configs]


def test_the_first_trial_takes_the_papers_values_and_the_start_is_common_to_all_pairs(tmp_path):
    search = driver(tmp_path, plan(6), pairs=(("a", "b"), ("b", "a")))
    configs = run_all(search)
    by_pair = {pair: [c for c in configs if c.pair == pair] for pair in (("a", "b"), ("b", "a"))}
    for held in by_pair.values():
        assert len(held) == 6
        assert (held[0].params["K"], held[0].params["tau"]) == (12, 0.2)
        assert held[0].is_paper_point
        assert [c.origin for c in held] == ["start"] * 2 + ["proposed"] * 4
        assert len(set(settings(held))) == 6
    first, second = by_pair.values()
    assert settings(first)[:2] == settings(second)[:2]
    assert settings(first)[2:] != settings(second)[2:]


def test_pairs_are_served_in_turn(tmp_path):
    search = driver(tmp_path, plan(3), pairs=(("a", "b"), ("b", "a")))
    handed = [search.next_trial().pair for _ in range(6)]
    assert handed == [("a", "b"), ("b", "a")] * 3
    assert search.next_trial() is None


def test_f5_proposals_are_a_function_of_the_seed(tmp_path):
    first = settings(run_all(driver(tmp_path / "1", plan(8))))
    assert first == settings(run_all(driver(tmp_path / "2", plan(8))))
    assert first != settings(run_all(driver(tmp_path / "3", plan(8, seed=1))))


@pytest.mark.parametrize(
    ("sampler", "trials", "cut"),
    # cmaes and nsga2 run into their second generation before the cut and after it.
    [
        ("tpe", 12, 7),
        ("random", 8, 5),
        ("qmc", 8, 5),
        ("gp", 10, 7),
        ("cmaes", 30, 20),
        ("nsga2", 70, 45),
    ],
)
def test_f3_f5_an_interrupted_search_proposes_what_an_uninterrupted_one_does(
    tmp_path, sampler, trials, cut
):
    asked = plan(trials, sampler=describe_sampler(sampler))
    whole = settings(run_all(driver(tmp_path / "whole", asked), fails=cut - 2))
    search = driver(tmp_path / "cut", asked)
    for _ in range(cut):
        end_one(search, search.next_trial(), fails=cut - 2)
    left = search.next_trial()
    search.store.close()  # killed here, with one trial in flight
    search = driver(tmp_path / "cut", asked)
    assert search.ended == cut
    rest = run_all(search, fails=cut - 2)
    assert rest[0] == left
    assert len(rest) == trials - cut
    frame = pd.read_parquet(tmp_path / "cut" / "toy" / "trials")
    ended = frame.drop_duplicates("trial_id").sort_values("number")
    assert list(zip(ended["K"], ended["tau"], strict=True)) == whole


def test_f4_the_same_command_trains_nothing_and_extending_repeats_no_configuration(tmp_path):
    """With the same study and seed, Tune's own searcher proposes the same values once more."""
    run_all(driver(tmp_path, plan(4)))
    assert run_all(driver(tmp_path, plan(4))) == []
    more = run_all(driver(tmp_path, plan(9)))
    assert [c.number for c in more] == [4, 5, 6, 7, 8]
    frame = pd.read_parquet(tmp_path / "toy" / "trials").drop_duplicates("trial_id")
    assert len(frame) == 9
    assert not frame.duplicated(["K", "tau"]).any()


def test_f3_a_driver_that_died_between_file_and_ledger_counts_the_trial_once(tmp_path):
    search = driver(tmp_path, plan(2))
    config = search.next_trial()
    finish(search, config)
    search._in_flight.add(config)  # as if the driver had died just before it forgot the trial
    search.store.close()
    search = driver(tmp_path, plan(2))
    assert [c.number for c in run_all(search)] == [1]


def test_f1_f2_failed_is_fail_and_pruned_is_pruned_with_its_last_value(tmp_path):
    """Tune's own searcher leaves NaN trials RUNNING and records pruned ones as COMPLETE, with
    the value of the report before the last.
    """
    search = driver(tmp_path, plan(4))
    finish(search, search.next_trial())
    pruned = search.next_trial()
    for number, value in enumerate((0.1, 0.2, 0.3)):
        report = EpochReport(epoch=number, objective=value, sealed=SEALED, seconds=0.1)
        search.report(pruned.trial_id, [report], ABOUT)
    search.end(pruned.trial_id)
    failed = search.next_trial()
    search.end(failed.trial_id, Failure("ValueError", "no", "x.py:1 f", "trace"))
    nan = search.next_trial()
    report = EpochReport(epoch=1, objective=float("nan"), sealed=SEALED, seconds=0.1)
    search.report(nan.trial_id, [report], ABOUT)
    search.end(nan.trial_id, Failure("NonFiniteLossError", "nan", "", ""))
    search.store.close()
    name = f"{plan(4).config.study_id}/a-b"
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    stored = optuna.load_study(study_name=name, storage=storage).trials
    assert [t.state.name for t in stored] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert stored[1].value == 0.3
    assert stored[1].intermediate_values == {1: 0.2, 2: 0.3}
    # What the sampler learns from is told the same.
    heard = search.searches[0]._proposals._study.trials
    assert [t.state for t in heard] == [t.state for t in stored]
    assert heard[1].value == stored[1].value
    assert stored[0].params == {"K": 12, "tau": 0.2}


def test_a_retried_trial_counts_once_in_study_db_and_in_the_files(tmp_path):
    search = driver(tmp_path, plan(2))
    failed = search.next_trial()
    search.end(failed.trial_id, Failure("ValueError", "no", "", ""))
    finish(search, search.next_trial())
    search.store.close()
    search = driver(tmp_path, plan(2), retry_failed=True)
    assert [c.trial_id for c in run_all(search)] == [failed.trial_id]
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    name = optuna.get_all_study_names(storage)[0]
    stored = optuna.load_study(study_name=name, storage=storage).trials
    assert sorted(t.user_attrs["number"] for t in stored) == [0, 1]
    assert {t.state.name for t in stored} == {"COMPLETE"}


def test_f1_a_trial_that_ends_on_a_nan_objective_has_failed_everywhere(tmp_path):
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    for number in range(4):
        report = EpochReport(epoch=number, objective=float("nan"), sealed=SEALED, seconds=0.1)
        search.report(config.trial_id, [report], ABOUT)
    assert search.end(config.trial_id).status == "failed"
    search.finish()
    search.store.close()
    row = pd.read_parquet(tmp_path / "toy" / "failures.parquet").iloc[0]
    assert row["error_type"] == "NonFiniteObjective"


def test_f1_one_report_that_is_not_finite_ends_a_start_trial_as_failed(tmp_path):
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    assert config.origin == "start"
    stops = []
    for number, value in enumerate([float("nan"), 0.2, float("inf")]):
        report = EpochReport(epoch=number, objective=value, sealed=SEALED, seconds=0.1)
        stops.append(search.report(config.trial_id, [report], ABOUT))
    assert stops == [False, False, True]
    held = search.end(config.trial_id)
    assert (held.status, held.error_type) == ("failed", "NonFiniteObjective")
    assert held.error_last_line == "mutual_nn is inf after epoch 2"
    search.store.close()
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    name = optuna.get_all_study_names(storage)[0]
    assert [t.state.name for t in optuna.load_study(study_name=name, storage=storage).trials] == [
        "FAIL"
    ]


@pytest.mark.parametrize("sampler", sampler_names())
def test_f13_the_row_holds_the_arguments_of_the_sampler_that_proposed(tmp_path, sampler):
    """Optuna's own defaults change between versions: none of them is relied on unsaid."""
    described = describe_sampler(sampler)
    run_all(driver(tmp_path, plan(2, sampler=described)))
    rows = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    assert set(rows.loc[rows["kind"] == "trained", "sampler"]) == {described}
    asked = PairSearch(plan(2, sampler=described), PAIR, [], [])._proposals
    assert [asked.propose().origin for _ in range(2)] == ["start", "proposed"]
    built = asked._study.sampler
    name, _, listed = described.removesuffix(")").partition("(")
    if name == "qmc":
        # Its Sobol points are drawn by harness.search.start_points, not by an Optuna sampler.
        return
    classes = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
        "gp": optuna.samplers.GPSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
        "nsga2": optuna.samplers.NSGAIISampler,
    }
    assert type(built) is classes[name]
    for argument in filter(None, listed.split(",")):
        key, _, value = argument.partition("=")
        if key == "objectives":
            assert value.split("+") == ["objective", "seconds"]
            assert [d.name for d in asked._study.directions] == ["MAXIMIZE", "MINIMIZE"]
        else:
            assert str(getattr(built, f"_{key}")) == (value or "True")


def test_study_db_is_made_whole_from_the_trial_files(tmp_path):
    run_all(driver(tmp_path, plan(3)))
    (tmp_path / "toy" / "study.db").unlink()
    run_all(driver(tmp_path, plan(3)))
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    name = optuna.get_all_study_names(storage)[0]
    assert len(optuna.load_study(study_name=name, storage=storage).trials) == 3


def test_f6_a_trial_that_fails_before_its_first_report_keeps_its_cause(tmp_path):
    """Tune's own table of results has no row for a trial without a report."""
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    search.restarted(config.trial_id)
    search.end(config.trial_id, Failure("ValueError", "no", "x.py:1 f", "long trace"))
    search.store.close()
    row = pd.read_parquet(tmp_path / "toy" / "trials").iloc[0]
    assert (row["status"], row["error_type"], row["error_last_line"], row["error_frame"]) == (
        "failed",
        "ValueError",
        "no",
        "x.py:1 f",
    )
    assert row["attempts"] == 2


def test_f3_reports_of_a_restarted_trial_replace_the_earlier_ones(tmp_path):
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    reports = [EpochReport(epoch=e, objective=0.1, sealed=SEALED, seconds=1.0) for e in range(4)]
    search.report(config.trial_id, reports[:2], ABOUT)
    search.report(config.trial_id, reports[:3], ABOUT)
    search.report(config.trial_id, reports[3:], ABOUT)
    assert search.end(config.trial_id).status == "finished"
    search.store.close()
    frame = pd.read_parquet(tmp_path / "toy" / "trials")
    assert sorted(frame["epoch"]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_small_space_ends_early_and_tries_every_setting_once(tmp_path):
    small = {"K": IntDistribution(2, 4), "tau": SPACE["tau"].__class__(0.1, 0.1)}
    search = driver(tmp_path, plan(10, space=small))
    configs = run_all(search)
    assert sorted(settings(configs)) == [(2, 0.1), (3, 0.1), (4, 0.1)]
    assert search.searches[0].exhausted


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_f4_extending_a_small_space_tries_every_setting_once(tmp_path, sampler):
    """Samplers repeat settings by themselves; here the last ones are hard to meet by chance."""
    small = {"K": IntDistribution(2, 9), "tau": SPACE["tau"].__class__(0.1, 0.1)}
    described = describe_sampler(sampler)
    first = run_all(driver(tmp_path, plan(4, space=small, sampler=described)))
    more = run_all(driver(tmp_path, plan(8, space=small, sampler=described)))
    assert len(first) == len(more) == 4
    assert sorted(c.params["K"] for c in [*first, *more]) == list(range(2, 10))


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_every_setting_of_a_finite_space_is_tried_once(sampler, monkeypatch):
    """By chance alone the rarest of these (1 in 150 draws) are not all met."""
    monkeypatch.setattr(proposals, "RESAMPLES", 5)
    wide = {"K": IntDistribution(2, 40, log=True)}
    search = PairSearch(plan(100, space=wide, sampler=describe_sampler(sampler)), PAIR, [], [])
    tried = []
    while (config := search.next_config()) is not None:
        held = record(config.number, epoch(3, objective(config), 1, 1))
        object.__setattr__(held, "config", config)
        search.end(held)
        tried.append(config.params["K"])
    assert sorted(tried) == list(range(2, 41))
    assert search.exhausted


def test_a_method_with_nothing_to_search_is_complete_after_its_only_setting(tmp_path):
    search = driver(tmp_path, plan(10, space={}))
    assert (search.missing, search.total) == (1, 1)
    assert len(run_all(search)) == 1
    again = driver(tmp_path, plan(10, space={}))
    assert (again.missing, again.total, again.more_to_come) == (0, 1, False)
    again.store.close()


def test_more_trials_under_qmc_add_start_trials_that_all_pairs_share(tmp_path):
    pairs = (("a", "b"), ("b", "a"))
    qmc = describe_sampler("qmc")
    first = run_all(driver(tmp_path, plan(9, sampler=qmc), pairs=pairs))
    more = run_all(driver(tmp_path, plan(18, sampler=qmc), pairs=pairs))
    for pair in pairs:
        held = [config for config in [*first, *more] if config.pair == pair]
        assert [config.origin for config in held] == (["start"] * 3 + ["proposed"] * 6) * 2
        assert len(set(settings(held))) == 18
        starts = [config for config in held if config.origin == "start"]
        points = [start_point(i, SPACE, PAPER, 0) for i in range(6)]
        assert settings(starts) == [(point["K"], point["tau"]) for point in points]


def test_settings_of_workers_side_by_side_survive_a_resume_under_cmaes(tmp_path):
    asked = plan(24, sampler=describe_sampler("cmaes"))
    search = driver(tmp_path, asked)
    running = [search.next_trial(), search.next_trial()]
    for _ in range(18):
        finish(search, running.pop(0))
        running.append(search.next_trial())
    search.store.close()  # killed here, with two trials in flight
    search = driver(tmp_path, asked)
    rest = run_all(search)
    assert rest[:2] == running
    assert len(rest) == 6
    heard = search.searches[0]._proposals._study.get_trials(deepcopy=False)
    done = [(t.params["K"], t.params["tau"]) for t in heard if t.state.name == "COMPLETE"]
    frame = pd.read_parquet(tmp_path / "toy" / "trials").drop_duplicates("trial_id")
    assert sorted(done) == sorted(zip(frame["K"], frame["tau"], strict=True))
    assert len(set(done)) == 24


def test_the_board_stands_on_disk_with_all_directions(tmp_path):
    run_all(driver(tmp_path, plan(3)))
    frame = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    assert set(zip(frame["query"], frame["gallery"], strict=True)) == {("a", "b"), ("b", "a")}
    assert {"last", "label_free:mutual_nn", "paper", "oracle", "floor", "chance"} <= set(
        frame["protocol"]
    )


def test_tpe_learns_from_the_ended_trials():
    search = PairSearch(plan(40), PAIR, [], [])
    values = []
    for _ in range(40):
        config = search.next_config()
        held = record(config.number, epoch(3, objective(config), 1, 1))
        object.__setattr__(held, "config", config)
        search.end(held)
        values.append(objective(config))
    assert sum(values[-10:]) > sum(values[:10])


def test_a_first_point_cut_to_the_ranges_is_no_paper_point(tmp_path):
    narrow = {**SPACE, "tau": SPACE["tau"].__class__(0.3, 0.5)}
    configs = run_all(driver(tmp_path, plan(2, space=narrow)))
    assert configs[0].params["tau"] == 0.3
    assert not any(config.is_paper_point for config in configs)
    board = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    assert "paper" not in set(board["protocol"])
