"""ProtoOT's losses and prototypes against the authors' figures and against slow loops."""

import math

import ot
import pytest
import torch
import torch.nn.functional as F
from golden_losses import FILES, Golden, step

from harness.errors import UsageError
from losses import Clustering, DomainView, create_loss
from losses.parts.marginal_sinkhorn import (
    cluster_marginal,
    marginal_sinkhorn,
    matched_marginal,
    protoot_step,
    prototype_plan,
)
from losses.protoot_cross_domain import protoot_cross_domain_loss
from losses.protoot_in_domain import nearest_other_slot, protoot_in_domain_loss


@pytest.fixture(params=FILES)
def golden(request):
    return Golden(request.param)


def views_after_a_step(golden):
    views = []
    for x in "ab":
        view = golden.view(x)
        clustering = view.clusterings[0]
        marginal_K = cluster_marginal(clustering.assign_N, golden["K"])
        current = Clustering(clustering.proto_KD, clustering.assign_N, marginal_K=marginal_K)
        clusterings = protoot_step(
            view.bank_ND, current, golden["ot_epsilon"], golden["ot_iterations"]
        )
        views.append(
            DomainView(
                view.z_BD,
                view.pooled_BF,
                view.key_BD,
                None,
                view.index_B,
                view.bank_ND,
                clusterings,
            )
        )
    return views


def test_plan_equals_the_authors(golden):
    marginal_K = cluster_marginal(golden["assign_a"], golden["K"])
    plan_NK = prototype_plan(
        golden["bank_a"],
        golden["proto_a"],
        marginal_K,
        golden["ot_epsilon"],
        golden["ot_iterations"],
    )
    torch.testing.assert_close(plan_NK, golden["protoot.plan_a"], rtol=1e-4, atol=1e-6)


def test_prototypes_after_a_step_equal_the_authors(golden):
    for x, view in zip("ab", views_after_a_step(golden)):
        before, after = view.clusterings
        torch.testing.assert_close(before.proto_KD, golden[f"proto_{x}"])
        torch.testing.assert_close(
            after.proto_KD, golden[f"protoot.proto_{x}_after"], rtol=1e-5, atol=1e-6
        )


def test_in_domain_loss_equals_the_authors(golden):
    a, b = views_after_a_step(golden)
    golden.check(
        "protoot.in_domain", create_loss("protoot_in_domain", tau=golden["tau"])(a, b, step())
    )


def test_cross_domain_loss_equals_the_authors_in_official_mode(golden):
    a, b = views_after_a_step(golden)
    loss = create_loss(
        "protoot_cross_domain",
        tau=golden["tau"],
        epsilon=golden["ot_epsilon"],
        iterations=golden["ot_iterations"],
        beta_mode="official",
    )
    golden.check("protoot.cross_domain", loss(a, b, step()))


def test_sinkhorn_takes_the_marginals_and_is_that_of_pot():
    generator = torch.Generator().manual_seed(0)
    score_NK = torch.rand(12, 4, generator=generator, dtype=torch.float64)
    marginal_K = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
    plan_NK = marginal_sinkhorn(score_NK, marginal_K, 0.1, 500)
    torch.testing.assert_close(plan_NK.sum(1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(plan_NK.sum(0) / 12, marginal_K)
    even_N = torch.full((12,), 1 / 12, dtype=torch.float64)
    pot_NK = ot.sinkhorn(even_N, marginal_K, -score_NK, 0.1, numItermax=1000)
    torch.testing.assert_close(plan_NK / 12, pot_NK, rtol=1e-6, atol=1e-9)


def test_an_empty_cluster_keeps_its_prototype_alive_with_a_floor():
    generator = torch.Generator().manual_seed(1)
    bank_ND = F.normalize(torch.randn(40, 8, generator=generator), dim=1)
    proto_KD = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    assign_N = torch.randint(4, (40,), generator=generator)
    bare_K, floored_K = (cluster_marginal(assign_N, 5, floor) for floor in (0.0, 1.0))
    assert bare_K[4] == 0
    assert floored_K[4] == pytest.approx(1 / 41)
    torch.testing.assert_close(floored_K.sum(), torch.tensor(1.0))
    for marginal_K, norm in ((bare_K, 0.0), (floored_K, 1.0)):
        _, after = protoot_step(bank_ND, Clustering(proto_KD, assign_N, marginal_K=marginal_K))
        assert after.proto_KD[4].norm().item() == pytest.approx(norm, abs=1e-6)
        assert after.proto_KD.isfinite().all()


def test_marginals_follow_the_prototypes_when_k_means_renumbers():
    generator = torch.Generator().manual_seed(2)
    proto_KD = F.normalize(torch.randn(6, 16, generator=generator), dim=1)
    renumbered = torch.randperm(6, generator=generator)
    centroid_KD = 0.8 * proto_KD[renumbered] + 0.01 * torch.randn(6, 16, generator=generator)
    marginal_K = torch.tensor([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    matched_K = matched_marginal(centroid_KD, marginal_K[renumbered], proto_KD)
    torch.testing.assert_close(matched_K, marginal_K)


def random_domain(seed, batch=5, images=20, clusters=4, size=8):
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape):
        return F.normalize(torch.randn(*shape, generator=generator), dim=1)

    assign_N = torch.randint(clusters, (images,), generator=generator)
    clustering = Clustering(
        unit(clusters, size), assign_N, marginal_K=cluster_marginal(assign_N, clusters, 1.0)
    )
    z_BD, key_BD, bank_ND = unit(batch, size), unit(batch, size), unit(images, size)
    index_B = torch.randperm(images, generator=generator)[:batch]
    bank_ND[index_B] = key_BD
    return DomainView(z_BD, z_BD, key_BD, None, index_B, bank_ND, (clustering,))


def test_in_domain_loss_against_loops():
    view = random_domain(3)
    clustering, tau = view.clusterings[0], 0.3
    total = 0.0
    for z, key, own in zip(view.z_BD, view.key_BD, view.index_B.tolist()):
        label = clustering.assign_N[own].item()
        others = [n for n in range(20) if n != own]
        nearest = max(others, key=lambda n: float(key @ view.bank_ND[n]))
        negatives = sum(math.exp(z @ clustering.proto_KD[r] / tau) for r in range(4) if r != label)
        for weight, positive in (
            (1.0, key),
            (0.7, view.bank_ND[nearest]),
            (0.2, clustering.proto_KD[label]),
        ):
            up = math.exp(z @ positive / tau)
            total -= weight * math.log(up / (up + negatives))
    value = protoot_in_domain_loss(
        view.z_BD, view.key_BD, view.bank_ND, view.index_B, clustering, tau, 0.7, 0.2
    )
    assert value.item() == pytest.approx(total / 5, rel=1e-5)


def test_the_neighbour_is_never_the_own_slot():
    view = random_domain(4)
    neighbour_BD = nearest_other_slot(view.key_BD, view.bank_ND, view.index_B)
    assert (view.key_BD @ neighbour_BD.T).diagonal().max() < 0.999


@pytest.mark.parametrize("clusters", [(4, 4), (3, 6)])
def test_cross_domain_loss_in_fixed_mode_against_loops(clusters):
    a, b = random_domain(5, clusters=clusters[0]), random_domain(6, clusters=clusters[1])
    total = 0.0
    for own, other in ((a, b), (b, a)):
        prototypes = other.clusterings[0]
        plan_NK = prototype_plan(
            own.bank_ND, prototypes.proto_KD, prototypes.marginal_K, epsilon=0.05, iterations=3
        )
        domain_total = 0.0
        for z, position in zip(own.z_BD, own.index_B.tolist()):
            target = max(range(len(prototypes.proto_KD)), key=lambda k: float(plan_NK[position, k]))
            weights = [math.exp(z @ p / 0.2) for p in prototypes.proto_KD]
            domain_total -= math.log(weights[target] / sum(weights))
        total += domain_total / len(own.z_BD)
    value = create_loss("protoot_cross_domain")(a, b, step())
    assert value.item() == pytest.approx(total, rel=1e-5)


def test_rescaled_negatives_against_loops():
    view = random_domain(7, clusters=6)
    proto_KD, target_B = view.clusterings[0].proto_KD, torch.tensor([0, 5, 2, 2, 1])
    total = 0.0
    for z, target in zip(view.z_BD, target_B.tolist()):
        cosines = [float(z @ p) for p in proto_KD]
        norm = math.sqrt(sum(c * c for c in cosines))
        up = math.exp(cosines[target] / 0.2)
        down = sum(math.exp(c / norm / 0.2) for k, c in enumerate(cosines) if k != target)
        total -= math.log(up / (up + down))
    value = protoot_cross_domain_loss(view.z_BD, target_B, proto_KD, 0.2, rescaled_negatives=True)
    assert value.item() == pytest.approx(total / 5, rel=1e-5)


def test_official_marginals_need_as_many_prototypes_in_both_domains():
    a, b = random_domain(8, clusters=3), random_domain(9, clusters=5)
    with pytest.raises(UsageError, match=r"official needs the same number.*use beta_mode=fixed"):
        create_loss("protoot_cross_domain", beta_mode="official")(a, b, step())


def test_missing_marginals_are_named():
    view = random_domain(10)
    bare = Clustering(view.clusterings[0].proto_KD, view.clusterings[0].assign_N)
    bare_view = DomainView(
        view.z_BD, view.z_BD, view.key_BD, None, view.index_B, view.bank_ND, (bare,)
    )
    with pytest.raises(UsageError, match="rule that computes marginals"):
        create_loss("protoot_cross_domain")(bare_view, bare_view, step())
    with pytest.raises(UsageError, match="needs a clustering with marginals"):
        protoot_step(view.bank_ND, bare)
