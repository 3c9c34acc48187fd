"""Settings of finished pairs are tried early on the next pair."""

import dataclasses
import math

import pytest
from study_examples import epoch, plan, record
from test_search_driver import driver, finish, objective, run_all, settings

from harness.config import TuneOptions
from harness.errors import UsageError
from harness.search.proposals import WARM_TRIALS, Proposals
from harness.search.studies import prepare_studies
from harness.search.warm_start import warm_settings

AB, AC, BA, CD = ("a", "b"), ("a", "c"), ("b", "a"), ("c", "d")
PAIRS = (AB, BA)


def trial(number, objective, status="finished"):
    return record(number, epoch(1, 9.0, 99, 99), epoch(3, objective, 1, 1), status=status)


def ks(held):
    return [setting["K"] - 5 for setting in held]


def test_the_best_by_the_objective_at_the_last_epoch_come_first():
    held = [
        trial(0, 0.1), trial(1, 0.9), trial(2, 0.5), trial(3, 0.99, "pruned"),
        trial(4, 0.7), trial(5, math.nan),
    ]  # fmt: skip
    found = warm_settings(CD, {AB: held})
    assert ks(found) == [1, 4, 2]
    assert set(found[0]) == {"K", "tau"}
    assert warm_settings(AB, {AB: held}) == []


def test_pairs_take_turns_those_that_share_a_domain_first_and_nothing_comes_twice():
    finished = {
        CD: [trial(0, 0.9), trial(1, 0.8)],
        AB: [trial(2, 0.3), trial(0, 0.2)],
    }
    assert ks(warm_settings(AC, finished)) == [0, 2, 1]
    finished = {("d", "e"): [trial(7, 0.1)], CD: [trial(8, 0.2)]}
    assert ks(warm_settings(AC, finished)) == [8, 7]


def test_the_second_pair_tries_what_was_best_on_the_first(tmp_path):
    configs = run_all(driver(tmp_path, plan(9, warm_start=True), pairs=PAIRS))
    first, second = ([c for c in configs if c.pair == pair] for pair in PAIRS)
    assert configs == first + second
    assert {c.origin for c in first} == {"start", "proposed"}
    # Of the three best on the first pair those that were no start points, which all pairs try.
    best = settings(sorted(first, key=objective, reverse=True)[:3])
    fresh = [setting for setting in best if setting not in settings(second[:3])]
    assert fresh
    assert settings(second[3 : 3 + len(fresh)]) == fresh
    assert [c.origin for c in second] == (
        ["start"] * 3 + ["warm"] * len(fresh) + ["proposed"] * (6 - len(fresh))
    )
    assert len(set(settings(second))) == 9


def test_a_pair_tries_a_few_at_most():
    offered = [{"K": k, "tau": 0.1} for k in range(30, 40)]
    proposals = Proposals(plan(9), AB, lambda: offered)
    made = [proposals.propose() for _ in range(9)]
    assert [p.origin for p in made] == ["start"] * 3 + ["warm"] * WARM_TRIALS + ["proposed"] * 3
    assert [p.searched for p in made[3 : 3 + WARM_TRIALS]] == offered[:WARM_TRIALS]


def test_without_the_flag_pairs_are_served_in_turn_and_nothing_is_warm(tmp_path):
    configs = run_all(driver(tmp_path, plan(3), pairs=PAIRS))
    assert [c.pair for c in configs] == [*PAIRS] * 3
    assert {c.origin for c in configs} == {"start", "proposed"}


def test_f5_an_interrupted_search_proposes_what_an_uninterrupted_one_does(tmp_path):
    held = plan(5, warm_start=True)
    whole = run_all(driver(tmp_path / "whole", held, pairs=PAIRS))
    assert "warm" in {config.origin for config in whole}
    for cut in (4, 8):
        search = driver(tmp_path / str(cut), held, pairs=PAIRS)
        done = []
        while len(done) < cut:
            done.append(search.next_trial())
            finish(search, done[-1])
        search.next_trial()
        search.store.close()  # killed here, with one trial in flight
        done += run_all(driver(tmp_path / str(cut), held, pairs=PAIRS))
        assert done == whole


def test_pairs_of_an_earlier_run_count_as_finished(tmp_path):
    held = plan(5, warm_start=True)
    run_all(driver(tmp_path, held, pairs=(AB,)))
    later = run_all(driver(tmp_path, held, pairs=(BA,)))
    assert later[2].origin == "warm"


def test_f4_more_trials_later_add_no_further_warm_ones_and_repeat_nothing(tmp_path):
    configs = run_all(driver(tmp_path, plan(4, warm_start=True), pairs=PAIRS))
    configs += run_all(driver(tmp_path, plan(7, warm_start=True), pairs=PAIRS))
    assert len(configs) == 14
    for pair in PAIRS:
        own = [c for c in configs if c.pair == pair]
        assert [c.origin for c in own].count("warm") <= WARM_TRIALS
        assert len(set(settings(own))) == 7


def test_with_one_search_over_all_pairs_it_is_refused():
    with pytest.raises(UsageError, match="--scope dataset"):
        prepare_studies(
            TuneOptions(), trials=3, sampler="random()", scope="dataset", warm_start=True
        )


def test_it_is_part_of_the_identity():
    cold, warm = plan().config, plan(warm_start=True).config
    assert cold.study_id != warm.study_id
    assert dataclasses.replace(warm, warm_start=False) == cold
