import dataclasses

import pytest
from study_examples import epoch, record, study

from harness.plan.study_plan import HALVING
from harness.search.early_stopping import rungs, rungs_of
from harness.search.early_stopping import should_stop as should_stop_after


def should_stop(held, peers):
    return should_stop_after(held, peers, [held.last.epoch])


def trial(number, *reports, origin="proposed", epochs=18, rule=HALVING):
    held = record(number, *reports, origin=origin, status="running")
    config = dataclasses.replace(held.config, study=study(epochs=epochs, early_stopping=rule))
    return dataclasses.replace(held, config=config)


def at(number, value, rung):
    return trial(number, epoch(rung, value, 1, 1))


def test_rungs_cut_what_follows_the_first_epoch_in_which_everything_acts():
    assert rungs(0, 27) == (1, 3, 9)
    assert rungs(100, 200) == (104, 112, 134)
    assert rungs(15, 30) == (17, 20)
    assert rungs(2, 3) == ()


def test_no_rung_before_the_last_searched_parameter_has_acted_for_a_full_rung():
    # In `cluster` K acts from 10 % of the epochs on, tau from the start.
    assert rungs_of(trial(0, epochs=180)) == rungs(18, 180)
    assert min(rungs_of(trial(0, epochs=180))) > 18


def test_the_best_third_goes_on_and_the_rest_is_stopped():
    rung = rungs_of(trial(0))[0]
    peers = [at(n, value, rung) for n, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.5])]
    assert not should_stop(at(9, 0.6, rung), peers)
    assert not should_stop(at(9, 0.45, rung), peers)
    assert should_stop(at(9, 0.35, rung), peers)


def test_common_start_trials_are_never_stopped():
    rung = rungs_of(trial(0))[0]
    peers = [at(n, 0.9, rung) for n in range(5)]
    worst = trial(9, epoch(rung, 0.0, 1, 1), origin="start")
    assert not should_stop(worst, peers)


def test_between_rungs_and_with_too_few_peers_nobody_is_stopped():
    rung = rungs_of(trial(0))[0]
    peers = [at(n, 0.9, rung) for n in range(5)]
    assert not should_stop(at(9, 0.0, rung + 1), peers)
    assert not should_stop(at(9, 0.0, rung), peers[:1])


def test_a_study_without_early_stopping_stops_nobody():
    rung = rungs_of(trial(0))[0]
    peers = [at(n, 0.9, rung) for n in range(5)]
    held = at(9, 0.0, rung)
    plain = dataclasses.replace(
        held, config=dataclasses.replace(held.config, study=study(epochs=18))
    )
    assert should_stop(held, peers)
    assert not should_stop(plain, peers)


@pytest.mark.parametrize("values", [[float("nan")] * 5, [0.5, float("nan"), 0.6]])
def test_nan_of_others_is_no_comparison(values):
    rung = rungs_of(trial(0))[0]
    peers = [at(n, value, rung) for n, value in enumerate(values)]
    finite = sum(value == value for value in values)
    assert should_stop(at(9, 0.0, rung), peers) == (finite + 1 >= 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("origin", ["start", "proposed"])
@pytest.mark.parametrize("rule", [HALVING, "none"])
def test_an_objective_that_is_not_finite_stops_every_trial_at_once(value, origin, rule):
    """Scope ``dataset`` and the sampler nsga2 have no early stopping: "none"."""
    held = trial(9, epoch(0, 0.1, 1, 1), epoch(1, value, 1, 1), origin=origin, rule=rule)
    assert 1 not in rungs_of(held)
    assert should_stop(held, [])
    fine = trial(9, epoch(0, 0.1, 1, 1), epoch(1, 0.2, 1, 1), origin=origin, rule=rule)
    assert not should_stop(fine, [])


def test_the_untrained_state_may_have_no_objective():
    """As under cluster_stability, which compares with the epoch before."""
    nan = epoch(0, float("nan"), 1, 1)
    assert not should_stop_after(trial(9, nan), [], [0])
    assert not should_stop(trial(9, nan, epoch(1, 0.2, 1, 1)), [])


def test_a_rung_that_a_kill_hid_is_judged_after_the_restart():
    rung = rungs_of(trial(0))[0]
    peers = [at(n, 0.9, rung) for n in range(5)]
    late = trial(9, epoch(rung, 0.0, 1, 1), epoch(rung + 1, 0.95, 1, 1))
    assert should_stop_after(late, peers, [rung, rung + 1])
    assert not should_stop_after(late, peers, [rung + 1])
