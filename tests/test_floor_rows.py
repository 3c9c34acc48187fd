"""Methods that train nothing stand on the board as floors and take nobody's place."""

import pytest
from in_process_search import search, write_domains

from harness.commands.progress import board_table
from harness.leaderboard.floors import as_floors, floor_protocol, one_row_each, verdict

METHODS = ("instance", "floor", "floor_centred", "floor_csls")


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("floors")
    root = write_domains(folder / "squares", domains=2)
    return search(root, folder / "out", trials=3, pairs="ink-oil", epochs=1, method=METHODS).board


def of(board, method):
    return board[board["method"] == method]


def test_a_method_without_training_is_one_floor_row_by_its_name(board):
    for name, protocol in (
        ("floor", "floor:pooled"),
        ("floor_centred", "floor:centred"),
        ("floor_csls", "floor:csls"),
    ):
        rows = of(board, name)
        assert list(rows["protocol"]) == [protocol] * 2  # one in each direction
        assert rows["epoch"].isna().all()
        assert rows[["query", "gallery"]].drop_duplicates().shape[0] == 2
    floors = board[board["method"].str.startswith("floor")]
    assert set(floors["kind"]) == {"floor"}
    assert floors["rank"].isna().all()
    assert (floors["seconds"] > 0).all()


def test_a_training_beside_floors_is_ranked_alone_and_comes_before_them(board):
    trained = board[board["kind"] == "trained"]
    assert set(trained["method"]) == {"instance"}
    assert set(trained["rank"]) == {1}
    for _, directed in board.groupby(["query", "gallery"], sort=False):
        kinds = list(dict.fromkeys(directed["kind"]))
        assert kinds == ["trained", "floor", "chance"]


def test_pooled_features_score_alike_from_every_study(board):
    pooled = board[board["protocol"] == "floor:pooled"]
    assert set(pooled["method"]) == {"instance", "floor"}
    for _, directed in pooled.groupby(["query", "gallery"]):
        assert directed["P@1"].nunique() == 1


def test_the_printed_board_lists_pooled_features_once(board):
    rows = board[(board["query"] == "ink")].astype(object).where(board.notna(), None)
    table = board_table("ink → oil", rows.to_dict("records"), ["P@1", "mAP@All"], [])
    protocols = list(table.columns[1].cells)
    assert protocols.count("floor:pooled") == 1


def test_the_first_pick_is_the_row_whoever_else_would_choose():
    rows = [
        {"protocol": name, "method": "floor_centred", "kind": "trained", "oracle_gap": 0.0}
        for name in ("last", "paper", "oracle")
    ]
    (only,) = as_floors(rows)
    assert (only["protocol"], only["kind"], only["epoch"]) == ("floor:centred", "floor", None)
    assert as_floors([]) == []
    assert floor_protocol("nothing") == "floor:nothing"


def test_boards_of_an_earlier_version_keep_one_row_of_a_method_that_trains_nothing():
    rows = [
        *(
            {**{"method": "floor_csls", "study_id": "c", "kind": "floor"}, **cells}
            for cells in (
                {"protocol": "floor:csls", "n_seeds": 1, "epoch": 2},
                {"protocol": "floor:csls:oracle", "n_seeds": 1, "epoch": 1},
                {"protocol": "floor:pooled", "n_seeds": None, "epoch": 0},
            )
        ),
        {"method": "cds", "study_id": "t", "kind": "trained", "protocol": "last", "n_seeds": 1},
        {"method": "cds", "study_id": "t", "kind": "floor", "protocol": "floor", "n_seeds": None},
        {"method": "chance", "study_id": None, "kind": "chance", "protocol": "chance"},
    ]
    kept = one_row_each(rows)
    assert [row["protocol"] for row in kept] == ["floor:csls", "last", "floor", "chance"]
    assert kept[0]["epoch"] is None


def scored(kind, protocol, value):
    ends = {"query": "Noto", "gallery": "Twemoji"}
    return {**ends, "kind": kind, "protocol": protocol, "mAP@All": value}


@pytest.mark.parametrize(
    ("last", "oracle", "floor", "said"),
    [(20.0, 50.0, 30.0, True), (31.0, 50.0, 30.0, False), (30.0, 30.0, 30.0, True)],
)
def test_the_board_says_where_no_training_beats_the_untrained_features(last, oracle, floor, said):
    """What labels chose is no training that a user could have picked."""
    rows = [
        scored("trained", "last", last),
        scored("trained", "oracle", oracle),
        scored("floor", "floor:pooled", floor),
        scored("floor", "floor", 1.0),
        scored("chance", "chance", 99.0),
    ]
    sentence = verdict(rows, "mAP@All")
    assert bool(sentence) == said
    if said:
        assert sentence == (
            "No training beats the untrained features on Noto → Twemoji: "
            f"mAP@All {last:.1f} against {floor:.1f}."
        )
    assert verdict([scored("trained", "last", 1.0)], "mAP@All") is None
