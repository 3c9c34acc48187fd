import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

from harness.training import kmeans as module
from harness.training.kmeans import candidate_ks, elbow, kmeans, knee


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(n, k, dims, spread, seed=0):
    generator = seeded(seed)
    centre_KD = torch.randn(k, dims, generator=generator)
    return centre_KD[torch.arange(n) % k] + spread * torch.randn(n, dims, generator=generator)


def plain_lloyd(x_ND, centroid_KD, iterations):
    """Loops over points and clusters; only for data in which no cluster loses all its points."""
    x, centroid = x_ND.double().numpy(), centroid_KD.double().numpy().copy()
    for _ in range(iterations):
        nearest = np.array([np.argmin([np.sum((p - c) ** 2) for c in centroid]) for p in x])
        centroid = np.stack([x[nearest == i].mean(0) for i in range(len(centroid))])
    nearest = np.array([np.argmin([np.sum((p - c) ** 2) for c in centroid]) for p in x])
    return centroid, nearest, sum(np.sum((p - centroid[i]) ** 2) for p, i in zip(x, nearest))


@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_equals_plain_lloyd_from_the_same_start(iterations):
    x = blobs(60, 4, 3, 0.8)
    centroid, nearest, inertia = plain_lloyd(x, x[:4], iterations)
    result = kmeans(x, 4, generator=seeded(), iterations=iterations, init_KD=x[:4])
    np.testing.assert_allclose(result.centroid_KD, centroid, atol=1e-5)
    np.testing.assert_array_equal(result.assign_N, nearest)
    assert result.inertia == pytest.approx(inertia, rel=1e-5)


@pytest.mark.parametrize(("n", "k", "spread"), [(400, 8, 0.8), (600, 20, 1.0), (500, 65, 1.0)])
def test_inertia_is_that_of_sklearn(n, k, spread):
    x = blobs(n, k, 16, spread)
    ours, theirs = [], []
    for seed in range(12):
        ours.append(kmeans(x, k, generator=seeded(seed)).inertia)
        reference = KMeans(k, init="random", n_init=5, max_iter=20, random_state=seed)
        theirs.append(reference.fit(x.numpy()).inertia_)
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.02)


def test_equals_sklearn_from_the_same_start():
    x = blobs(600, 20, 16, 0.6)
    reference = KMeans(20, init=x[:20].numpy(), n_init=1, max_iter=20, tol=0).fit(x.numpy())
    result = kmeans(x, 20, generator=seeded(), init_KD=x[:20])
    np.testing.assert_array_equal(result.assign_N, reference.labels_)
    assert result.inertia == pytest.approx(reference.inertia_, rel=1e-5)


def test_assignment_and_inertia_belong_to_the_returned_centroids():
    x = blobs(300, 10, 8, 0.7)
    result = kmeans(x, 10, generator=seeded())
    distance_NK = torch.cdist(x.double(), result.centroid_KD.double())
    assert torch.equal(result.assign_N, distance_NK.argmin(1))
    assert result.inertia == pytest.approx(float(distance_NK.amin(1).square().sum()), rel=1e-5)
    assert torch.allclose(result.proto_KD, F.normalize(result.centroid_KD, dim=1))


def test_more_restarts_are_never_worse():
    x = blobs(300, 15, 8, 0.3)
    inertias = [kmeans(x, 15, generator=seeded(3), restarts=r).inertia for r in (1, 4, 16)]
    assert inertias[0] > inertias[2]
    assert inertias[0] >= inertias[1] >= inertias[2]


def test_more_iterations_are_never_worse():
    x = blobs(300, 15, 8, 1.0)
    inertias = [
        kmeans(x, 15, generator=seeded(3), restarts=1, iterations=i).inertia for i in (0, 1, 3, 9)
    ]
    assert inertias == sorted(inertias, reverse=True)


def test_same_seed_same_result_and_no_global_draws():
    x = blobs(200, 9, 8, 1.0)
    before = torch.get_rng_state()
    first, second = (kmeans(x, 9, generator=seeded(5)) for _ in range(2))
    assert torch.equal(first.centroid_KD, second.centroid_KD)
    assert torch.equal(first.assign_N, second.assign_N)
    assert first.inertia == second.inertia
    assert torch.equal(torch.get_rng_state(), before)
    other = kmeans(x, 9, generator=seeded(6))
    assert not torch.equal(first.centroid_KD, other.centroid_KD)


def test_thread_count_does_not_change_the_clusters():
    x = blobs(400, 12, 32, 0.8)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(kmeans(x, 12, generator=seeded(), iterations=5, restarts=2))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0].assign_N, results[1].assign_N)
    assert torch.allclose(results[0].centroid_KD, results[1].centroid_KD, atol=1e-6)


def test_empty_clusters_go_to_the_farthest_points():
    x = torch.tensor([[0.0], [0.1], [0.2], [10.0], [20.0]])
    far = torch.tensor([[0.1], [1000.0], [2000.0]])
    result = kmeans(x, 3, generator=seeded(), init_KD=far)
    assert sorted(result.assign_N.bincount(minlength=3).tolist()) == [1, 1, 3]
    assert result.inertia == pytest.approx(0.02, rel=1e-4)


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("distinct", [1, 3])
def test_fewer_distinct_points_than_clusters(distinct, spherical):
    x = F.normalize(torch.randn(distinct, 4, generator=seeded()), dim=1).repeat(20, 1)
    result = kmeans(x, 8, generator=seeded(), spherical=spherical)
    assert result.centroid_KD.isfinite().all()
    assert result.assign_N.unique().numel() == distinct
    assert result.inertia == pytest.approx(0.0, abs=1e-6)


def test_as_many_clusters_as_points():
    x = torch.randn(12, 5, generator=seeded())
    result = kmeans(x, 12, generator=seeded())
    assert sorted(result.assign_N.tolist()) == list(range(12))
    assert result.inertia == pytest.approx(0.0, abs=1e-9)


def test_one_cluster_is_the_mean():
    x = torch.randn(50, 5, generator=seeded()) + 3
    assert torch.allclose(kmeans(x, 1, generator=seeded()).centroid_KD[0], x.mean(0), atol=1e-6)


def test_points_far_from_the_origin_keep_their_clusters():
    x = blobs(200, 5, 8, 0.05)
    near = kmeans(x, 5, generator=seeded())
    far = kmeans(x.double() + 1000, 5, generator=seeded())
    assert torch.equal(near.assign_N, far.assign_N)
    assert far.inertia == pytest.approx(near.inertia, rel=1e-2)


def test_half_precision_points():
    x = blobs(200, 5, 8, 0.05)
    result = kmeans(x.bfloat16(), 5, generator=seeded())
    assert result.centroid_KD.dtype == torch.float32
    assert torch.equal(result.assign_N, kmeans(x, 5, generator=seeded()).assign_N)


def test_spherical_centroids_have_unit_length_and_win_by_cosine():
    x = F.normalize(blobs(200, 6, 8, 0.5), dim=1)
    result = kmeans(x, 6, generator=seeded(), spherical=True)
    assert torch.allclose(result.centroid_KD.norm(dim=1), torch.ones(6), atol=1e-6)
    assert torch.equal(result.assign_N, (x @ result.centroid_KD.T).argmax(1))
    for cluster in range(6):
        mean_D = x[result.assign_N == cluster].mean(0)
        assert F.cosine_similarity(mean_D, result.centroid_KD[cluster], dim=0) > 0.999


def test_blocks_do_not_change_the_result(monkeypatch):
    x = blobs(150, 7, 8, 0.8)
    whole = kmeans(x, 7, generator=seeded())
    monkeypatch.setattr(module, "CPU_SCORES", 300)
    blocks = kmeans(x, 7, generator=seeded())
    assert torch.equal(whole.assign_N, blocks.assign_N)
    assert torch.allclose(whole.centroid_KD, blocks.centroid_KD, atol=1e-6)


def test_bad_input_is_refused():
    x = torch.randn(5, 3, generator=seeded())
    with pytest.raises(ValueError, match="K = 6 of 5"):
        kmeans(x, 6, generator=seeded())
    with pytest.raises(ValueError, match="K = 0"):
        kmeans(x, 0, generator=seeded())
    with pytest.raises(ValueError, match="init_KD"):
        kmeans(x, 2, generator=seeded(), init_KD=x[:3])
    x[2, 1] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        kmeans(x, 2, generator=seeded())


@pytest.mark.parametrize("n", [1, 2, 3, 9, 14, 60, 758, 4400, 100_000])
def test_candidate_ks_come_from_n(n):
    ks = candidate_ks(n)
    assert 1 <= len(ks) <= 12
    assert list(ks) == sorted(set(ks))
    assert ks[0] == min(2, n)
    assert ks[-1] == max(min(2, n), min(200, n // 5))
    if n >= 758:
        ratios = np.array(ks[4:]) / np.array(ks[3:-1])
        assert ratios.max() < 1.3 * ratios.min()


@pytest.mark.parametrize("true_k", [6, 15, 40])
def test_elbow_finds_separated_blobs(true_k):
    x = blobs(600, true_k, 16, 0.15)
    ks = candidate_ks(600)
    found = elbow(x, ks, seeded())
    assert found in ks
    assert true_k / 1.6 <= found <= true_k * 1.6


def test_knee_of_known_curves():
    assert knee([2, 4, 8, 16, 32], [100, 50, 10, 8, 6]) == 8
    assert knee([2, 4, 8, 16, 32], [100, 50, 10, 30, 6]) == 8
    assert knee([2, 4, 8], [5, 5, 5]) == 2
    assert knee([3], [7.0]) == 3
    with pytest.raises(ValueError, match="rising"):
        knee([4, 2], [1, 2])
