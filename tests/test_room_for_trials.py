"""A trial that no machine can hold is refused; Ray would wait for such a machine for ever."""

import pytest

from harness.cluster import tune_run
from harness.errors import UsageError


@pytest.fixture
def two_nodes(monkeypatch):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    monkeypatch.setattr(tune_run.ray, "nodes", lambda: nodes)


@pytest.mark.parametrize(("cpus", "gpus"), [(8, 1.0), (2, 0.25), (1, 0.0)])
def test_what_one_node_can_hold_is_taken(two_nodes, cpus, gpus):
    notes = []
    tune_run.check_fits(cpus, gpus, attached=False, on_note=notes.append)
    assert notes == []


@pytest.mark.parametrize(("cpus", "gpus"), [(9, 0.0), (1, 2.0)])
def test_more_than_any_node_has_is_refused_here_and_noted_on_a_cluster(two_nodes, cpus, gpus):
    with pytest.raises(UsageError, match="ask for less"):
        tune_run.check_fits(cpus, gpus, attached=False, on_note=print)
    notes = []
    tune_run.check_fits(cpus, gpus, attached=True, on_note=notes.append)
    assert "waiting" in notes[0]
