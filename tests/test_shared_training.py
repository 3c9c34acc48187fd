"""{A half, B whole} is one training for ``partial`` A to B and ``open`` B to A."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from in_process_search import search, write_domains
from safetensors.torch import load_file

from harness.datasets.frame_store import prepare
from harness.datasets.registry import open_dataset
from harness.search.driver import opened
from harness.search.replay import as_stored, compare_reports
from harness.training.counterpart import counterpart_config
from harness.training.scored_trial import ScoredTrial, TrialData
from harness.training.views import frame_size

OTHER = {"partial": "open", "open": "partial"}
PAIRS = "ink-photo"
TRIALS = 4
MAY_DIFFER = ("seconds", "notes")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("shared") / "squares")


@pytest.fixture(scope="module")
def alone(root):
    """Each scenario trained by itself."""
    made = {}
    for scenario in OTHER:
        out = root.parent / f"{scenario}-alone"
        made[scenario] = search(root, out, trials=TRIALS, pairs=PAIRS, scenario=scenario)
    return made


@pytest.fixture(scope="module", params=list(OTHER))
def shared(request, root, alone):
    """One scenario trained, then the other over (a copy of) the same results."""
    first = request.param
    trained = alone[first]
    out = root.parent / f"{first}-first"
    shutil.copytree(trained.root.parent, out)
    aside = {p.name for p in (trained.root / "counterparts" / "picks").iterdir()}
    served = search(root, out, trials=TRIALS, pairs=PAIRS, scenario=OTHER[first])
    return first, trained, aside, served


def frame(searched, kind):
    held = pd.read_parquet(searched.root / kind)
    held = held.sort_values(["query", "gallery", *(["protocol"] if "protocol" in held else [])])
    return held.drop(columns=[c for c in MAY_DIFFER if c in held]).reset_index(drop=True)


def of_scenario(held, scenario):
    return held[held["scenario"] == scenario].reset_index(drop=True)


def test_both_scenarios_train_the_same_weights_from_the_same_proposals(alone):
    partial, open_ = alone["partial"], alone["open"]
    assert len(partial.configs) == len(open_.configs) == 2 * TRIALS
    for config in partial.configs:
        theirs = counterpart_config(config)
        assert theirs in open_.configs
        assert counterpart_config(theirs) == config
        weights = open_.weights[theirs.trial_id]
        for name, tensor in partial.weights[config.trial_id].items():
            assert torch.equal(tensor, weights[name])


def test_the_other_scenario_trains_nothing_and_gets_what_training_would_have_given(alone, shared):
    first, trained, _, served = shared
    other = OTHER[first]
    assert (len(trained.configs), trained.taken) == (2 * TRIALS, 0)
    assert (len(served.configs), served.taken) == (0, 2 * TRIALS)
    for kind, key in (("trials", ["trial_id", "epoch"]), ("leaderboard", [])):
        expected, found = frame(alone[other], kind), of_scenario(frame(served, kind), other)
        if key:
            expected, found = (h.sort_values(key, ignore_index=True) for h in (expected, found))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_the_first_scenarios_own_results_stay_as_they_were(alone, shared):
    first, _, _, served = shared
    expected = frame(alone[first], "leaderboard")
    pd.testing.assert_frame_equal(of_scenario(frame(served, "leaderboard"), first), expected)


def test_rows_say_where_their_trial_was_trained(shared):
    first, _, _, served = shared
    rows = of_scenario(pd.read_parquet(served.root / "leaderboard"), OTHER[first])
    for _, row in rows[rows["kind"] == "trained"].iterrows():
        source = counterpart_config(served.records[row["trial_id"]].config).trial_id
        assert (
            f"taken from the trial {source} ({first} {row['gallery']}-{row['query']})"
            in row["notes"]
        )


def test_picks_have_weights_and_embeddings_in_their_own_order(alone, shared):
    first, _, aside, served = shared
    other = OTHER[first]
    rows = of_scenario(pd.read_parquet(served.root / "leaderboard"), other)
    picks, expected = served.root / "picks", alone[other].root / "picks"
    names = {f"{r.trial_id}@{r.epoch}" for r in rows[rows["kind"] == "trained"].itertuples()}
    assert names
    for name in names:
        for ending in (".a.npy", ".b.npy"):
            assert np.array_equal(
                np.load(picks / (name + ending)), np.load(expected / (name + ending))
            )
        held, wanted = (load_file(f / f"{name}.safetensors") for f in (picks, expected))
        assert all(torch.equal(held[key], wanted[key]) for key in wanted)
    # What was kept for them while only the first scenario was there is no more than that.
    assert aside == {p.name for p in expected.iterdir()}
    assert not list((served.root / "counterparts").rglob("*.*"))
    assert not [p for p in (served.root / "storage").rglob("*") if p.is_file()]


def test_open_set_metrics_come_with_a_training_of_partial(shared):
    _, _, _, served = shared
    rows = of_scenario(pd.read_parquet(served.root / "leaderboard"), "open")
    trained = rows[rows["kind"] == "trained"]
    assert trained["open_acc"].notna().all()
    partial = of_scenario(pd.read_parquet(served.root / "leaderboard"), "partial")
    assert partial["open_acc"].isna().all()


def test_a_trial_taken_over_can_be_replayed_as_its_own(root, shared):
    first, _, _, served = shared
    record = next(iter(served.records.values()))
    assert record.config.study.scenario == OTHER[first]
    cache = root.parent / "cache"
    index = open_dataset("folder", root, cache)
    index = prepare(index, record.config.pair, frame_size(32), cache)
    trial = ScoredTrial(record.config, TrialData(index, cache), torch.device("cpu"))
    while not trial.done:
        report = opened(trial.next_report())
        then = record.epochs[report.epoch]
        now = as_stored(record.config, report, index.spec.ks)
        assert compare_reports(record.config, then, now)[1] == []


def test_a_longer_search_takes_what_is_there_and_trains_the_rest(root, tmp_path):
    options = {"pairs": "ink-photo", "epochs": 1}
    search(root, tmp_path, trials=3, scenario="partial", **options)
    longer = search(root, tmp_path, trials=4, scenario="open", **options)
    assert (longer.taken, len(longer.configs)) == (6, 2)
    assert {config.number for config in longer.configs} == {3}
    again = search(root, tmp_path, trials=4, scenario="partial", **options)
    assert (again.taken, len(again.configs)) == (2, 0)
    assert search(root, tmp_path, trials=4, scenario="open", **options).taken == 0


def test_a_proposal_for_all_pairs_is_taken_over_too(root, tmp_path):
    options = {"pairs": "ink-photo", "epochs": 1, "scope": "dataset", "trials": 2}
    search(root, tmp_path, scenario="open", **options)
    served = search(root, tmp_path, scenario="partial", **options)
    assert (served.taken, len(served.configs)) == (4, 0)
    assert {"last", "oracle"} <= set(of_scenario(served.board, "partial")["protocol"])


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"scenario_seed": 1}, {"epochs": 2}, {"set": ("K=3",)}]
)
def test_another_setting_is_another_training(root, tmp_path, change):
    options = {"trials": 1, "pairs": "ink-photo", "epochs": 1}
    search(root, tmp_path, scenario="partial", **options)
    other = search(root, tmp_path, scenario="open", **(options | change))
    assert (other.taken, len(other.configs)) == (0, 2)


def test_an_objective_that_reads_labels_shares_nothing(root, tmp_path):
    options = {"trials": 1, "pairs": "ink-photo", "epochs": 1, "objective": "oracle"}
    first = search(root, tmp_path, scenario="partial", **options)
    assert not (first.root / "counterparts").exists()
    assert len(search(root, tmp_path, scenario="open", **options).configs) == 2
