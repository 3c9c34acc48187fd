"""Trials in the scenarios with unequal class spaces, and their open-set verdicts."""

import math

import pytest
import torch
import torch.nn.functional as F
from miniature_pair import first_values, trial_config, write_pair

from harness.evaluation.vault import unseal
from harness.methods import PairShape, get_method, method_names
from harness.training.open_set_detection import accepted_queries
from harness.training.scored_trial import ScoredTrial, TrialData

OPEN = ("open_acc", "shared_acceptance", "mAP@All.shared", "mAP@All.shared_rejecting")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("scenarios"))


def run(method, scenario, tiny, **changes):
    index, cache = tiny
    trial = ScoredTrial(
        trial_config(method, index, scenario, **changes),
        TrialData(index, cache),
        torch.device("cpu"),
    )
    while not trial.done:
        trial.next_report()
    return trial


@pytest.mark.parametrize("name", method_names())
def test_every_method_trains_with_half_of_the_queries_classes_in_the_gallery(name, tiny):
    trial = run(name, "open", tiny, epochs=2)
    assert trial.training.epoch == 2
    assert all(math.isfinite(value) for value in trial.history[-1].losses.values())
    metrics = unseal(trial.history[-1].sealed)["ab"]
    assert metrics["n_valid_queries"] == 10
    assert 0 <= metrics["mAP@All"] <= 100
    assert all(0 <= metrics[metric] <= 100 for metric in OPEN)


@pytest.mark.parametrize("scenario", ["partial", "open"])
@pytest.mark.parametrize("name", ["ucdir", "uem", "uem_no_merge", "coda", "floor_csls"])
def test_a_trial_with_half_of_the_classes_on_one_side(name, scenario, tiny):
    trial = run(name, scenario, tiny)
    sizes = [len(z) for z in trial.training.embeddings]
    assert sizes == ([10, 28] if scenario == "partial" else [20, 14])
    metrics = unseal(trial.history[-1].sealed)
    assert set(metrics) == {"ab"}
    assert metrics["ab"]["n_valid_queries"] == 10
    assert math.isfinite(metrics["ab"]["mAP@All"])
    for metric in OPEN:
        assert (metric in metrics["ab"]) == (scenario == "open")
    if scenario == "open":
        for metric in OPEN:
            assert 0 <= metrics["ab"][metric] <= 100
        assert "open_acc" in unseal(trial.history[0].sealed_pooled)["ab"]


def test_the_verdict_reads_no_label(tiny):
    trial = run("uem", "open", tiny)
    a, b = trial.training.embeddings
    recipe = trial.training.recipe
    verdicts = [accepted_queries(recipe, a, b, None, seed=4) for _ in range(2)]
    assert torch.equal(*verdicts)


def test_csls_is_detected_on_vectors_that_compare_within_a_domain(tiny):
    csls, pooled = run("floor_csls", "open", tiny), run("floor", "open", tiny)
    one, other = (unseal(trial.history[-1].sealed)["ab"] for trial in (csls, pooled))
    assert one["open_acc"] == other["open_acc"]
    assert one["shared_acceptance"] == other["shared_acceptance"] > 0


def two_worlds():
    """Queries around four axes, gallery around two of them."""
    generator = torch.Generator().manual_seed(0)

    def around(axis, count):
        points = torch.eye(8)[axis] + 0.05 * torch.randn(count, 8, generator=generator)
        return F.normalize(points, dim=1)

    query = torch.cat([around(axis, 12) for axis in range(4)])
    gallery = torch.cat([around(axis, 12) for axis in range(2)])
    return query, gallery, torch.arange(48) < 24


@pytest.mark.parametrize("name", ["ucdir", "protoot", "floor_centred", "uem_no_merge"])
def test_cluster_spread_tells_private_queries_from_shared_ones(name):
    query, gallery, shared = two_worlds()
    recipe = get_method(name).build(first_values(name), PairShape(48, 24, 12))
    accepted = accepted_queries(recipe, query, gallery, 4, seed=1)
    assert not accepted[~shared].any()
    assert accepted[shared].float().mean() > 0.9


def test_uem_takes_its_merged_pairs_and_rejects_clusters_without_a_partner():
    query, gallery, shared = two_worlds()
    recipe = get_method("uem").build(first_values("uem", clusters="4"), PairShape(48, 24, 12))
    assert recipe.detector == "merged_pairs"
    # The offset of the bank means is not 0 here, for the queries hold two more classes: the
    # translation of eq. 8 is biased, and the verdict must still be one on clusters as a whole.
    accepted = accepted_queries(recipe, query, gallery, None, seed=1)
    assert not accepted[~shared].any()


def test_every_method_has_a_detector_it_can_run():
    query, gallery, _ = two_worlds()
    for name in method_names():
        recipe = get_method(name).build(first_values(name), PairShape(48, 24, 12))
        assert accepted_queries(recipe, query, gallery, None, seed=1).shape == (48,)
