"""The driver by hand: no Ray, no training, made-up reports."""

import statistics

import optuna
import pandas as pd
import pytest
from driven_search import PAIR, driver, failed, report
from optuna.distributions import IntDistribution
from study_examples import PAPER, SPACE, plan

from harness.leaderboard.mirror import frozen_trial
from harness.plan.samplers import describe_sampler, directions, sampler_names
from harness.plan.start_points import start_point
from harness.records import TrialRecord
from harness.search import proposer
from harness.search.proposer import Proposer


def objective(config) -> float:
    """A smooth bowl over the space with its top at K = 20."""
    return -abs(config.params["K"] - 20) / 50 - abs(config.params["tau"] - 0.1)


def outcome_of(config, asked):
    """What Optuna hears of a trial that finished."""
    ended = TrialRecord(config=config, status="finished")
    for number in range(4):
        ended.epochs |= report(config, number, objective(config)).epochs
    return frozen_trial(ended, asked.space)


def finish(search, config, epochs=3):
    for number in range(epochs + 1):
        search.report(report(config, number, objective(config)))
    return search.end(config)


def end_one(search, config, fails=None):
    """Ends a trial: finished, every fifth stopped early, the one numbered ``fails`` failed."""
    if config.number == fails:
        return search.end(config, failed(config, "ValueError", "no", "", ""))
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


def test_proposals_are_a_function_of_the_seed(tmp_path):
    first = settings(run_all(driver(tmp_path / "1", plan(8))))
    assert first == settings(run_all(driver(tmp_path / "2", plan(8))))
    assert first != settings(run_all(driver(tmp_path / "3", plan(8, seed=1))))


@pytest.mark.parametrize(
    ("sampler", "trials", "cut"),
    [("tpe", 12, 7), ("random", 8, 5), ("qmc", 8, 5), ("gp", 10, 7)],
)
def test_an_interrupted_search_proposes_what_an_uninterrupted_one_does(
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


def test_the_same_command_trains_nothing_and_extending_repeats_no_configuration(tmp_path):
    """With the same study and seed, Tune's own searcher proposes the same values once more."""
    run_all(driver(tmp_path, plan(4)))
    assert run_all(driver(tmp_path, plan(4))) == []
    more = run_all(driver(tmp_path, plan(9)))
    assert [c.number for c in more] == [4, 5, 6, 7, 8]
    frame = pd.read_parquet(tmp_path / "toy" / "trials").drop_duplicates("trial_id")
    assert len(frame) == 9
    assert not frame.duplicated(["K", "tau"]).any()


def test_a_driver_that_died_between_file_and_ledger_counts_the_trial_once(tmp_path):
    search = driver(tmp_path, plan(2))
    config = search.next_trial()
    note = tmp_path / "toy" / "in_flight" / f"{config.trial_id}.json"
    text = note.read_text()
    finish(search, config)
    assert not note.exists()
    note.write_text(text)  # as if the driver had died just before it forgot the trial
    search.store.close()
    search = driver(tmp_path, plan(2))
    assert [c.number for c in run_all(search)] == [1]


def test_failed_is_fail_and_pruned_is_pruned_with_its_last_value(tmp_path):
    """Tune's own searcher leaves NaN trials RUNNING and records pruned ones as COMPLETE, with
    the value of the report before the last.
    """
    search = driver(tmp_path, plan(4))
    finish(search, search.next_trial())
    pruned = search.next_trial()
    for number, value in enumerate((0.1, 0.2, 0.3)):
        search.report(report(pruned, number, value))
    search.end(pruned)
    broken = search.next_trial()
    search.end(broken, failed(broken, "ValueError", "no", "x.py:1 f", "trace"))
    nan = search.next_trial()
    search.report(report(nan, 1, float("nan")))
    search.end(nan, failed(nan, "NonFiniteLossError", "nan", "", ""))
    search.write_boards()
    search.store.close()
    name = f"{plan(4).config.study_id}/a-b"
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    stored = optuna.load_study(study_name=name, storage=storage).trials
    assert [t.state.name for t in stored] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert stored[1].value == 0.3
    assert stored[1].intermediate_values == {1: 0.2, 2: 0.3}
    assert stored[0].params == {"K": 12, "tau": 0.2}


def test_a_retried_trial_counts_once_in_study_db_and_in_the_files(tmp_path):
    search = driver(tmp_path, plan(2))
    broken = search.next_trial()
    search.end(broken, failed(broken, "ValueError", "no", "", ""))
    finish(search, search.next_trial())
    search.write_boards()
    search.store.close()
    search = driver(tmp_path, plan(2), retry_failed=True)
    assert [c.trial_id for c in run_all(search)] == [broken.trial_id]
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    name = optuna.get_all_study_names(storage)[0]
    stored = optuna.load_study(study_name=name, storage=storage).trials
    assert sorted(t.user_attrs["number"] for t in stored) == [0, 1]
    assert {t.state.name for t in stored} == {"COMPLETE"}


def test_a_trial_that_ends_on_a_nan_objective_has_failed_everywhere(tmp_path):
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    for number in range(4):
        search.report(report(config, number, float("nan")))
    assert search.end(config).status == "failed"
    search.finish()
    search.store.close()
    row = pd.read_parquet(tmp_path / "toy" / "failures.parquet").iloc[0]
    assert row["error_type"] == "NonFiniteObjective"


def test_one_report_that_is_not_finite_ends_a_start_trial_as_failed(tmp_path):
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    assert config.origin == "start"
    stops = []
    for number, value in enumerate([float("nan"), 0.2, float("inf")]):
        stops.append(search.report(report(config, number, value)))
    assert stops == [False, False, True]
    held = search.end(config)
    assert (held.status, held.error_type) == ("failed", "NonFiniteObjective")
    assert held.error_last_line == "mutual_nn is inf after epoch 2"
    search.write_boards()
    search.store.close()
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    name = optuna.get_all_study_names(storage)[0]
    assert [t.state.name for t in optuna.load_study(study_name=name, storage=storage).trials] == [
        "FAIL"
    ]


@pytest.mark.parametrize("sampler", sampler_names())
def test_the_row_holds_the_arguments_of_the_sampler_that_proposed(tmp_path, sampler):
    """Optuna's own defaults change between versions: none of them is relied on unsaid."""
    described = describe_sampler(sampler)
    run_all(driver(tmp_path, plan(2, sampler=described)))
    rows = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    assert set(rows.loc[rows["kind"] == "trained", "sampler"]) == {described}
    asked = Proposer(plan(2, sampler=described), PAIR)
    assert [asked.propose(PAIR).origin for _ in range(2)] == ["start", "proposed"]
    built = asked.sampler
    name, _, listed = described.removesuffix(")").partition("(")
    if name == "qmc":
        # Its Sobol points are drawn by harness.plan.start_points, not by an Optuna sampler.
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
            assert directions(described) == ["maximize", "minimize"]
        else:
            assert str(getattr(built, f"_{key}")) == (value or "True")


def test_study_db_is_made_whole_from_the_trial_files(tmp_path):
    run_all(driver(tmp_path, plan(3)))
    (tmp_path / "toy" / "study.db").unlink()
    run_all(driver(tmp_path, plan(3)))
    storage = f"sqlite:///{tmp_path}/toy/study.db"
    name = optuna.get_all_study_names(storage)[0]
    assert len(optuna.load_study(study_name=name, storage=storage).trials) == 3


def test_a_trial_that_fails_before_its_first_report_keeps_its_cause(tmp_path):
    """Tune's own table of results has no row for a trial without a report."""
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    search.restarted(config)
    search.end(config, failed(config, "ValueError", "no", "x.py:1 f", "long trace"))
    search.store.close()
    row = pd.read_parquet(tmp_path / "toy" / "trials").iloc[0]
    assert (row["status"], row["error_type"], row["error_last_line"], row["error_frame"]) == (
        "failed",
        "ValueError",
        "no",
        "x.py:1 f",
    )
    assert row["attempts"] == 2


def test_reports_of_a_restarted_trial_replace_the_earlier_ones(tmp_path):
    search = driver(tmp_path, plan(1))
    config = search.next_trial()
    for epochs in ((0, 1), (0, 1, 2), (3,)):
        sent = report(config, epochs[0], 0.1)
        for number in epochs:
            sent.epochs |= report(config, number, 0.1).epochs
        search.report(sent)
    assert search.end(config).status == "finished"
    search.store.close()
    frame = pd.read_parquet(tmp_path / "toy" / "trials")
    assert sorted(frame["epoch"]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_small_space_ends_early_and_tries_every_setting_once(tmp_path):
    small = {"K": IntDistribution(2, 4), "tau": SPACE["tau"].__class__(0.1, 0.1)}
    search = driver(tmp_path, plan(10, space=small))
    configs = run_all(search)
    assert sorted(settings(configs)) == [(2, 0.1), (3, 0.1), (4, 0.1)]
    assert search.scopes[0].exhausted


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_extending_a_small_space_tries_every_setting_once(tmp_path, sampler):
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
    monkeypatch.setattr(proposer, "RESAMPLES", 5)
    wide = {"K": IntDistribution(2, 40, log=True)}
    asked = plan(100, space=wide, sampler=describe_sampler(sampler))
    search = Proposer(asked, PAIR)
    tried = []
    while (config := search.propose(PAIR)) is not None:
        search.learn(config, outcome_of(config, asked))
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


@pytest.mark.parametrize("sampler", ["cmaes", "nsga2"])
def test_a_sampler_whose_state_is_lost_still_repeats_no_setting_after_a_resume(tmp_path, sampler):
    asked = plan(24, sampler=describe_sampler(sampler))
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
    frame = pd.read_parquet(tmp_path / "toy" / "trials").drop_duplicates("trial_id")
    assert not frame.duplicated(["K", "tau"]).any()
    assert len(frame) == 24


def test_the_board_stands_on_disk_with_all_directions(tmp_path):
    run_all(driver(tmp_path, plan(3)))
    frame = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    assert set(zip(frame["query"], frame["gallery"], strict=True)) == {("a", "b"), ("b", "a")}
    assert {"last", "label_free:mutual_nn", "paper", "oracle", "floor", "chance"} <= set(
        frame["protocol"]
    )


def mean_of_the_second_half(sampler, seed):
    asked = plan(40, sampler=describe_sampler(sampler), seed=seed)
    search = Proposer(asked, PAIR)
    values = []
    for _ in range(40):
        config = search.propose(PAIR)
        search.learn(config, outcome_of(config, asked))
        values.append(objective(config))
    return sum(values[20:]) / 20


def test_tpe_learns_from_ended_trials_what_random_search_does_not():
    """Over several seeds: at a single one random search has better trials now and then."""
    gains = [
        mean_of_the_second_half("tpe", seed) - mean_of_the_second_half("random", seed)
        for seed in range(10)
    ]
    assert statistics.fmean(gains) > 3 * statistics.stdev(gains) / len(gains) ** 0.5


def test_a_first_point_cut_to_the_ranges_is_no_paper_point(tmp_path):
    narrow = {**SPACE, "tau": SPACE["tau"].__class__(0.3, 0.5)}
    configs = run_all(driver(tmp_path, plan(2, space=narrow)))
    assert configs[0].params["tau"] == 0.3
    assert not any(config.is_paper_point for config in configs)
    board = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    assert "paper" not in set(board["protocol"])
