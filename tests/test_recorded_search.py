"""The benchmark that replays searches on recorded trials."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import distribution_to_json
from study_examples import PAPER, SPACE, epoch, record, study, toy_index

from harness.leaderboard.store import ResultsStore
from harness.plan.start_points import start_point

PATH = Path(__file__).parent.parent / "benchmarks" / "recorded_search.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("recorded_search", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["recorded_search"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["recorded_search"]


def bowl(searched, top=30.0):
    return -abs(np.log(searched["K"] / top)) - 0.2 * abs(np.log(searched["tau"] / 0.1))


def table(benchmark):
    points = [start_point(i, SPACE, PAPER, 0) for i in range(64)]
    described = {name: distribution_to_json(held) for name, held in SPACE.items()}
    return benchmark.RecordedTable(
        study(space=described),
        PAPER,
        {pair: [(p, float(bowl(p))) for p in points] for pair in (("a", "b"), ("c", "d"))},
    )


def test_the_surface_follows_the_recorded_trials(benchmark):
    held = table(benchmark)
    surface = benchmark.Surface(SPACE, held.trials[("a", "b")])
    near, far = surface({"K": 30, "tau": 0.1}), surface({"K": 2, "tau": 0.4})
    assert near > surface.expected > far
    assert surface.share(surface.best) == 1
    assert surface.share(surface.expected) == 0
    assert surface.share(near) > 0.8


def test_a_table_comes_back_from_its_file(benchmark, tmp_path):
    held = table(benchmark)
    held.save(tmp_path / "table.json")
    assert benchmark.RecordedTable.load(tmp_path / "table.json") == held


def test_a_table_is_read_from_the_finished_trials_of_a_results_folder(benchmark, tmp_path):
    store = ResultsStore(tmp_path, "toy", (1, 5, 15))
    store.open_for_writing(toy_index())
    store.write_trial(record(0, epoch(1, 0.9, 1, 1), epoch(3, 0.2, 1, 1), is_paper_point=True))
    store.write_trial(record(1, epoch(3, 0.3, 1, 1)))
    store.write_trial(record(2, epoch(1, 0.9, 1, 1), status="pruned"))
    store.close()
    held = benchmark.RecordedTable.record(tmp_path, "toy", None)
    assert held.paper == {"K": 5, "tau": 0.1}
    assert held.trials == {("a", "b"): [({"K": 5, "tau": 0.1}, 0.2), ({"K": 6, "tau": 0.1}, 0.3)]}
    with pytest.raises(SystemExit, match="no finished trials of nothing-1"):
        benchmark.RecordedTable.record(tmp_path, "toy", "nothing-1")


def test_replays_improve_and_tpe_learns_what_random_search_does_not(benchmark):
    recorded = table(benchmark)
    surfaces = {pair: benchmark.Surface(SPACE, trials) for pair, trials in recorded.trials.items()}
    found = {
        sampler: np.stack(
            [
                benchmark.replay(recorded, surfaces, sampler=sampler, seed=s, trials=15)
                for s in range(4)
            ]
        )
        for sampler in benchmark.SAMPLERS
    }
    for curve_SPT in found.values():
        assert curve_SPT.shape == (4, 2, 15)
        assert (np.diff(curve_SPT) >= 0).all()
        assert (curve_SPT <= 1 + 1e-9).all()
    # The common start points are the same under both.
    assert (found["random"][..., :5] == found["tpe"][..., :5]).all()
    assert found["tpe"][..., -1].mean() > found["random"][..., -1].mean()


def test_trials_to_a_goal_are_counted_from_one(benchmark):
    best_SPT = np.array([[[0.1, 0.8, 0.9], [0.1, 0.2, 0.3], [0.9, 0.9, 0.9]]])
    assert benchmark.needed(best_SPT, 0.8).tolist() == [[2, 4, 1]]
    ratio, low, high = benchmark.ratio_interval(np.full((3, 2), 6.0), np.full((3, 2), 3.0))
    assert (ratio, low, high) == (2, 2, 2)


@pytest.mark.parametrize("path", sorted(PATH.parent.glob("recorded/*.json")), ids=lambda p: p.stem)
def test_the_recorded_tables_of_the_project_can_be_replayed(benchmark, path):
    held = benchmark.RecordedTable.load(path)
    pair, trials = next(iter(held.trials.items()))
    surfaces = {pair: benchmark.Surface(held.space, trials)}
    best_PT = benchmark.replay(held, surfaces, sampler="tpe", seed=0, trials=7)
    assert (best_PT[0, 1:] > 0).any()
