"""Curves of the figure a search reaches after n trials, against enumeration and made-up studies."""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from study_examples import epoch, record, study

from harness.plan.samplers import describe_sampler, sampler_names
from harness.statistics.tuning_curves import (
    EXCHANGEABLE_SAMPLERS,
    FILE,
    MIN_TRIALS,
    SCHEMA,
    bootstrap_band,
    curve_rows,
    exchangeable_trials,
    expected_curve,
    observed_curve,
    pick_probabilities,
    study_curves,
    write_curves,
)

NAN = math.nan


def enumerated(objective, value):
    """Every subset of n trials in every order; the first of the highest objective is picked."""
    curve = []
    for n in range(1, len(value) + 1):
        picked = []
        for drawn in itertools.permutations(range(len(value)), n):
            finished = [i for i in drawn if math.isfinite(objective[i] + value[i])]
            if finished:
                picked.append(value[max(finished, key=lambda i: objective[i])])
        curve.append(np.mean(picked) if picked else NAN)
    return curve


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        ([0.3], [40.0]),
        ([0.1, 0.5, 0.2, 0.9, 0.4], [10.0, 60.0, 35.0, 20.0, 80.0]),
        ([0.5, 0.5, 0.1, 0.5, 0.9, 0.1], [10.0, 60.0, 35.0, 20.0, 80.0, 5.0]),
        ([0.5, NAN, 0.1, 0.7, 0.9], [10.0, 60.0, 35.0, NAN, 80.0]),
        ([NAN, NAN, 0.2], [1.0, 2.0, 3.0]),
        ([NAN, NAN], [1.0, 2.0]),
    ],
)
def test_the_expectation_is_that_of_all_draws(objective, value):
    found = expected_curve(np.array(objective), np.array(value))
    assert found == pytest.approx(enumerated(objective, value), nan_ok=True)


def test_chosen_by_itself_it_is_the_expected_maximum_and_rises():
    value = np.random.default_rng(0).uniform(0, 100, 9)
    found = expected_curve(value, value)
    for n in range(1, 10):
        best = [max(subset) for subset in itertools.combinations(value, n)]
        assert found[n - 1] == pytest.approx(np.mean(best))
    assert (np.diff(found) > 0).all()


def test_an_objective_that_misleads_makes_the_curve_fall():
    value = np.array([10.0, 20.0, 30.0, 40.0])
    assert (np.diff(expected_curve(-value, value)) < 0).all()


def test_probabilities_sum_to_one_for_many_trials():
    probability = pick_probabilities(700)
    assert (probability >= 0).all()
    assert probability.sum(axis=1) == pytest.approx(np.ones(700))
    assert probability[-1, 0] == pytest.approx(1)


def test_the_band_is_that_of_a_slow_loop_over_resamples():
    rng = np.random.default_rng(1)
    objective, value = rng.uniform(0, 1, 6), rng.uniform(0, 100, 6)
    objective[2] = NAN
    band = bootstrap_band(objective, value, np.random.default_rng(5), n_resamples=3000)
    draws = np.random.default_rng(6)
    curves = []
    while len(curves) < 3000:
        drawn = draws.integers(6, size=6)
        if np.isfinite(objective[drawn]).any():
            curves.append(expected_curve(objective[drawn], value[drawn]))
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    assert band.low_N == pytest.approx(low, abs=4)
    assert band.high_N == pytest.approx(high, abs=4)


def test_the_band_covers_the_mean_of_one_trial_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        value = rng.normal(50, 10, 30)
        band = bootstrap_band(value, value, rng, n_resamples=300)
        covered += band.low_N[0] <= 50 <= band.high_N[0]
    assert 0.88 < covered / 200 < 0.99


def test_the_same_seed_gives_the_same_band_and_too_few_trials_none():
    value = np.arange(5.0)
    bands = [bootstrap_band(value, value, np.random.default_rng(3)) for _ in range(2)]
    assert (bands[0].low_N == bands[1].low_N).all()
    few = np.arange(float(MIN_TRIALS - 1))
    assert np.isnan(bootstrap_band(few, few, np.random.default_rng(3)).low_N).all()


def test_the_observed_trajectory_goes_in_order():
    objective = np.array([NAN, 0.2, 0.2, 0.1, 0.9, 0.5])
    value = np.array([99.0, 30.0, 50.0, 80.0, 20.0, 60.0])
    found = observed_curve(objective, value)
    assert found == pytest.approx([NAN, 30, 30, 30, 20, 20], nan_ok=True)


def trial(number, objective=0.5, p1=50.0, origin="proposed", status="finished", **changes):
    """A trial whose first epoch is better than its last."""
    reports = [epoch(0, 0, 5, 5), epoch(1, 9.0, 99, 99), epoch(3, objective, p1, p1 + 1)]
    held = record(number, *reports, origin=origin, status=status)
    config = dataclasses.replace(held.config, study=study(**changes))
    return dataclasses.replace(held, config=config)


def numbers(trials):
    return [held.config.number for held in trials]


def search(sampler="tpe", **statuses):
    described = describe_sampler(sampler)
    origins = ["start", "start", "start", "warm", "proposed", "proposed"]
    return [
        trial(i, origin=origin, sampler=described, status=statuses.get(f"t{i}", "finished"))
        for i, origin in enumerate(origins)
    ]


def test_only_start_trials_are_exchangeable_and_never_the_point_of_the_paper():
    assert numbers(exchangeable_trials(search("tpe"))) == [1, 2]
    for name in ("gp", "cmaes", "nsga2"):
        assert numbers(exchangeable_trials(search(name))) == [1, 2]
    assert exchangeable_trials([]) == []


def test_samplers_that_learn_nothing_add_their_own_until_one_is_stopped_early():
    assert set(EXCHANGEABLE_SAMPLERS) <= set(sampler_names())
    for name in EXCHANGEABLE_SAMPLERS:
        assert numbers(exchangeable_trials(search(name))) == [1, 2, 4, 5]
        assert numbers(exchangeable_trials(search(name, t4="failed"))) == [1, 2, 4, 5]
        assert numbers(exchangeable_trials(search(name, t5="pruned"))) == [1, 2]


def test_with_nothing_to_search_the_one_trial_is_its_curve():
    only = trial(0, origin="start")
    only = dataclasses.replace(only, config=dataclasses.replace(only.config, searched=()))
    assert exchangeable_trials([only]) == [only]


def test_rows_show_the_last_epoch_in_both_directions():
    trials = [
        trial(0, 0.9, 70, "start"),
        trial(2, 0.2, 40, "start"),
        trial(1, 0.1, 20, "start"),
        trial(3, 0.3, 60, "start"),
        trial(4, 0.8, 10, status="pruned"),
        trial(5, 0.95, 80),
    ]
    frame = pd.DataFrame(curve_rows(trials, ["P@1", "mAP@All"]))
    # The way back has no mAP@All: no rows.
    ways = set(zip(frame["query"], frame["gallery"], frame["metric"]))
    assert ways == {("a", "b", "P@1"), ("b", "a", "P@1"), ("a", "b", "mAP@All")}
    start = frame[(frame["basis"] == "exchangeable") & (frame["metric"] == "P@1")]
    there = start[start["query"] == "a"]
    assert there["n"].tolist() == [1, 2, 3]
    assert there["value"].tolist() == pytest.approx([40, (40 + 60 + 60) / 3, 60])
    assert (there["low"] <= there["value"]).all()
    assert (there["value"] <= there["high"]).all()
    back = start[start["query"] == "b"]
    assert back["value"].tolist() == pytest.approx([v + 1 for v in there["value"]])
    assert back["low"].tolist() == pytest.approx([v + 1 for v in there["low"]])
    observed = frame[(frame["basis"] == "observed") & (frame["metric"] == "P@1")]
    observed = observed[observed["query"] == "a"]
    assert observed["value"].tolist() == [70, 70, 70, 70, 70, 80]
    assert observed["low"].isna().all()
    assert observed["n_finished"].unique().tolist() == [5]


def test_a_failed_trial_takes_a_place_and_is_never_picked():
    trials = [trial(i, i / 10, 10.0 * i, "start") for i in range(1, 4)]
    trials.append(trial(4, 0.9, 99, "start", status="failed"))
    rows = [r for r in curve_rows(trials, ["P@1"]) if r["basis"] == "exchangeable"]
    there = [row for row in rows if row["query"] == "a"]
    assert [row["n"] for row in there] == [1, 2, 3, 4]
    assert (there[0]["n_trials"], there[0]["n_finished"]) == (4, 3)
    expected = enumerated([0.1, 0.2, 0.3, NAN], [10, 20, 30, NAN])
    assert [row["value"] for row in there] == pytest.approx(expected)


def test_only_failures_give_no_rows():
    assert curve_rows([trial(1, origin="start", status="failed")], ["P@1"]) == []


def test_the_file_keeps_the_rows_of_other_studies(tmp_path):
    mine = [trial(i, i / 9, 9.0 * i, "start") for i in range(5)]
    other = [trial(i, i / 9, 5.0 * i, "start", seed=7) for i in range(5)]
    ids = [held[0].config.study.study_id for held in (mine, other)]
    assert ids[0] != ids[1]
    write_curves(tmp_path, ids, study_curves([*mine, *other], ["P@1"]))
    write_curves(tmp_path, ids[:1], study_curves(mine[:4], ["P@1"]))
    frame = pd.read_parquet(tmp_path / FILE)
    assert list(frame.columns) == SCHEMA.names
    longest = frame[frame["basis"] == "observed"].groupby("study_id")["n"].max()
    assert longest.to_dict() == {ids[0]: 4, ids[1]: 5}
    assert frame["n"].dtype == "Int64"
