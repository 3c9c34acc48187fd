"""A trial that goes on from its checkpoint is the one that never stopped, labels' figures too."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from miniature_pair import trial_config, write_pair

from harness.training.checkpoint import drop_checkpoints, load_checkpoint, save_checkpoint
from harness.training.scored_trial import ScoredTrial, TrialData

EPOCHS = 4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("checkpoints"))


def begun(tiny, scenario):
    index, cache = tiny
    config = replace(trial_config("cluster", index, scenario, epochs=EPOCHS), origin="start")
    return ScoredTrial(config, TrialData(index, cache), torch.device("cpu"))


def told(trial):
    return [replace(report, seconds=0.0).to_json() for report in trial.history]


@pytest.mark.parametrize("scenario", ["close", "open"])
@pytest.mark.parametrize("cut", [0, 2, 3])
def test_a_resumed_trial_reports_and_keeps_what_an_unbroken_one_does(tiny, tmp_path, scenario, cut):
    straight = begun(tiny, scenario)
    while not straight.done:
        straight.next_report()
        if straight.training.epoch == cut:
            save_checkpoint(straight.state_dict(), tmp_path, "token", cut)
    resumed = begun(tiny, scenario)
    resumed.load_state_dict(load_checkpoint(tmp_path))
    while not resumed.done:
        resumed.next_report()
    assert told(resumed) == told(straight)
    assert resumed.keeper.best == straight.keeper.best
    assert set(straight.keeper.kept) == {"last", "objective", "oracle"}
    for role, snapshot in straight.keeper.kept.items():
        again = resumed.keeper.kept[role]
        assert again.epoch == snapshot.epoch
        assert np.array_equal(again.z_a_ND, snapshot.z_a_ND)
        assert np.array_equal(again.z_b_ND, snapshot.z_b_ND)
        assert all(torch.equal(again.weights[n], t) for n, t in snapshot.weights.items())


def test_only_the_furthest_checkpoint_stays_and_dropping_leaves_nothing(tiny, tmp_path):
    trial = begun(tiny, "close")
    for epoch in range(2):
        trial.next_report()
        save_checkpoint(trial.state_dict(), tmp_path, "token", epoch)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000001.token.pt", "000001.token.sealed"]
    drop_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_half_a_checkpoint_counts_as_none(tmp_path):
    save_checkpoint({"epoch": 1, "sealed": {"history": ["x"]}}, tmp_path, "one", 1)
    save_checkpoint({"epoch": 2}, tmp_path, "other", 2)
    (tmp_path / "000002.other.sealed").unlink()
    assert load_checkpoint(tmp_path) == {"epoch": 1, "sealed": {"history": ["x"]}}
