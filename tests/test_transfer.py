"""Settings chosen by the labels of other pairs."""

import base64
import dataclasses
import json
import math

import pandas as pd
import pytest
from driven_search import report
from study_examples import CONTEXT, PAPER, SPACE, epoch, plan, record, study, toy_index
from test_search_driver import objective

from harness.leaderboard.board import study_rows
from harness.leaderboard.store import ResultsStore
from harness.plan.start_points import start_point
from harness.search.driver import SearchDriver
from harness.selection.start_trials import StartTrials
from harness.selection.transfer import TransferPicks, donor_pairs, transfer_pick

AB, AC, CD = ("a", "b"), ("a", "c"), ("c", "d")


def start(pair, number, p1, status="finished", origin="start", **changes):
    """A trial of setting ``number`` whose first epoch is better than its last, P@1 = ``p1``."""
    reports = [epoch(1, 0.9, 95, 95), epoch(3, 0.1, p1 + 1, p1 - 1)]
    held = record(number, *reports, status=status, origin=origin, **changes)
    trial_id = f"{study().study_id}.{'-'.join(pair)}.{number:04d}"
    config = dataclasses.replace(held.config, pair=pair, trial_id=trial_id)
    return dataclasses.replace(held, config=config)


def test_donors_share_no_domain_where_such_pairs_exist():
    every = [AB, AC, CD, ("b", "d")]
    assert donor_pairs(AB, every) == ("transfer", (CD,))
    assert donor_pairs(AB, [AB, AC]) == ("transfer:shared", (AC,))
    assert donor_pairs(AB, [AB]) == ("transfer:shared", ())
    # A directed pair shares both domains with its way back.
    assert donor_pairs(AB, [AB, ("b", "a"), CD]) == ("transfer", (CD,))


def test_the_setting_best_on_the_donors_is_reported_with_its_own_last_epoch():
    trials = {
        AB: [start(AB, 0, 80), start(AB, 1, 10), start(AB, 2, 50)],
        CD: [start(CD, 0, 20), start(CD, 1, 70), start(CD, 2, 30)],
    }
    pick = transfer_pick(AB, trials, "P@1")
    assert (pick.protocol, pick.trial, pick.epoch.epoch) == ("transfer", trials[AB][1], 3)
    assert pick.transfer_from == "c-d"
    # Its own labels have no say.
    for held, p1 in zip(trials[AB], (1, 2, 99)):
        held.epochs[3] = epoch(3, 0.1, p1, p1)
    assert transfer_pick(AB, trials, "P@1").trial is trials[AB][1]


def test_the_mean_over_all_donors_counts():
    trials = {
        AB: [start(AB, 0, 50), start(AB, 1, 50)],
        ("c", "d"): [start(("c", "d"), 0, 60), start(("c", "d"), 1, 50)],
        ("e", "f"): [start(("e", "f"), 0, 20), start(("e", "f"), 1, 50)],
        AC: [start(AC, 0, 99), start(AC, 1, 1)],
    }
    pick = transfer_pick(AB, trials, "P@1")
    assert pick.trial.config.number == 1
    assert pick.transfer_from == "c-d,e-f"


def test_settings_are_matched_by_value_and_only_start_trials_count():
    moved = start(CD, 1, 70)
    moved = dataclasses.replace(moved, config=dataclasses.replace(moved.config, number=7))
    proposed = start(CD, 2, 99, origin="proposed")
    trials = {
        AB: [start(AB, 0, 5), start(AB, 1, 5), start(AB, 2, 5, origin="proposed")],
        CD: [start(CD, 0, 20), moved, proposed],
    }
    assert transfer_pick(AB, trials, "P@1").trial.config.number == 1


def test_a_setting_that_did_not_finish_everywhere_is_no_candidate():
    trials = {
        AB: [start(AB, 0, 5), start(AB, 1, 5, status="failed"), start(AB, 2, 5), start(AB, 3, 5)],
        CD: [start(CD, 0, 20), start(CD, 1, 90), start(CD, 2, 80, status="pruned"),
             start(CD, 3, 30)],
    }  # fmt: skip
    assert transfer_pick(AB, trials, "P@1").trial.config.number == 3
    trials[CD][3].epochs[3] = epoch(3, 0.1, math.nan, 1)
    assert transfer_pick(AB, trials, "P@1") is None


@pytest.mark.parametrize(
    "trials",
    [
        {AB: [start(AB, 0, 5), start(AB, 1, 5)]},
        {AB: [start(AB, 0, 5), start(AB, 1, 5)], CD: []},
        {AB: [start(AB, 0, 5), start(AB, 1, 5)], CD: [start(CD, 0, 5, status="failed")]},
        {AB: [start(AB, 0, 5), start(AB, 1, 5)], CD: [start(CD, 0, 5)]},
        {AB: [], CD: [start(CD, 0, 5), start(CD, 1, 5)]},
        # A pair without shared domains exists, so that those with one may not step in.
        {AB: [start(AB, 0, 5), start(AB, 1, 5)], CD: [], AC: [start(AC, 0, 5), start(AC, 1, 6)]},
    ],
)
def test_a_row_that_cannot_be_computed_is_absent(trials):
    assert transfer_pick(AB, trials, "P@1") is None


def test_a_search_by_labels_has_no_transfer_row():
    trials = {p: [start(p, 0, 5), start(p, 1, 6)] for p in (AB, CD)}
    for held in trials[AB]:
        object.__setattr__(held.config, "study", study(objective="oracle:P@1"))
    assert transfer_pick(AB, trials, "P@1") is None


def test_the_row_names_the_donors_and_its_gap_to_the_oracle():
    trials = {
        AB: [start(AB, 0, 80), start(AB, 1, 10)],
        AC: [start(AC, 0, 20), start(AC, 1, 70)],
    }
    picks = [transfer_pick(AB, trials, "P@1")]
    rows = {row["protocol"]: row for row in study_rows(trials[AB], "ab", CONTEXT, picks)}
    row = rows["transfer:shared"]
    assert (row["transfer_from"], row["P@1"], row["epoch"]) == ("a-c", 11, 3)
    assert row["oracle_gap"] == rows["oracle"]["P@1"] - 11 == 84
    assert rows["last"]["transfer_from"] is None


def test_only_pairs_whose_pick_changed_are_named():
    trials = {p: [start(p, 0, 20), start(p, 1, 70)] for p in (AB, CD)}
    held = StartTrials([(study().study_id, AB), (study().study_id, CD)], [*trials[AB], *trials[CD]])
    picks = TransferPicks(held, "P@1")
    assert picks.refreshed() == {(study().study_id, AB), (study().study_id, CD)}
    assert picks.refreshed() == set()
    worse, better = start(CD, 2, 1), start(CD, 3, 99)
    for new in (start(AB, 2, 50), start(AB, 3, 50), worse):
        assert held.add(new)
        picks.start_trial_ended(new)
    assert picks.refreshed() == set()
    held.add(better)
    picks.start_trial_ended(better)
    assert picks.refreshed() == {(study().study_id, AB)}
    assert picks.of(study().study_id, AB)[0].trial.config.number == 3
    # A proposal of the sampler changes nothing.
    assert not held.add(start(CD, 9, 99, origin="proposed"))


def four_domains():
    two = toy_index()
    other = [dataclasses.replace(d, name=n) for d, n in zip(two.domains, ("c", "d"))]
    return dataclasses.replace(two, domains=(*two.domains, *other))


def make_driver(folder, pairs, trials=4):
    store = ResultsStore(folder, "toy", (1, 5, 15))
    store.open_for_writing(four_domains())
    return SearchDriver([plan(trials)], pairs, four_domains(), store, folder / "storage", CONTEXT)


def finish(search, config, good):
    """Ends a trial whose P@1 is 90 if its setting is start point ``good``, else 10."""
    wins = config.params["tau"] == start_point(good, SPACE, PAPER, 0)["tau"]
    metrics = {"P@1": 90.0 if wins else 10.0, "n_valid_queries": 3}
    sealed = base64.b64encode(json.dumps({"ab": metrics, "ba": metrics}).encode()).decode()
    for number in range(4):
        sent = report(config, number, objective(config), sealed)
        scores = {"mutual_nn": objective(config)}
        sent.epochs[number] = dataclasses.replace(sent.epochs[number], validators=scores)
        search.report(sent)
    source = search.store.root.parent / "storage" / config.trial_id
    source.mkdir(parents=True, exist_ok=True)
    for number in (1, 3):
        for ending in (".safetensors", ".a.npy", ".b.npy"):
            (source / f"{config.trial_id}@{number}{ending}").write_text("")
    return search.end(config)


def test_a_search_writes_transfer_rows_and_keeps_the_weights_of_these_picks(tmp_path):
    search = make_driver(tmp_path, (AB, CD))
    while (config := search.next_trial()) is not None:
        finish(search, config, good={AB: 0, CD: 1}[config.pair])
    search.finish()
    search.store.close()
    board = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    rows = board[board["protocol"] == "transfer"].set_index(["query", "gallery"])
    # On a-b the setting is taken that wins on c-d, and the other way round.
    assert len(rows) == 4
    assert rows.loc[("a", "b"), "trial_id"].endswith(".a-b.0001")
    assert rows.loc[("d", "c"), "trial_id"].endswith(".c-d.0000")
    assert rows.loc[("a", "b"), "transfer_from"] == "c-d"
    assert set(rows["P@1"]) == {10.0}
    assert set(rows["oracle_gap"]) == {80.0}
    picked = {path.name for path in (tmp_path / "toy" / "picks").iterdir()}
    trained = board[board["kind"] == "trained"]
    assert picked == {
        f"{trial_id}@{number}{ending}"
        for trial_id, number in zip(trained["trial_id"], trained["epoch"])
        for ending in (".safetensors", ".a.npy", ".b.npy")
    }
    assert not list((tmp_path / "storage").iterdir())
    judges = pd.read_parquet(tmp_path / "toy" / "validators.parquet")
    pooled = judges[(judges["kind"] == "pooled") & (judges["validator"] == "mutual_nn")].iloc[0]
    assert (pooled["metric"], pooled["n_pairs"], pooled["n_trials"]) == ("P@1", 2, 4)
    assert pooled["is_objective"]


def test_what_ended_trials_left_waits_until_the_search_is_over(tmp_path):
    """A trial of another pair may still make it a ``transfer`` pick."""
    search = make_driver(tmp_path, (AB, CD))
    ended = []
    while (config := search.next_trial()) is not None:
        finish(search, config, good=0)
        ended.append(config.trial_id)
        for trial_id in ended:
            assert (tmp_path / "storage" / trial_id / f"{trial_id}@3.safetensors").exists()
        if search.missing:
            search.finish()
    search.finish()
    assert not list((tmp_path / "storage").iterdir())
    search.store.close()


def test_pairs_of_an_earlier_run_give_and_take(tmp_path):
    for pairs in ((AB,), (CD,)):
        search = make_driver(tmp_path, pairs)
        while (config := search.next_trial()) is not None:
            finish(search, config, good={AB: 0, CD: 1}[config.pair])
        search.finish()
        search.store.close()
    board = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    rows = board[board["protocol"] == "transfer"]
    assert set(zip(rows["query"], rows["transfer_from"])) == {
        ("a", "c-d"), ("b", "c-d"), ("c", "a-b"), ("d", "a-b"),
    }  # fmt: skip
    assert len(board[board["protocol"] == "chance"]) == 4
