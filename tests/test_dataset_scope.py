"""``--scope dataset``: every proposal is trained on all pairs and valued over all of them."""

import pandas as pd
import pytest
from driven_search import driver, failed, report
from optuna.trial import TrialState
from study_examples import plan

from harness.plan.samplers import describe_sampler
from harness.search.proposer import Proposer

PAIRS = (("a", "b"), ("b", "a"))


def finish(search, config, value, floor=0.0, fails=False):
    for number, objective in enumerate([floor, value, value, value]):
        assert not search.report(report(config, number, objective))
    search.end(config, failed(config) if fails else None)


def test_a_proposal_has_the_same_settings_on_all_pairs_and_counts_once(tmp_path):
    search = driver(tmp_path, plan(3, scope="dataset"), pairs=PAIRS)
    assert search.total == 6
    configs = []
    while (config := search.next_trial()) is not None:
        configs.append(config)
        finish(search, config, 0.5)
    assert [c.pair for c in configs] == [*PAIRS] * 3
    for first, second in zip(configs[::2], configs[1::2], strict=True):
        assert first.params == second.params
        assert first.seed != second.seed
    search.store.close()


def test_the_value_is_the_mean_gain_over_each_pairs_floor(tmp_path, monkeypatch):
    heard = []
    learn = Proposer.learn

    def listen(proposer, config, outcome):
        heard.append(outcome)
        learn(proposer, config, outcome)

    monkeypatch.setattr(Proposer, "learn", listen)
    search = driver(tmp_path, plan(2, scope="dataset"), pairs=PAIRS)
    finish(search, search.next_trial(), 0.9, floor=0.8)
    assert heard == []
    finish(search, search.next_trial(), 0.5, floor=0.1)
    assert heard[0].values == [pytest.approx((0.1 + 0.4) / 2)]
    finish(search, search.next_trial(), 0.5)
    finish(search, search.next_trial(), 0.5, fails=True)
    assert [outcome.state for outcome in heard] == [TrialState.COMPLETE, TrialState.FAIL]
    search.store.close()


def test_a_cut_off_proposal_goes_on_with_the_pairs_it_lacks(tmp_path):
    search = driver(tmp_path, plan(2, scope="dataset"), pairs=PAIRS)
    finish(search, search.next_trial(), 0.5)
    left = search.next_trial()
    search.store.close()
    search = driver(tmp_path, plan(2, scope="dataset"), pairs=PAIRS)
    again = search.next_trial()
    assert again == left
    finish(search, again, 0.5)
    while (config := search.next_trial()) is not None:
        finish(search, config, 0.5)
    search.store.close()
    frame = pd.read_parquet(tmp_path / "toy" / "trials").drop_duplicates("trial_id")
    assert len(frame) == 4


def test_rows_take_the_proposal_that_is_best_over_all_pairs(tmp_path):
    search = driver(tmp_path, plan(2, scope="dataset"), pairs=PAIRS)
    # Proposal 0 gains 0.9 and 0.0, proposal 1 gains 0.5 and 0.5: 1 is best over both.
    for value in (0.9, 0.0, 0.5, 0.5):
        finish(search, search.next_trial(), value)
    search.finish()
    search.store.close()
    board = pd.read_parquet(tmp_path / "toy" / "leaderboard").query("protocol == 'last'")
    assert len(board) == 2
    assert board["trial_id"].str.endswith(".0001").all()


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", "gp", "cmaes", "nsga2"])
def test_every_sampler_gives_distinct_settings_and_is_a_function_of_the_seed(tmp_path, name):
    runs = []
    for out in ("1", "2"):
        search = driver(tmp_path / out, plan(9, sampler=describe_sampler(name)))
        settings = []
        while (config := search.next_trial()) is not None:
            settings.append((config.params["K"], config.params["tau"]))
            finish(search, config, -abs(config.params["K"] - 20) / 50)
        search.store.close()
        runs.append(settings)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 9


ENDINGS = (".safetensors", ".a.npy", ".b.npy")


def leave_weights(storage, config):
    """What a trial of three epochs leaves behind where its last one may be picked."""
    folder = storage / config.trial_id
    folder.mkdir(parents=True)
    for ending in ENDINGS:
        (folder / f"{config.trial_id}@3{ending}").write_text(config.trial_id)


def named_by_boards(folder):
    board = pd.read_parquet(folder / "toy" / "leaderboard").query("kind == 'trained'")
    stems = {f"{row.trial_id}@{row.epoch}" for row in board.itertuples() if row.epoch == 3}
    return {f"{stem}{ending}" for stem in stems for ending in ENDINGS}


def test_weights_wait_in_the_storage_until_the_run_ends(tmp_path):
    """Setting 5 is best over both pairs, but nobody's pick when its first pair ends."""
    search = driver(tmp_path, plan(6, scope="dataset", scenario="partial"), pairs=PAIRS)
    storage = tmp_path / "storage"
    for number, value in enumerate((0.9, 0.0, *[0.1] * 8, 0.8, 0.8), start=1):
        config = search.next_trial()
        leave_weights(storage, config)
        finish(search, config, value)
        assert len(list(storage.glob("*/*@3*"))) == 3 * number
    search.finish()
    search.store.close()
    picked = {path.name for path in (tmp_path / "toy" / "picks").iterdir()}
    assert picked == named_by_boards(tmp_path)
    for pair in ("a-b", "b-a"):
        assert any(f".{pair}.0005@3" in name for name in picked)
    assert not any(".0004@" in name for name in picked)
    assert not any(storage.iterdir())


def test_an_interrupted_run_keeps_what_it_may_still_pick(tmp_path):
    search = driver(tmp_path, plan(3))
    for value in (0.9, 0.1):
        config = search.next_trial()
        leave_weights(tmp_path / "storage", config)
        finish(search, config, value)
    search.finish()  # with one trial missing
    search.store.close()
    assert len(list((tmp_path / "storage").glob("*/*@3*"))) == 2 * 3
    picked = {path.name for path in (tmp_path / "toy" / "picks").iterdir()}
    assert picked == named_by_boards(tmp_path)
