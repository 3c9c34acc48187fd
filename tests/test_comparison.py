import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from harness.errors import UsageError
from harness.leaderboard.store import write_table
from harness.statistics.comparison import ClassSums, bootstrap_difference, class_sums, compare
from harness.statistics.intervals import FILE, intervals, write_intervals
from harness.statistics.query_files import queries_path, queries_schema

OPTIONS = {"paired_seeds": False, "n_resamples": 4000, "seed": 0, "confidence": 0.95}


def sums(value_SC, weight=1.0):
    value_SC = np.asarray(value_SC, dtype=np.float64)
    weight_C = np.full(value_SC.shape[1], weight)
    return ClassSums(value_SC * weight_C, weight_C)


def test_a_constant_shift_is_known_exactly():
    rng = np.random.default_rng(1)
    one_SC = np.repeat(rng.uniform(0, 80, (1, 12)), 3, axis=0)
    found = bootstrap_difference(sums(one_SC + 7), sums(one_SC), **OPTIONS)
    assert (found.difference, found.low, found.high) == pytest.approx((7, 7, 7))


def test_over_classes_alone_it_is_the_percentile_bootstrap_of_scipy():
    rng = np.random.default_rng(2)
    left_C, right_C = rng.normal(60, 20, 40), rng.normal(55, 20, 40)
    found = bootstrap_difference(sums([left_C]), sums([right_C]), **OPTIONS)
    reference = stats.bootstrap(
        (left_C - right_C,), np.mean, method="percentile", n_resamples=4000, rng=3
    ).confidence_interval
    assert found.difference == pytest.approx((left_C - right_C).mean())
    width = reference.high - reference.low
    assert abs(found.low - reference.low) < 0.1 * width
    assert abs(found.high - reference.high) < 0.1 * width


def test_the_spread_of_seeds_widens_the_interval_as_theory_says():
    seeds_left, seeds_right = np.arange(8.0) * 3, np.arange(8.0) * 2
    left = sums(np.repeat(50 + seeds_left[:, None], 30, axis=1))
    right = sums(np.repeat(50 + seeds_right[:, None], 30, axis=1))
    found = bootstrap_difference(left, right, **OPTIONS)
    error = np.sqrt(seeds_left.var() / 8 + seeds_right.var() / 8)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_it_equals_a_slow_loop_over_the_same_draws():
    rng = np.random.default_rng(4)
    part_SC, weight_C = rng.uniform(0, 300, (3, 5)), np.array([1.0, 2, 3, 4, 5])
    other_SC = rng.uniform(0, 300, (2, 5))
    found = bootstrap_difference(
        ClassSums(part_SC, weight_C), ClassSums(other_SC, weight_C),
        paired_seeds=False, n_resamples=50, seed=9, confidence=0.8,
    )  # fmt: skip
    draws = np.random.default_rng(9)
    class_RC = draws.multinomial(5, [0.2] * 5, size=50)
    left_RS = draws.multinomial(3, [1 / 3] * 3, size=50)
    right_RS = draws.multinomial(2, [0.5] * 2, size=50)
    values = []
    for classes, left, right in zip(class_RC, left_RS, right_RS):
        sides = []
        for held_SC, seeds in ((part_SC, left), (other_SC, right)):
            drawn = [
                sum(n * held_SC[s, c] for c, n in enumerate(classes))
                / sum(n * weight_C[c] for c, n in enumerate(classes))
                for s, times in enumerate(seeds)
                for _ in range(times)
            ]
            sides.append(np.mean(drawn))
        values.append(sides[0] - sides[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])))


def queries_of(trial_id, rng, shift=0.0, n=24, images=None):
    rows = []
    for seed in range(3):
        noise = rng.normal(0, 1)
        for number in range(n):
            label = number % 4
            rows.append(
                {
                    "trial_id": trial_id,
                    "confirmation": f"{trial_id}.seed{seed}",
                    "query": "a",
                    "gallery": "b",
                    "epoch_by": "last",
                    "epoch": 3,
                    "image": f"a/{number + (images or 0)}.png",
                    "class": "wxyz"[label],
                    "n_relevant": 0 if label == 3 else 2 + label,
                    "AP": None if label == 3 else 50 + 5 * label + shift + noise,
                    "P@1": None if label == 3 else 40 + shift,
                    "P@5": None if label == 3 else 10.0 * label + shift,
                }
            )
    return rows


def held(folder, trial_id, rows):
    schema = queries_schema((1, 5))
    write_table(pa.Table.from_pylist(rows, schema=schema), queries_path(folder, trial_id))
    return {"trial_id": trial_id, "protocol": "last", "query": "a", "gallery": "b"}


def test_rows_are_compared_from_their_files(tmp_path):
    rng = np.random.default_rng(5)
    left = held(tmp_path, "left", queries_of("left", rng, shift=8))
    right = held(tmp_path, "right", queries_of("right", rng))
    found = compare(tmp_path, left, right, "mAP@All", n_resamples=500)
    assert found.low < found.difference < found.high
    assert found.low > 0
    again = compare(tmp_path, left, right, "mAP@All", n_resamples=500)
    assert found == again
    assert compare(tmp_path, left, right, "P@1").difference == pytest.approx(8)
    back = compare(tmp_path, right, left, "mAP@All", n_resamples=500)
    assert back.difference == pytest.approx(-found.difference)
    itself = compare(tmp_path, left, left, "mAP@All", n_resamples=200)
    assert (itself.difference, itself.low, itself.high) == (0, 0, 0)


def test_precision_at_k_weighs_a_query_by_what_it_could_find():
    frame = pd.DataFrame(queries_of("t", np.random.default_rng(6)))
    held_ = class_sums(frame, "P@5")
    # Classes w, x, y have 2, 3 and 4 relevant images, all below k; z has none and counts not.
    assert held_.weight_C.tolist() == [12, 18, 24]
    assert held_.part_SC[0].tolist() == [0, 180, 480]
    assert class_sums(frame, "P@5.query_mean").weight_C.tolist() == [6, 6, 6]


def test_what_cannot_be_compared_is_refused(tmp_path):
    rng = np.random.default_rng(7)
    left = held(tmp_path, "left", queries_of("left", rng))
    other = held(tmp_path, "other", queries_of("other", rng, images=1))
    with pytest.raises(UsageError, match="same queries and gallery"):
        compare(tmp_path, left, other, "mAP@All")
    with pytest.raises(UsageError, match="--confirm N"):
        compare(tmp_path, left, {**left, "trial_id": "none"}, "mAP@All")
    with pytest.raises(UsageError, match="Did you mean 'mAP@All'"):
        compare(tmp_path, left, left, "mAP")
    with pytest.raises(UsageError, match="no scores of"):
        compare(tmp_path, left, {**left, "protocol": "oracle"}, "mAP@All")


def board_row(row, study, value, protocol="last", **changes):
    same = {"scenario": "close", "backbone": "r", "weights": "random", "image_size": 32}
    return {
        **row,
        **same,
        "epochs": 3,
        "kind": "trained",
        "confirmed": True,
        "method": study,
        "study_id": study,
        "n_seeds": 3,
        "protocol": protocol,
        "mAP@All": value,
        **changes,
    }


def test_confirmed_rows_of_one_board_get_an_interval_each_way_once(tmp_path):
    rng = np.random.default_rng(8)
    strong = held(tmp_path, "strong", queries_of("strong", rng, shift=8))
    weak = held(tmp_path, "weak", queries_of("weak", rng))
    board = [
        board_row(weak, "m1", 50.0),
        board_row(strong, "m2", 58.0),
        board_row({**weak, "trial_id": "unconfirmed"}, "m3", 60.0, confirmed=False),
        board_row(strong, "m4", 58.0, epochs=9),
        board_row({**weak, "trial_id": None}, "floor", 10.0, kind="floor"),
    ]
    found = intervals(tmp_path, board, ["m1", "m2", "m3", "m4"], "mAP@All")
    assert [(row["left.method"], row["right.method"]) for row in found] == [("m2", "m1")]
    assert found[0]["low"] < found[0]["difference"] < found[0]["high"]
    direct = compare(tmp_path, strong, weak, "mAP@All")
    assert found[0]["difference"] == direct.difference
    write_intervals(tmp_path, ["m1", "m2"], found)
    write_intervals(tmp_path, ["m8", "m9"], [{**found[0], "left.study_id": "m8"}])
    write_intervals(tmp_path, ["m1", "m2"], found)
    frame = pd.read_parquet(tmp_path / FILE)
    assert sorted(frame["left.study_id"]) == ["m2", "m8"]
