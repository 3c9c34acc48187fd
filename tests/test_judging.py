"""Validators judged against the truth, on made-up start trials."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from study_examples import epoch, record, study

from harness.statistics import judging
from harness.statistics.judging import judge_pair, judge_study, spearman, weighted_spearman

AB, CD = ("a", "b"), ("c", "d")


@pytest.fixture(autouse=True)
def validators(monkeypatch):
    directions = {"high": "max", "low": "min"}
    monkeypatch.setattr(judging, "validator_names", lambda: ("high", "low"))
    monkeypatch.setattr(
        judging, "get_validator", lambda name: SimpleNamespace(direction=directions[name])
    )


def trial(number, p1, high, low, pair=AB, **changes):
    last = dataclasses.replace(epoch(3, 0.1, p1 + 4, p1 - 4), validators={"high": high, "low": low})
    misleading = dataclasses.replace(epoch(1, 0.1, 99, 99), validators={"high": 9, "low": -9})
    held = record(number, misleading, last, **({"origin": "start"} | changes))
    trial_id = f"{study().study_id}.{'-'.join(pair)}.{number:04d}"
    config = dataclasses.replace(held.config, pair=pair, trial_id=trial_id)
    return dataclasses.replace(held, config=config)


def trials(pair=AB):
    """``high`` orders the trials rightly; ``low`` likes the worst of them best."""
    return [
        trial(0, 10, 0.1, -3, pair),
        trial(1, 20, 0.2, 2, pair),
        trial(2, 30, 0.3, 1, pair),
        trial(3, 40, 0.4, 0, pair),
    ]


def row(rows, validator, metric="P@1", kind="pair"):
    return next(
        r for r in rows
        if (r["validator"], r["metric"], r["kind"]) == (validator, metric, kind)
    )  # fmt: skip


def test_correlations_agree_with_scipy_and_with_a_slow_sum():
    draws = np.random.default_rng(0)
    for _ in range(20):
        score = draws.integers(0, 6, 12).astype(float)
        truth = draws.normal(size=12) + score
        assert spearman(score, truth) == pytest.approx(spearmanr(score, truth).statistic)
        ranks = {value: place for place, value in enumerate(sorted(set(score)), 1)}
        weights = [(ranks[value] / len(ranks)) ** 2 for value in score]
        x, y = (pd.Series(values).rank().tolist() for values in (score, truth))
        mean_x = sum(w * v for w, v in zip(weights, x)) / sum(weights)
        mean_y = sum(w * v for w, v in zip(weights, y)) / sum(weights)
        xy = sum(w * (u - mean_x) * (v - mean_y) for w, u, v in zip(weights, x, y))
        xx = sum(w * (u - mean_x) ** 2 for w, u in zip(weights, x))
        yy = sum(w * (v - mean_y) ** 2 for w, v in zip(weights, y))
        assert weighted_spearman(score, truth) == pytest.approx(xy / math.sqrt(xx * yy))


def test_a_mistake_at_the_top_weighs_more_than_one_at_the_bottom():
    score = np.arange(8.0)
    top, bottom = score.copy(), score.copy()
    top[[6, 7]] = top[[7, 6]]
    bottom[[0, 1]] = bottom[[1, 0]]
    assert spearman(score, top) == pytest.approx(spearman(score, bottom))
    assert weighted_spearman(score, top) < weighted_spearman(score, bottom) < 1


def test_what_cannot_be_correlated_is_nan():
    two = np.array([1.0, 2.0])
    assert math.isnan(spearman(two, two))
    assert math.isnan(weighted_spearman(two, two))
    same, three = np.zeros(3), np.arange(3.0)
    assert math.isnan(spearman(same, three))
    assert math.isnan(weighted_spearman(three, same))


def test_a_judge_is_judged_in_its_own_direction_at_the_last_epoch():
    rows = judge_pair(trials(), "P@1")
    right = row(rows, "high")
    assert (right["spearman"], right["regret"]) == (pytest.approx(1), 0)
    assert (right["best"], right["picked"], right["n_trials"]) == (40, 40, 4)
    assert right["random_regret"] == 40 - 25
    wrong = row(rows, "low")
    # Smaller is better: its favourite is trial 0.
    assert (wrong["regret"], wrong["picked"]) == (30, 10)
    assert wrong["spearman"] == pytest.approx(spearmanr([3, -2, -1, 0], [1, 2, 3, 4]).statistic)


def test_only_finished_start_trials_are_judged():
    others = [
        trial(4, 90, 0.0, 9, origin="proposed"),
        dataclasses.replace(trial(5, 90, 0.0, 9), status="pruned"),
        dataclasses.replace(trial(6, 90, 0.0, 9), status="failed"),
    ]
    assert judge_pair([*trials(), *others], "P@1") == judge_pair(trials(), "P@1")
    assert judge_pair(others, "P@1") == []


def test_a_judge_that_is_nan_for_the_best_trial_pays_for_it():
    held = trials()
    held[3] = trial(3, 40, math.nan, 0)
    assert row(judge_pair(held, "P@1"), "high")["regret"] == 10
    assert row(judge_pair(held, "P@1"), "high")["n_trials"] == 3
    held = [trial(n, 10, math.nan, n) for n in range(4)]
    assert {r["validator"] for r in judge_pair(held, "P@1")} == {"low"}


def test_a_figure_that_is_missing_everywhere_has_no_rows():
    # mAP@All of the direction b-a is NaN in these records, so that their mean is.
    assert {r["metric"] for r in judge_pair(trials(), "P@1")} == {"P@1"}


def test_pooled_rows_and_other_pairs():
    turned = [trial(n, 40 - 10 * n, 0.1 * n, -n, CD) for n in range(4)]
    rows = judge_study({AB: trials(), CD: turned}, "P@1")
    by_pair = {r["pair"]: r for r in rows if r["validator"] == "high"}
    assert by_pair["a-b"]["regret"] == by_pair["c-d"]["regret.other_pairs"] == 0
    assert by_pair["c-d"]["regret"] == by_pair["a-b"]["regret.other_pairs"] == 30
    pooled = by_pair[None]
    assert pooled["kind"] == "pooled"
    assert (pooled["n_pairs"], pooled["n_trials"]) == (2, 8)
    assert pooled["regret"] == 15
    assert pooled["spearman"] == pytest.approx(0)
    alone = judge_study({AB: trials()}, "P@1")
    assert math.isnan(row(alone, "high")["spearman.other_pairs"])


def test_without_a_choice_there_is_no_regret():
    """One trial is the best, the picked and the random one: 0 would claim a perfect judge."""
    alone = judge_study({AB: trials()[:1]}, "P@1")
    held = row(alone, "high")
    assert math.isnan(held["regret"])
    assert math.isnan(held["random_regret"])
    assert (held["n_trials"], held["best"], held["picked"]) == (1, 10, 10)
    assert {r["kind"] for r in alone} == {"pair"}
    two = row(judge_study({AB: trials()[:2]}, "P@1"), "low")
    assert (two["regret"], two["random_regret"]) == (10, 5)


def test_pooled_rows_leave_out_pairs_without_a_choice():
    rows = judge_study({AB: trials(), CD: trials(CD)[:1]}, "P@1")
    pooled = row(rows, "low", kind="pooled")
    assert (pooled["n_pairs"], pooled["n_trials"]) == (1, 4)
    assert (pooled["regret"], pooled["best"], pooled["picked"]) == (30, 40, 10)
    by_pair = {r["pair"]: r for r in rows if r["validator"] == "low"}
    assert math.isnan(by_pair["a-b"]["regret.other_pairs"])
    assert by_pair["c-d"]["regret.other_pairs"] == 30


def test_the_file_keeps_other_studies_and_has_one_schema(tmp_path):
    rows = judge_study({AB: trials()[:2]}, "P@1")
    judging.write_judges(tmp_path, [study().study_id], rows)
    judging.write_judges(tmp_path, ["other-1"], [{**r, "study_id": "other-1"} for r in rows])
    judging.write_judges(tmp_path, [study().study_id], judge_study({AB: trials()}, "P@1"))
    frame = pd.read_parquet(tmp_path / "validators.parquet")
    assert sorted(set(frame["study_id"])) == sorted(["other-1", study().study_id])
    # Two trials have no correlation; the column is a number all the same.
    assert frame.loc[frame["study_id"] == "other-1", "spearman"].isna().all()
    assert (frame.loc[frame["study_id"] != "other-1", "n_trials"] == 4).all()
    assert str(frame["spearman"].dtype) == "float64"
    judging.write_judges(tmp_path, [study().study_id, "other-1"], [])
    empty = pd.read_parquet(tmp_path / "validators.parquet")
    assert list(empty) == list(frame)
