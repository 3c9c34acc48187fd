"""Methods that train nothing stand on the board as floors and take nobody's place."""

import pytest
from in_process_search import search, write_domains

from harness.leaderboard.floors import as_floors, floor_protocol

METHODS = ("instance", "floor", "floor_centred", "floor_csls")


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("floors")
    root = write_domains(folder / "squares", domains=2)
    return search(root, folder / "out", trials=3, pairs="ink-oil", epochs=1, method=METHODS).board


def of(board, method):
    return board[board["method"] == method]


def test_a_method_without_training_is_a_floor_by_its_name(board):
    assert set(of(board, "floor")["protocol"]) == {"floor:pooled"}
    assert set(of(board, "floor_centred")["protocol"]) == {"floor:centred", "floor:pooled"}
    # The paper's number of neighbours is more than these domains have: no paper row.
    searched = {"floor:csls", "floor:csls:oracle", "floor:pooled"}
    assert set(of(board, "floor_csls")["protocol"]) == searched
    floors = board[board["method"].str.startswith("floor")]
    assert set(floors["kind"]) == {"floor"}
    assert floors["rank"].isna().all()
    assert (floors["seconds"] > 0).all()
    for directed in floors.groupby(["query", "gallery", "method", "protocol"]):
        assert len(directed[1]) == 1


def test_a_training_beside_floors_is_ranked_alone_and_comes_before_them(board):
    trained = board[board["kind"] == "trained"]
    assert set(trained["method"]) == {"instance"}
    assert set(trained["rank"]) == {1}
    for _, directed in board.groupby(["query", "gallery"], sort=False):
        kinds = list(dict.fromkeys(directed["kind"]))
        assert kinds == ["trained", "floor", "chance"]


def test_pooled_features_score_alike_from_every_study(board):
    pooled = board[board["protocol"] == "floor:pooled"]
    assert set(pooled["method"]) == set(METHODS)
    for _, directed in pooled.groupby(["query", "gallery"]):
        assert directed["P@1"].nunique() == 1


def test_the_only_setting_needs_nobody_to_choose_it():
    rows = [
        {"protocol": name, "method": "floor_centred", "kind": "trained", "oracle_gap": 0.0}
        for name in ("paper", "oracle")
    ]
    only = as_floors(rows, searched=False)
    assert [(row["protocol"], row["kind"]) for row in only] == [("floor:centred", "floor")]
    chosen = as_floors(rows, searched=True)
    assert [row["protocol"] for row in chosen] == ["floor:centred:paper", "floor:centred:oracle"]
    assert floor_protocol("nothing") == "floor:nothing"
