"""The clustering rules: what each hands to its losses, and what it keeps from epoch to epoch."""

import math

import pytest
import torch
import torch.nn.functional as F

from harness.errors import UsageError
from harness.training.clusterings import NO_CLUSTERINGS, create_clustering
from harness.training.clusterings.elbow_merged import without_empty_clusters
from harness.training.kmeans import KMeansResult, kmeans
from losses.parts.marginal_sinkhorn import protoot_step


def generators(seed=0):
    return torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)


def blobs(centres, per_centre, seed=0, spread=0.03, offset=0.0):
    """Unit points around the given rows; the same number around each."""
    generator = torch.Generator().manual_seed(seed)
    centre_CD = torch.as_tensor(centres, dtype=torch.float32)
    points_ND = centre_CD.repeat_interleave(per_centre, 0)
    points_ND = points_ND + spread * torch.randn(points_ND.shape, generator=generator) + offset
    return F.normalize(points_ND, dim=1)


AXES = torch.eye(6, 8)


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        ("kmeans", {"k": 5}),
        ("kmeans_matched", {"k": 5}),
        ("protoot", {"k": 5}),
        ("protoot", {"k": 5, "beta_mode": "official"}),
        ("elbow_merged", {}),
        ("elbow_merged", {"clusters": 5, "merge": False}),
        ("kmeans_once_union", {"ks": (3, 7)}),
        ("kmeans_many", {"ks": (3, 3, 7), "density": "pcl"}),
        ("kmeans_many", {"ks": (3, 7), "density": "pcs"}),
    ],
)
def test_every_rule_gives_unit_prototypes_and_valid_clusters_and_repeats_itself(rule, arguments):
    a, b = blobs(AXES, 7, seed=1, spread=0.3), blobs(AXES[:4], 8, seed=2, spread=0.3)

    def made():
        built = create_clustering(rule, arguments)
        return built.per_step(built.per_epoch(a, b, generators(), NO_CLUSTERINGS), a, b)

    first, second = made(), made()
    for clusterings, again, points in zip(first, second, (a, b)):
        assert clusterings
        for one, other in zip(clusterings, again):
            assert one.proto_KD.norm(dim=1).sub(1).abs().max() < 1e-5
            assert one.assign_N.shape == (len(points),)
            assert one.assign_N.dtype == torch.int64
            assert one.assign_N.min() >= 0
            assert one.assign_N.max() < len(one.proto_KD)
            assert torch.equal(one.proto_KD, other.proto_KD)
            assert torch.equal(one.assign_N, other.assign_N)


def test_protoot_keeps_its_prototypes_over_an_epoch_and_refreshes_the_marginals():
    a, b = blobs(AXES, 8), blobs(AXES, 6, seed=3)
    rule = create_clustering("protoot", {"k": 6})
    start = rule.per_epoch(a, b, generators(), NO_CLUSTERINGS)
    stepped = rule.per_step(start, a, b)
    uneven = torch.cat([a[:8], a[:8], a])
    again = rule.per_epoch(uneven, b, generators(9), stepped)
    assert torch.equal(again[0][-1].proto_KD, stepped[0][-1].proto_KD)
    # The cluster around the first axis now holds 24 of 64 images, whatever its new number is.
    own = (again[0][-1].proto_KD @ AXES[0]).argmax()
    assert again[0][-1].marginal_K[own].item() == pytest.approx(24 / 64)
    assert again[0][-1].marginal_K.sum().item() == pytest.approx(1)


def test_protoot_official_lays_the_marginals_on_in_the_order_of_the_new_clusters():
    a, b = blobs(AXES, 8), blobs(AXES, 6, seed=3)
    uneven = torch.cat([a[:8], a[:8], a])
    rule = create_clustering("protoot", {"k": 6, "beta_mode": "official"})
    stepped = rule.per_step(rule.per_epoch(a, b, generators(), NO_CLUSTERINGS), a, b)
    again = rule.per_epoch(uneven, b, generators(5), stepped)
    found = kmeans(uneven, 6, generator=generators(5)[0], iterations=50, restarts=20)
    expected = found.assign_N.bincount(minlength=6) / len(uneven)
    torch.testing.assert_close(again[0][-1].marginal_K, expected)
    fixed = create_clustering("protoot", {"k": 6}).per_epoch(uneven, b, generators(5), stepped)
    assert not torch.allclose(fixed[0][-1].marginal_K, expected)


def test_protoot_gives_the_clusterings_before_and_after_each_step():
    a, b = blobs(AXES, 8, spread=0.4), blobs(AXES, 6, seed=3, spread=0.4)
    rule = create_clustering("protoot", {"k": 4, "epsilon": 0.1})
    first = rule.per_step(rule.per_epoch(a, b, generators(), NO_CLUSTERINGS), a, b)
    second = rule.per_step(first, a, b)
    before, after = protoot_step(a, first[0][-1], epsilon=0.1)
    assert torch.equal(second[0][0].proto_KD, first[0][1].proto_KD)
    torch.testing.assert_close(second[0][1].proto_KD, after.proto_KD)
    assert torch.equal(second[0][0].assign_N, before.assign_N)


def test_protoot_survives_more_prototypes_than_distinct_images():
    a, b = AXES[:3].repeat(4, 1), AXES[:3].repeat(5, 1)
    rule = create_clustering("protoot", {"k": 6})
    stepped = rule.per_step(rule.per_epoch(a, b, generators(), NO_CLUSTERINGS), a, b)
    assert all(c.proto_KD.isfinite().all() for domain in stepped for c in domain)


def test_an_unknown_mode_is_refused():
    with pytest.raises(UsageError, match="beta_mode"):
        create_clustering("protoot", {"k": 3, "beta_mode": "oficial"})
    with pytest.raises(UsageError, match="pcl or pcs"):
        create_clustering("kmeans_many", {"ks": (3,), "density": "pcx"})


def test_matched_clusters_are_those_around_the_same_centre():
    a, b = blobs(AXES, 8), blobs(AXES.flip(0), 6, seed=4)
    (of_a,), (of_b,) = create_clustering("kmeans_matched", {"k": 6}).per_epoch(
        a, b, generators(), NO_CLUSTERINGS
    )
    nearest = (of_a.proto_KD @ of_b.proto_KD.T).argmax(1)
    assert torch.equal(of_a.counterpart_K, nearest)
    assert torch.equal(of_b.counterpart_K[of_a.counterpart_K], torch.arange(6))


def test_union_kmeans_numbers_the_clusters_of_both_domains_alike_and_is_made_once():
    a, b = blobs(AXES, 8), blobs(AXES.flip(0), 6, seed=4)
    rule = create_clustering("kmeans_once_union", {"ks": (6, 3)})
    made = rule.per_epoch(a, b, generators(), NO_CLUSTERINGS)
    for of_a, of_b in zip(*made):
        assert ((of_a.proto_KD * of_b.proto_KD).sum(1) > 0.9).all()
    assert rule.per_epoch(b, a, generators(1), made) is made


def test_densities_are_those_of_the_method():
    a, b = blobs(AXES, 8, spread=0.2), blobs(AXES, 6, seed=4, spread=0.2)
    pcl = create_clustering("kmeans_many", {"ks": (4, 6), "density": "pcl", "tau": 0.3})
    for clusterings in pcl.per_epoch(a, b, generators(), NO_CLUSTERINGS):
        for clustering in clusterings:
            assert clustering.density_K.mean().item() == pytest.approx(0.3)
    pcs = create_clustering("kmeans_many", {"ks": (4,), "density": "pcs"})
    (of_pcs,), _ = pcs.per_epoch(a, b, generators(), NO_CLUSTERINGS)
    members = [a[of_pcs.assign_N == k] for k in range(4)]
    expected = [
        max(
            0.05,
            sum((z - of_pcs.proto_KD[k]).norm().item() for z in members[k])
            / (len(members[k]) * math.log(len(members[k]) + 10)),
        )
        for k in range(4)
    ]
    assert of_pcs.density_K.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_elbow_finds_the_number_of_clusters_of_each_domain_and_merges_those_in_common():
    a, b = blobs(AXES, 20), blobs(AXES, 15, seed=4)
    (of_a,), (of_b,) = create_clustering("elbow_merged", {}).per_epoch(
        a, b, generators(), NO_CLUSTERINGS
    )
    # The nearest candidates to 6 that the logarithmic grid of 90 images has.
    assert 5 <= len(of_a.proto_KD) <= 8
    assert 5 <= len(of_b.proto_KD) <= 8
    assert of_a.merged.is_merged_C.sum() == of_b.merged.is_merged_C.sum()
    assert of_a.merged.is_merged_C.sum() >= 5


def test_without_merging_every_prototype_stays_alone():
    a, b = blobs(AXES, 8), blobs(AXES, 6, seed=4)
    rule = create_clustering("elbow_merged", {"clusters": 6, "merge": False})
    (of_a,), (of_b,) = rule.per_epoch(a, b, generators(), NO_CLUSTERINGS)
    assert len(of_a.merged.proto_CD) == len(of_a.proto_KD) + len(of_b.proto_KD)
    assert not of_a.merged.is_merged_C.any()


def test_coinciding_centroids_do_not_stop_the_merging():
    a, b = AXES[:3].repeat(6, 1), AXES[:3].repeat(5, 1)
    rule = create_clustering("elbow_merged", {"clusters": 6})
    (of_a,), (of_b,) = rule.per_epoch(a, b, generators(), NO_CLUSTERINGS)
    assert len(of_a.proto_KD) == len(of_b.proto_KD) == 3
    assert of_a.merged.is_merged_C.all()


def test_dropping_empty_clusters_keeps_every_image_with_its_centroid():
    found = KMeansResult(AXES[:4], torch.tensor([3, 1, 1, 3]), 0.0)
    centroid_KD, assign_N = without_empty_clusters(found)
    assert torch.equal(centroid_KD[assign_N], AXES[torch.tensor([3, 1, 1, 3])])
    assert len(centroid_KD) == 2
