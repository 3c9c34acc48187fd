"""The pieces of ``ucdir_ot`` against slow evaluations."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from golden_losses import step

from harness.errors import UsageError
from harness.training.clusterings.transport_matching import match_prototypes, transport_plan
from losses import Clustering, DomainView, create_loss
from losses.optimal_transport_distance import matched_structure_distance
from losses.parts.soft_centroids import soft_assignment, soft_centroids
from losses.soft_centroid_contrast import soft_centroid_contrast_loss


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def loop_centroids(z, proto, temperature, momentum):
    clusters, prior = len(proto), len(z) / len(proto) * momentum / (1 - momentum)
    centroids = []
    for j in range(clusters):
        top, mass = prior * proto[j], prior
        for x in z:
            weights = [math.exp(x @ p / temperature) for p in proto]
            share = weights[j] / sum(weights)
            top, mass = top + share * x, mass + share
        centroids.append(top / mass)
    return centroids


def test_plan_spends_each_prototype_of_the_smaller_domain_and_no_other_twice():
    generator = torch.Generator().manual_seed(0)
    a_AD, b_BD = unit(generator, 5, 8), unit(generator, 7, 8)
    for plan_AB in (
        transport_plan(a_AD, b_BD, 0.05, 1000),
        transport_plan(b_BD, a_AD, 0.05, 1000).T,
    ):
        assert plan_AB.shape == (5, 7)
        torch.testing.assert_close(plan_AB.sum(1), torch.full((5,), 1 / 7, dtype=torch.float64))
        assert plan_AB.sum(0).max().item() <= 1 / 7 + 1e-6


def test_square_plan_holds_uniform_marginals_and_tends_to_the_cheapest_assignment():
    generator = torch.Generator().manual_seed(7)
    a_AD, b_BD = unit(generator, 5, 8), unit(generator, 5, 8)
    plan_AB = transport_plan(a_AD, b_BD, 0.01, 5000)
    even = torch.full((5,), 1 / 5, dtype=torch.float64)
    torch.testing.assert_close(plan_AB.sum(1), even, rtol=1e-3, atol=1e-4)
    cost_AB = torch.cdist(a_AD, b_BD).square()

    def cost(order):
        return sum(float(cost_AB[i, j]) for i, j in enumerate(order))

    cheapest = min(itertools.permutations(range(5)), key=cost)
    assert match_prototypes(a_AD, b_BD, 0.01, 5000)[0].tolist() == list(cheapest)


@pytest.mark.parametrize("clusters", [(6, 6), (4, 6), (6, 4), (1, 1), (1, 3), (3, 1)])
def test_match_finds_the_shuffled_copy(clusters):
    generator = torch.Generator().manual_seed(1)
    more, fewer = max(clusters), min(clusters)
    all_SD = unit(generator, more, 16)
    order = torch.randperm(more, generator=generator)
    shuffled_SD = F.normalize(all_SD + 0.05 * unit(generator, more, 16), dim=1)[order]
    first, second = all_SD[: clusters[0]], shuffled_SD[: clusters[1]]
    if clusters[1] == more:
        expected = [k if k < clusters[0] else -1 for k in order.tolist()]
    else:
        expected = order[: clusters[1]].tolist()
    of_first, of_second = match_prototypes(first, second)
    assert of_second.tolist() == expected
    for j, i in enumerate(expected):
        assert i < 0 or of_first[i].item() == j
    assert (of_first >= 0).sum().item() == fewer


def test_match_is_one_to_one_where_the_arg_max_of_the_plan_is_not():
    centre = torch.tensor([1.0, 0.0, 0.0])
    a_AD = F.normalize(
        torch.stack([centre, centre + torch.tensor([0.0, 0.05, 0.0]), torch.eye(3)[1]]), dim=1
    )
    b_BD = F.normalize(torch.stack([centre, torch.eye(3)[1], torch.eye(3)[2]]), dim=1)
    of_a, _ = match_prototypes(a_AD, b_BD)
    assert sorted(of_a.tolist()) == [0, 1, 2]


def test_soft_centroids_against_loops():
    generator = torch.Generator().manual_seed(2)
    z_BD, proto_KD = unit(generator, 7, 6), unit(generator, 4, 6)
    for momentum in (0.0, 0.5, 0.9):
        share_BK = soft_assignment(z_BD, proto_KD, 0.1)
        centroid_KD = soft_centroids(share_BK, z_BD, proto_KD, momentum)
        expected = torch.stack(loop_centroids(z_BD, proto_KD, 0.1, momentum))
        torch.testing.assert_close(centroid_KD, expected, rtol=1e-4, atol=1e-6)


def test_a_cluster_the_batch_does_not_touch_stays_at_its_prototype():
    z_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    proto_KD = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    share_BK = soft_assignment(z_BD, proto_KD, 0.01)
    torch.testing.assert_close(soft_centroids(share_BK, z_BD, proto_KD, 0.9), proto_KD)


def test_cluster_term_against_loops():
    generator = torch.Generator().manual_seed(3)
    z_BD, proto_KD = unit(generator, 6, 5), unit(generator, 4, 5)
    centroids = [F.normalize(c, dim=0) for c in loop_centroids(z_BD, proto_KD, 0.2, 0.8)]
    total = 0.0
    for z in z_BD:
        target = max(range(4), key=lambda k: float(z @ proto_KD[k]))
        weights = [math.exp(z @ c / 0.2) for c in centroids]
        total -= math.log(weights[target] / sum(weights))
    value = soft_centroid_contrast_loss(z_BD, proto_KD, 0.2, 0.8)
    assert value.item() == pytest.approx(total / 6, rel=1e-5)


def view(generator, proto_KD, counterpart_K, batch=6):
    z_BD = unit(generator, batch, 5).requires_grad_()
    assign_N = torch.zeros(9, dtype=torch.int64)
    clustering = Clustering(proto_KD, assign_N, counterpart_K=counterpart_K)
    bank_ND = unit(generator, 9, 5)
    return DomainView(z_BD, z_BD, None, None, torch.arange(batch), bank_ND, (clustering,))


@pytest.mark.parametrize("clusters", [(4, 4), (3, 5), (5, 3)])
def test_distance_of_matched_centroids_against_loops(clusters):
    generator = torch.Generator().manual_seed(4)
    proto_a, proto_b = unit(generator, clusters[0], 5), unit(generator, clusters[1], 5)
    of_a, of_b = match_prototypes(proto_a, proto_b)
    a, b = view(generator, proto_a, of_a), view(generator, proto_b, of_b, batch=8)
    centroids_a = loop_centroids(a.z_BD.detach(), proto_a, 0.1, 0.9)
    centroids_b = loop_centroids(b.z_BD.detach(), proto_b, 0.1, 0.9)
    pairs = [(i, j) for i, j in enumerate(of_a.tolist()) if j >= 0]
    total, count = 0.0, 0
    for i, m in pairs:
        for j, n in pairs:
            if i != j:
                own = (centroids_a[i] - centroids_a[j]).norm()
                total += abs(float(own - (centroids_b[m] - centroids_b[n]).norm()))
                count += 1
    value = create_loss("optimal_transport_distance")(a, b, step())
    assert value.item() == pytest.approx(total / count, rel=1e-4)
    value.backward()
    assert a.z_BD.grad.abs().max() > 0
    assert b.z_BD.grad.abs().max() > 0


def test_identical_structure_costs_nothing_in_any_order():
    generator = torch.Generator().manual_seed(5)
    centroid_KD = unit(generator, 5, 6)
    order = torch.tensor([3, 0, 4, 1, 2])
    counterpart_K = torch.empty(5, dtype=torch.int64)
    counterpart_K[order] = torch.arange(5)
    rotation_DD, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    other_KD = (centroid_KD @ rotation_DD)[order]
    value = matched_structure_distance(centroid_KD, other_KD, counterpart_K)
    assert value.item() == pytest.approx(0, abs=1e-6)
    wrong = matched_structure_distance(centroid_KD, other_KD, torch.arange(5))
    assert wrong.item() > 0.05


def test_a_rule_without_a_match_and_a_wrong_momentum_are_named():
    generator = torch.Generator().manual_seed(6)
    lonely = view(generator, unit(generator, 3, 5), None)
    with pytest.raises(UsageError, match="rule that matches the prototypes"):
        create_loss("optimal_transport_distance")(lonely, lonely, step())
    with pytest.raises(UsageError, match=r"momentum must lie in \[0, 1\)"):
        create_loss("soft_centroid_contrast", momentum=1.0)
