"""Open-set metrics and detectors against loop-written versions."""

import math

import numpy as np
import pytest
import torch

from harness.evaluation import open_set
from harness.evaluation.open_set import (
    accept_by_cluster_spread,
    accept_by_merged_pairs,
    merged_partners,
    open_set_metrics,
)
from losses.contract import MergedPrototypes

DISTANCES = {
    "cosine": lambda u, v: 1 - float(u @ v),
    "euclidean": lambda u, v: float((u - v).norm()),
    "uem": lambda u, v: (1 - float(u @ v)) * float((u - v).norm()),
}


def draw(seed, n_q=40, n_g=30, clusters=5, size=6):
    generator = torch.Generator().manual_seed(seed)
    centre = 2 * torch.randn(clusters, size, generator=generator, dtype=torch.float64)
    assign_q = torch.randint(clusters, (n_q,), generator=generator)
    assign_g = torch.randint(clusters - 1, (n_g,), generator=generator)
    noise_q = torch.randn(n_q, size, generator=generator, dtype=torch.float64)
    noise_g = torch.randn(n_g, size, generator=generator, dtype=torch.float64)
    unit = torch.nn.functional.normalize
    return unit(centre[assign_q] + noise_q), unit(centre[assign_g] + noise_g), assign_q, assign_g


def test_metrics_of_a_worked_example():
    query_label, gallery_label = np.array([0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 1])
    ap = np.array([100.0, 50.0, 30.0, 20.0, math.nan, math.nan, math.nan])
    accepted = np.array([True, False, True, True, True, False, False])
    metrics = open_set_metrics(accepted, ap, query_label, gallery_label)
    assert metrics["open_acc"] == pytest.approx(100 * 2 / 3)
    assert metrics["shared_acceptance"] == pytest.approx(75.0)
    assert metrics["open_balanced_acc"] == pytest.approx((200 / 3 + 75) / 2)
    assert metrics["mAP@All.shared"] == pytest.approx(50.0)
    assert metrics["mAP@All.shared_rejecting"] == pytest.approx(150 / 4)
    as_tensor = open_set_metrics(torch.from_numpy(accepted), ap, query_label, gallery_label)
    assert as_tensor == metrics


def test_metrics_without_private_or_without_shared_queries():
    accepted, ap = np.array([True, False]), np.array([40.0, 20.0])
    all_shared = open_set_metrics(accepted, ap, np.array([1, 1]), np.array([1]))
    assert math.isnan(all_shared["open_acc"])
    assert math.isnan(all_shared["open_balanced_acc"])
    assert all_shared["mAP@All.shared_rejecting"] == 20.0
    none_shared = open_set_metrics(accepted, ap * math.nan, np.array([5, 5]), np.array([1]))
    assert math.isnan(none_shared["mAP@All.shared"])
    assert none_shared["open_acc"] == 50.0
    with pytest.raises(ValueError, match="per_query"):
        open_set_metrics(accepted, None, np.array([1, 1]), np.array([1]))
    with pytest.raises(ValueError, match="verdicts"):
        open_set_metrics(accepted[:1], ap, np.array([1, 1]), np.array([1]))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("seed", range(4))
def test_cluster_spread_agrees_with_loops_in_every_distance(seed, distance, monkeypatch):
    monkeypatch.setattr(open_set, "_BLOCK_ELEMENTS", 50)
    d = DISTANCES[distance]
    query, gallery, assign, _ = draw(seed)
    expected = []
    for i in range(len(query)):
        own = [j for j in range(len(query)) if assign[j] == assign[i]]
        spread = max(d(query[j], query[k]) for j in own for k in own)
        expected.append(not spread < min(d(query[i], x) for x in gallery))
    accepted = accept_by_cluster_spread(query.float(), gallery.float(), assign)
    assert accepted.tolist() == expected
    assert sum(expected) > 0


def test_cluster_spread_rejects_a_far_cluster_and_a_lone_image_but_not_a_copy():
    near, far = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    query = torch.stack([near, near + 0.2, far, far + 0.01, near])
    gallery = torch.stack([near, near + 0.1])
    assign = torch.tensor([0, 0, 1, 1, 2])
    accepted = accept_by_cluster_spread(query, gallery, assign)
    assert accepted.tolist() == [True, True, False, False, True]
    alone = accept_by_cluster_spread(near[None], gallery[1:], torch.tensor([0]))
    assert alone.tolist() == [False]


@pytest.mark.parametrize("seed", range(6))
def test_merged_pairs_agree_with_loops(seed, monkeypatch):
    monkeypatch.setattr(open_set, "_BLOCK_ELEMENTS", 50)
    s = DISTANCES["uem"]
    query, gallery, assign_q, assign_g = draw(seed)
    # Cluster 4 owns no gallery image; its partner is then none at all.
    partner = torch.tensor([2, -1, 0, 4, 3])
    expected = []
    for i in range(len(query)):
        cluster = int(assign_q[i])
        own = [j for j in range(len(query)) if assign_q[j] == cluster]
        other = [g for g in range(len(gallery)) if assign_g[g] == partner[cluster]]
        if partner[cluster] < 0 or not other:
            expected.append(False)
            continue
        scale = max(s(query[j], gallery[g]) for j in own for g in other)
        expected.append(not scale < min(s(query[i], x) for x in gallery))
    accepted = accept_by_merged_pairs(query.float(), gallery.float(), assign_q, assign_g, partner)
    assert accepted.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_partners_are_read_from_the_merged_set():
    """Own 0..2, other 0..3; own 0 merged with other 2 (row 3), own 2 with other 0 (row 4)."""
    merged = MergedPrototypes(
        proto_CD=torch.zeros(5, 2),
        own_to_merged_K=torch.tensor([3, 0, 4]),
        other_to_merged_K=torch.tensor([4, 1, 3, 2]),
        is_merged_C=torch.tensor([False, False, False, True, True]),
    )
    assert merged_partners(merged).tolist() == [2, -1, 0]
