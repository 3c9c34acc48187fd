import math

import pandas as pd
import pytest
from study_examples import CONTEXT, epoch, record, study, toy_index

from harness.errors import UsageError
from harness.leaderboard.board import chance_row, merge_rows, study_rows
from harness.leaderboard.store import ResultsStore
from harness.selection.protocols import picks


def trials():
    """Trial 0 is the paper's. By objective trial 1 is best at the end and trial 2 at epoch 1."""
    start = epoch(0, 0.99, 1, 1)
    return [
        record(
            0, start, epoch(1, 0.1, 20, 20), epoch(2, 0.2, 60, 40), epoch(3, 0.2, 30, 30),
            is_paper_point=True, origin="start",
        ),
        record(1, start, epoch(1, 0.1, 1, 1), epoch(2, 0.3, 2, 2), epoch(3, 0.5, 31, 33)),
        record(2, start, epoch(1, 0.9, 10, 12), epoch(2, 0.3, 9, 9), epoch(3, 0.4, 70, 50)),
        record(3, start, epoch(1, 0.99, 90, 90), status="pruned"),
        record(4, start, epoch(1, 0.99, 90, 90), status="failed"),
        record(5, start, epoch(1, 0.1, 1, 1), epoch(2, 0.1, 1, 1), epoch(3, math.nan, 1, 1)),
    ]  # fmt: skip


def chosen(protocol):
    return {
        pick.protocol: (pick.trial.config.number, pick.epoch.epoch)
        for pick in picks(trials(), "P@1")
    }[protocol]


def test_each_protocol_picks_what_it_may_know():
    assert chosen("last") == (1, 3)
    assert chosen("label_free:mutual_nn") == (2, 1)
    assert chosen("paper") == (0, 2)
    assert chosen("oracle") == (2, 3)


def test_a_search_by_labels_gives_no_label_free_rows():
    held = [
        record(0, epoch(1, 0.5, 50, 50), epoch(3, 0.5, 50, 50), is_paper_point=True),
    ]
    for trial in held:
        object.__setattr__(trial.config, "study", study(objective="oracle:P@1"))
    assert {pick.protocol for pick in picks(held, "P@1")} == {"paper", "oracle"}


def test_rows_that_cannot_be_computed_are_absent():
    assert picks([record(0, status="failed")], "P@1") == []
    assert picks([], "P@1") == []
    without_paper = [record(0, epoch(1, 0.5, 1, 1))]
    assert {pick.protocol for pick in picks(without_paper, "P@1")} == {
        "last",
        "label_free:mutual_nn",
        "oracle",
    }


def test_of_equal_objectives_the_first_trial_and_epoch_are_taken():
    held = [
        record(0, epoch(1, 0.5, 1, 1), epoch(2, 0.5, 1, 1)),
        record(1, epoch(1, 0.5, 1, 1), epoch(2, 0.5, 1, 1)),
    ]
    found = {p.protocol: (p.trial.config.number, p.epoch.epoch) for p in picks(held, "P@1")}
    assert found["last"] == (0, 2)
    assert found["label_free:mutual_nn"] == (0, 1)


def board(direction="ab"):
    rows = study_rows(trials(), direction, CONTEXT)
    rows.append(chance_row(study(), ("a", "b"), direction, {"P@1": 8.3}, CONTEXT))
    return merge_rows([], rows, "P@1")


def test_a_board_has_its_rows_in_order_with_floors_and_chance():
    rows = board()
    assert [row["protocol"] for row in rows] == [
        "last",
        "label_free:mutual_nn",
        "paper",
        "oracle",
        "floor",
        "floor:pooled",
        "chance",
    ]
    by = {row["protocol"]: row for row in rows}
    assert by["last"]["P@1"] == 31
    assert by["last"]["oracle_gap"] == 70 - 31
    assert by["label_free:mutual_nn"]["oracle_gap"] == 70 - 10
    assert by["oracle"].get("oracle_gap") is None
    assert by["paper"].get("oracle_gap") is None
    assert by["floor"]["P@1"] == 1
    assert by["floor:pooled"]["P@1"] == 1.0
    assert by["floor"]["epoch"] == 0
    assert (by["chance"]["kind"], by["chance"]["P@1"]) == ("chance", 8.3)
    assert all((row["rank"] is None) == (row["kind"] != "trained") for row in rows)


def test_the_other_direction_shares_the_pick_and_swaps_the_domains():
    row = next(row for row in board("ba") if row["protocol"] == "last")
    assert (row["query"], row["gallery"], row["P@1"]) == ("b", "a", 33)
    assert row["mAP@All"] is None


def test_k_mode_says_how_k_came_about():
    # Trial 2 has K = 7; the data set of the context has 12 classes.
    assert board()[1]["k_mode"] == "searched"


@pytest.mark.parametrize(("clusters", "mode"), [("elbow", "elbow"), ("12", "true"), ("7", "fixed")])
def test_k_mode_of_a_number_of_clusters_that_may_be_estimated(clusters, mode):
    trial = record(0, epoch(1, 0.5, 1, 1))
    object.__setattr__(trial.config, "params", {"clusters": clusters})
    object.__setattr__(trial.config, "searched", ())
    rows = study_rows([trial], "ab", CONTEXT)
    assert {row["k_mode"] for row in rows if row["kind"] == "trained"} == {mode}


def test_rows_of_other_studies_stay_and_are_ranked_with_the_new_ones():
    first = board()
    other = [
        {**row, "study_id": "other-1", "P@1": 99.0}
        for row in first
        if row["kind"] in ("trained", "floor")
    ]
    rows = merge_rows(other, board(), "P@1")
    last = [row for row in rows if row["protocol"] == "last"]
    assert [(row["study_id"].partition("-")[0], row["rank"]) for row in last] == [
        ("other", 1),
        ("cluster", 2),
    ]
    again = merge_rows(rows, board(), "P@1")
    assert len(again) == len(rows)


def test_only_rows_of_equal_budget_are_ranked_against_each_other():
    other = [
        {**row, "study_id": "other-1", "P@1": 99.0, "epochs": 200}
        for row in board()
        if row["kind"] == "trained"
    ]
    rows = merge_rows(other, board(), "P@1")
    assert {row["rank"] for row in rows if row["kind"] == "trained"} == {1}


def test_pandas_reads_all_boards_into_one_frame_with_equal_columns(tmp_path):
    store = ResultsStore(tmp_path, "toy", (1, 5, 15))
    store.open_for_writing(toy_index())
    # The first file lacks K altogether; its column must not vanish.
    store.write_board("a", "b", [row for row in board() if row["kind"] == "chance"])
    store.write_board("b", "a", board("ba"))
    store.close()
    frame = pd.read_parquet(tmp_path / "toy" / "leaderboard")
    assert len(frame) == 1 + 7
    assert str(frame["K"].dtype) == "Int64"
    assert str(frame["rank"].dtype) == "Int64"
    assert frame["K"].notna().sum() == 4
    metrics = [name for name in frame if name.startswith(("P@", "mAP"))]
    assert metrics
    for name in metrics:
        assert str(frame[name].dtype) == "float64"
        assert frame[name].dropna().between(0, 100).all()


def test_a_trial_file_gives_the_same_trial_back(tmp_path):
    store = ResultsStore(tmp_path, "toy", (1, 5, 15))
    store.open_for_writing(toy_index())
    for held in trials():
        store.write_trial(held)
        again = store.find_trial(held.config.trial_id)
        assert again is not None
        assert again.config == held.config
        assert again.status == held.status
        assert sorted(again.epochs) == sorted(held.epochs)
        assert again.epochs[1].metrics["ab"] == held.epochs[1].metrics["ab"]
        # A NaN is a null in the file, and a missing metric afterwards.
        assert "mAP@All" not in again.epochs[1].metrics["ba"]
    store.close()
    frame = pd.read_parquet(tmp_path / "toy" / "trials")
    by_trial = frame.groupby("trial_id")
    assert (by_trial.size() == by_trial["epoch"].nunique() * 2).all()


def test_a_trial_that_failed_before_its_first_epoch_has_one_row_per_direction(tmp_path):
    store = ResultsStore(tmp_path, "toy", (1, 5, 15))
    store.open_for_writing(toy_index())
    failed = record(0, status="failed")
    failed.error_type, failed.error_last_line = "ValueError", "no"
    store.write_trial(failed)
    store.close()
    frame = pd.read_parquet(tmp_path / "toy" / "trials")
    assert len(frame) == 2
    assert frame["epoch"].isna().all()
    assert set(frame["error_type"]) == {"ValueError"}


def test_two_drivers_on_one_folder_are_kept_apart(tmp_path):
    first = ResultsStore(tmp_path, "toy", (1,))
    first.open_for_writing(toy_index())
    with pytest.raises(UsageError, match="Another run"):
        ResultsStore(tmp_path, "toy", (1,)).open_for_writing(toy_index())
    first.close()
    ResultsStore(tmp_path, "toy", (1,)).open_for_writing(toy_index())


def test_what_a_killed_driver_left_half_written_is_removed_at_the_next_start(tmp_path):
    for folder in ("", "in_flight", "trials/a-b", "leaderboard"):
        (tmp_path / "toy" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "toy" / folder / ".half.tmp").write_text("half")
    store = ResultsStore(tmp_path, "toy", (1,))
    store.open_for_writing(toy_index())
    store.close()
    assert not list((tmp_path / "toy").rglob("*.tmp"))


def test_other_images_under_the_same_name_are_refused_and_the_difference_is_named(tmp_path):
    import dataclasses

    store = ResultsStore(tmp_path, "toy", (1,))
    store.open_for_writing(toy_index(6))
    store.close()
    changed = dataclasses.replace(toy_index(7), fingerprint="g")
    with pytest.raises(UsageError, match=r"a \(6 images then, 7 now\)"):
        ResultsStore(tmp_path, "toy", (1,)).open_for_writing(changed)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        ResultsStore(tmp_path / "file", "toy", (1,)).open_for_writing(toy_index())


def answer(value, **changes):
    cells = {
        **{"kind": "trained", "protocol": "last", "scenario": "partial", "scenario_seed": 1},
        **{"backbone": "b", "weights": "w", "image_size": 32, "epochs": 3, "precision": "fp32"},
        **{"fingerprint": "f", "method": "m", "study_id": f"s{value}", "P@1": value},
    }
    return cells | changes


@pytest.mark.parametrize(
    "other",
    [
        {"scenario_seed": 2},
        {"half_classes": "a,b"},
        {"precision": "bf16"},
        {"fingerprint": "g"},
        {"epochs": 4},
    ],
)
def test_rows_of_another_question_are_not_ranked_together(other):
    rows = merge_rows([], [answer(10.0), answer(20.0, **other)], "P@1")
    assert [row["rank"] for row in rows] == [1, 1]
    together = merge_rows([], [answer(10.0), answer(20.0)], "P@1")
    assert [(row["P@1"], row["rank"]) for row in together] == [(20.0, 1), (10.0, 2)]


def test_without_a_class_split_its_seed_separates_nothing():
    rows = [answer(10.0, scenario="close"), answer(20.0, scenario="close", scenario_seed=2)]
    assert [row["rank"] for row in merge_rows([], rows, "P@1")] == [1, 2]


def test_chance_rows_of_two_class_splits_stand_beside_each_other():
    one, other = (
        answer(seed, kind="chance", protocol="chance", study_id=None, scenario_seed=seed)
        for seed in (1, 2)
    )
    both = merge_rows(merge_rows([], [one], "P@1"), [other], "P@1")
    assert sorted(row["scenario_seed"] for row in both) == [1, 2]
    assert len(merge_rows(both, [other], "P@1")) == 2
