"""Confirmations handed out by a driver by hand: no Ray, no training, made-up reports."""

import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from driven_search import PAIR, driver, failed, report
from study_examples import plan

from harness.evaluation.query_scores import unseal_queries
from harness.evaluation.vault import LabelVault
from harness.records import TrialRecord
from harness.search.confirmation import Confirmations, confirmation_of
from harness.training.checkpoint import trial_folder

LABELS = np.arange(6) % 2
VAULT = LabelVault(LABELS, LABELS, (1, 5, 15))


def embeddings(seed):
    """Two domains whose images are retrieved more or less well, as the seed will have it."""
    rng = torch.Generator().manual_seed(seed % 2**31)
    centre = torch.eye(2).repeat(3, 1) + 0.0
    return tuple(
        torch.nn.functional.normalize(centre + 0.8 * torch.randn(6, 2, generator=rng), dim=1)
        for _ in range(2)
    )


def finish(search, config):
    """Three epochs; the objective is best after the second, whatever the metrics say."""
    for epoch in range(4):
        z_a_ND, z_b_ND = embeddings(config.seed + epoch)
        value = -abs(config.params["K"] - 20) / 50 + (0.01 if epoch == 2 else 0.0)
        sent = report(config, epoch, value, VAULT.score(z_a_ND, z_b_ND))
        if config.confirms and epoch == 3:
            sent.queries = {e: VAULT.score_queries(*embeddings(config.seed + e)) for e in (1, 2, 3)}
        search.report(sent)
    return search.end(config)


def run_all(search, most=1000):
    configs = []
    while len(configs) < most and (config := search.next_trial()) is not None:
        configs.append(config)
        finish(search, config)
    search.finish()
    search.store.close()
    return configs


def board(folder, query="a", gallery="b"):
    frame = pd.read_parquet(folder / "toy" / "leaderboard" / f"{query}-{gallery}.parquet")
    return frame[frame["kind"] == "trained"].set_index("protocol")


def test_each_pick_is_trained_once_per_fresh_seed_however_many_protocols_share_it(tmp_path):
    configs = run_all(driver(tmp_path, plan(3), confirm=3))
    searched = [c for c in configs if not c.confirms]
    fresh = [c for c in configs if c.confirms]
    assert configs == searched + fresh
    assert len(searched) == 3
    picked = set(board(tmp_path)["trial_id"])
    assert {c.confirms for c in fresh} == picked
    assert len(fresh) == 3 * len(picked)
    assert len({(c.seed, c.init_seed) for c in configs}) == len(configs)
    by_id = {c.trial_id: c for c in searched}
    assert all(c.params == by_id[c.confirms].params for c in fresh)


def test_rows_hold_mean_and_std_of_the_fresh_seeds_at_the_protocols_own_epoch(tmp_path):
    configs = run_all(driver(tmp_path, plan(3), confirm=3))
    rows = board(tmp_path)
    for protocol, epoch_of in (
        ("last", lambda config: 3),
        ("label_free:mutual_nn", lambda config: 2),
        ("oracle", best_by_labels),
        ("paper", best_by_labels),
    ):
        row = rows.loc[protocol]
        values = [
            score(config, epoch_of(config), "ab")
            for config in configs
            if config.confirms == row["trial_id"]
        ]
        assert len(values) == 3
        assert row["P@1"] == pytest.approx(statistics.fmean(values))
        assert row["P@1.std"] == pytest.approx(statistics.stdev(values))
        assert row["n_seeds"] == 3
        assert row["confirmed"]
    gap = rows.loc["oracle", "P@1"] - rows.loc["last", "P@1"]
    assert rows.loc["last", "oracle_gap"] == pytest.approx(gap)


def score(config, epoch, way):
    from harness.evaluation.vault import unseal

    return unseal(VAULT.score(*embeddings(config.seed + epoch)))[way]["P@1"]


def best_by_labels(config):
    values = [(score(config, e, "ab") + score(config, e, "ba")) / 2 for e in (1, 2, 3)]
    return 1 + values.index(max(values))


def test_confirmations_never_count_towards_the_search(tmp_path):
    run_all(driver(tmp_path, plan(4), confirm=2))
    trials = pd.read_parquet(tmp_path / "toy" / "trials")
    assert trials["trial_id"].nunique() == 4
    held = pd.read_parquet(tmp_path / "toy" / "confirmations")
    assert held["trial_id"].nunique() == 2 * board(tmp_path)["trial_id"].nunique()
    extended = run_all(driver(tmp_path, plan(6)))
    assert [c.number for c in extended] == [4, 5]
    plain = run_all(driver(tmp_path / "plain", plan(6)))
    assert [c.params for c in extended] == [c.params for c in plain[4:]]


def test_the_same_command_again_trains_nothing_and_a_cut_one_goes_on(tmp_path):
    whole = run_all(driver(tmp_path / "whole", plan(4), confirm=2))
    assert run_all(driver(tmp_path / "whole", plan(4), confirm=2)) == []
    cut = driver(tmp_path / "cut", plan(4), confirm=2)
    done = [finish(cut, cut.next_trial()).config for _ in range(5)]
    left = cut.next_trial()
    assert left.confirms
    cut.store.close()  # killed here, with one confirmation in flight
    again = driver(tmp_path / "cut", plan(4), confirm=2)
    assert (again.ended, again.total) == (5, len(whole))
    rest = run_all(again)
    assert rest[0] == left
    assert done + rest == whole
    columns = ["trial_id", "P@1", "P@1.std", "n_seeds"]
    pd.testing.assert_frame_equal(
        board(tmp_path / "whole")[columns], board(tmp_path / "cut")[columns]
    )
    assert not list((tmp_path / "cut" / "toy" / "in_flight").glob("*"))


def test_more_seeds_extend_and_a_run_without_the_flag_keeps_the_confirmed_rows(tmp_path):
    run_all(driver(tmp_path, plan(4), confirm=2))
    more = run_all(driver(tmp_path, plan(4), confirm=3))
    assert all(c.trial_id.endswith(".seed2") for c in more)
    assert set(board(tmp_path)["n_seeds"]) == {3}
    before = board(tmp_path)
    assert run_all(driver(tmp_path, plan(4))) == []
    pd.testing.assert_frame_equal(board(tmp_path), before)


def test_rows_stay_as_searched_until_every_seed_of_the_pick_has_ended(tmp_path):
    run_all(driver(tmp_path / "plain", plan(4)))
    unconfirmed = board(tmp_path / "plain")
    assert not unconfirmed["confirmed"].any()
    assert unconfirmed["P@1.std"].isna().all()
    search = driver(tmp_path / "cut", plan(4), confirm=2)
    for _ in range(5):
        finish(search, search.next_trial())
    search.finish()
    search.store.close()
    rows = board(tmp_path / "cut")
    pd.testing.assert_series_equal(rows["P@1"], unconfirmed["P@1"])


def test_a_confirmation_waits_for_the_end_of_its_pairs_search_alone(tmp_path):
    pairs = (("a", "b"), ("b", "a"))
    search = driver(tmp_path, plan(1), pairs=pairs, confirm=1)
    first, second = search.next_trial(), search.next_trial()
    assert search.next_trial() is None
    assert search.more_to_come
    finish(search, first)
    fresh = search.next_trial()
    assert (fresh.confirms, fresh.pair) == (first.trial_id, first.pair)
    assert search.next_trial() is None
    assert search.more_to_come
    finish(search, second)
    assert search.next_trial().confirms == second.trial_id
    assert search.next_trial() is None
    assert not search.more_to_come
    search.store.close()


def test_without_a_pick_there_is_nothing_to_confirm(tmp_path):
    search = driver(tmp_path, plan(1), confirm=2)
    config = search.next_trial()
    search.end(config, failed(config))
    assert search.next_trial() is None
    assert not search.more_to_come
    search.store.close()


def test_a_failed_confirmation_is_left_out_of_the_mean_and_can_be_tried_again(tmp_path):
    search = driver(tmp_path, plan(1), confirm=3)
    finish(search, search.next_trial())
    for number in range(3):
        config = search.next_trial()
        if number == 1:
            search.end(config, failed(config))
        else:
            finish(search, config)
    search.finish()
    search.store.close()
    assert set(board(tmp_path)["n_seeds"]) == {2}
    assert len(pd.read_parquet(tmp_path / "toy" / "failures.parquet")) == 1
    assert run_all(driver(tmp_path, plan(1), confirm=3)) == []
    again = run_all(driver(tmp_path, plan(1), confirm=3, retry_failed=True))
    assert [c.trial_id.rpartition(".")[2] for c in again] == ["seed1"]
    assert set(board(tmp_path)["n_seeds"]) == {3}


def test_scores_of_single_queries_average_to_the_rows(tmp_path):
    run_all(driver(tmp_path, plan(4), confirm=2))
    rows = board(tmp_path)
    row = rows.loc["last"]
    queries = pd.read_parquet(tmp_path / "toy" / "queries" / f"{row['trial_id']}.parquet")
    own = queries[(queries["epoch_by"] == "last") & (queries["query"] == "a")]
    assert len(own) == 2 * 6
    assert own["AP"].mean() == pytest.approx(row["mAP@All"])
    assert own["P@1"].mean() == pytest.approx(row["P@1"])
    assert set(own["n_relevant"]) == {3}
    assert dict(zip(own["image"], own["class"], strict=True)) == {
        f"a/{i}.png": "xy"[i % 2] for i in range(6)
    }
    weights = own["n_relevant"].clip(upper=5)
    assert (own["P@5"] * weights).sum() / weights.sum() == pytest.approx(row["P@5"])


def test_the_checkpoints_of_an_ended_confirmation_are_gone(tmp_path):
    search = driver(tmp_path, plan(1), confirm=1)
    finish(search, search.next_trial())
    config = search.next_trial()
    folder = trial_folder(tmp_path / "storage", config.trial_id)
    folder.mkdir(parents=True)
    (folder / "000001.x.pt").write_bytes(b"")
    finish(search, config)
    assert not folder.exists()
    search.store.close()


def test_sealed_queries_open_to_what_the_metrics_are_made_of():
    vault = LabelVault([0, 1, 2], [0, 0, 1], (1, 5))
    z_a_ND, z_b_ND = torch.eye(3), torch.eye(3)
    sealed = vault.score_queries(z_a_ND, z_b_ND)
    assert repr(sealed) == "Sealed(...)"
    scores = unseal_queries(str(sealed))["ab"]
    assert scores.relevant_Q.tolist() == [2, 1, 0]
    # Query 0 ranks gallery 0, 1, 2; query 1 ranks 1, 0, 2; query 2 has no relevant image.
    assert scores.ap_Q[:2].tolist() == [100.0, pytest.approx(100 / 3)]
    assert np.isnan(scores.ap_Q[2])
    assert scores.precision_at_Q[1][:2].tolist() == [100.0, 0.0]
    assert scores.precision_at_Q[5][:2].tolist() == [100.0, 0.0]


def test_fresh_seeds_depend_on_study_seed_pick_and_number_alone():
    search_config = plan(1).first_trial(PAIR)
    one = confirmation_of(search_config, 0)
    assert one == confirmation_of(search_config, 0)
    assert one.seed != confirmation_of(search_config, 1).seed
    other = replace(search_config, study=replace(search_config.study, seed=1))
    assert one.seed != confirmation_of(other, 0).seed
    queue = Confirmations(2, [TrialRecord(config=one, status="finished")])
    queue.plan([search_config, search_config])
    assert (list(queue.waiting), queue.done) == ([f"{search_config.trial_id}.seed1"], 1)
