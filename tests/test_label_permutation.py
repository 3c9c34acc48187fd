"""Labels decide nothing that does not say so: whole searches with all labels permuted.

Proposals, stops, the ``last`` and ``label_free`` picks, checkpoints and weights are bit-identical;
only metrics and the rows that read labels may change.
"""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from in_process_search import permuted, search, write_domains
from safetensors.torch import load_file

from harness.leaderboard.schema import metric_names
from harness.training import scored_trial

FREE = ("last", "label_free:mutual_nn")
FROM_LABELS = (*metric_names((1, 5, 15)), "oracle_gap")
OF_THE_RUN = ("seconds",)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("labels") / "squares")


@pytest.fixture(scope="module")
def two_pairs(root):
    """Two pairs without a common domain; and the same with the labels of all images permuted."""
    run = partial(search, root, trials=6, pairs="ink-photo,oil-wax", method=("cds",), epochs=3)
    return run(root.parent / "true"), run(
        root.parent / "permuted", relabel=partial(permuted, seed=1)
    )


@pytest.fixture(scope="module")
def halves(root):
    """Scenario ``partial``; labels permuted after the class split."""
    run = partial(search, root, trials=3, pairs="ink-photo", scenario="partial", epochs=2)
    true = run(root.parent / "true-half")
    vault = scored_trial.pair_vault
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scored_trial, "pair_vault", lambda *of: vault(*of).permuted(seed=1))
        return true, run(root.parent / "permuted-half")


@pytest.fixture(params=["two_pairs", "halves"])
def searches(request):
    return request.getfixturevalue(request.param)


def same(left, right) -> bool:
    """Whether two checkpoints hold the same values, wall times in their reports apart."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, str) and left.startswith("{"):
        one, other = json.loads(left), json.loads(right)
        return str(one | {"seconds": 0}) == str(other | {"seconds": 0})
    if hasattr(left, "__dataclass_fields__"):
        return same(vars(left), vars(right))
    return left == right


def test_proposals_stops_and_weights_are_bit_identical(searches):
    true, other = searches
    assert other.configs == true.configs
    for trial_id, record in true.records.items():
        twin = other.records[trial_id]
        assert (record.status, sorted(record.epochs)) == (twin.status, sorted(twin.epochs))
        for epoch, report in record.epochs.items():
            held = twin.epochs[epoch]
            for figures in ("losses", "validators", "objective"):
                assert str(getattr(report, figures)) == str(getattr(held, figures))
        assert same(true.weights.get(trial_id), other.weights.get(trial_id))
    assert true.weights


def test_trials_were_stopped_and_metrics_did_change(two_pairs, halves):
    assert any(record.status == "pruned" for record in two_pairs[0].records.values())
    for true, other in (two_pairs, halves):
        assert any(
            record.epochs[1].metrics != other.records[trial_id].epochs[1].metrics
            for trial_id, record in true.records.items()
        )


def test_checkpoints_hold_nothing_that_came_of_labels(searches):
    true, other = searches
    paths = sorted(true.checkpoints.glob("*/*.pt"))
    assert len(paths) == len(true.configs)
    sealed_differ = False
    for path in paths:
        twin = other.checkpoints / path.relative_to(true.checkpoints)
        states = [torch.load(held, weights_only=True) for held in (path, twin)]
        assert same(*states)
        sealed = [
            torch.load(held.with_suffix(".sealed"), weights_only=True) for held in (path, twin)
        ]
        sealed_differ |= not same(*sealed)
    assert sealed_differ


def test_rows_that_read_no_label_are_the_same_but_for_their_metrics(searches):
    true, other = (
        held.board.query("protocol in @FREE")
        .sort_values(["query", "gallery", "protocol"], ignore_index=True)
        .drop(columns=[*FROM_LABELS, *OF_THE_RUN])
        for held in searches
    )
    assert set(true["protocol"]) == set(FREE)
    pd.testing.assert_frame_equal(true, other, check_exact=True)


def test_files_of_picks_that_read_no_label_are_bit_identical(searches):
    true, _ = searches
    for row in true.board.query("protocol in @FREE").itertuples():
        name = f"{row.trial_id}@{row.epoch}"
        for ending in (".a.npy", ".b.npy"):
            left, right = (np.load(h.root / "picks" / (name + ending)) for h in searches)
            assert np.array_equal(left, right)
        assert same(*(load_file(h.root / "picks" / f"{name}.safetensors") for h in searches))


def test_rows_that_read_labels_say_so(two_pairs, halves):
    expected = {*FREE, "paper", "oracle", "floor", "floor:pooled", "chance"}
    assert set(two_pairs[0].board["protocol"]) == expected | {"transfer"}
    assert set(halves[0].board["protocol"]) - {"transfer:shared"} == expected
    chosen = [
        held.board.query("protocol in ('paper', 'oracle', 'transfer')")
        .sort_values(["query", "gallery", "protocol"])[["trial_id", "epoch", "P@1"]]
        .to_numpy()
        .tolist()
        for held in two_pairs
    ]
    assert chosen[0] != chosen[1]
