"""Each equation of UEM against a slow evaluation of it, on random and degenerate inputs."""

import math

import pytest
import torch
import torch.nn.functional as F
from golden_losses import step

from harness.errors import UsageError
from harness.training.clusterings.merging import merge_prototypes
from losses import Clustering, DomainView, create_loss
from losses.semantic_enhanced import semantic_enhanced_loss
from losses.semantic_preserving import semantic_preserving_loss
from losses.switchable_neighbour import switchable_neighbour_loss
from losses.uem_instance import uem_instance_loss

TAU = 0.3


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def numbers(u):
    return u.detach().tolist()


def dist(u, v):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(numbers(u), numbers(v))))


def dot(u, v):
    return sum(x * y for x, y in zip(numbers(u), numbers(v)))


def cosine(u, v):
    return dot(u, v) / math.sqrt(dot(u, u) * dot(v, v))


def pair_of_domains(seed, clusters=(4, 6), merging="random", batch=(5, 4), images=(24, 31)):
    """Two views with merged prototypes: none, some or all of the pairs merge."""
    generator = torch.Generator().manual_seed(seed)
    protos = [unit(generator, k, 8) for k in clusters]
    banks = [unit(generator, n, 8) for n in images]
    if merging == "all":
        fewer, more = sorted((0, 1), key=lambda d: clusters[d])
        protos[fewer] = protos[more][: clusters[fewer]].clone()
        banks = [bank - bank.mean(0) for bank in banks]
    elif merging == "none":
        banks[0] = banks[0] + 5.0
    elif merging == "one":
        banks = [bank - bank.mean(0) for bank in banks]
        protos[0][0] = F.normalize(protos[1][1] + 0.02, dim=0)
    merged = merge_prototypes(*protos, *banks)
    views = []
    for d in (0, 1):
        assign_N = torch.randint(clusters[d], (images[d],), generator=generator)
        clustering = Clustering(protos[d], assign_N, merged=merged[d])
        z_BD = unit(generator, batch[d], 8).requires_grad_()
        index_B = torch.randint(images[d], (batch[d],), generator=generator)
        views.append(
            DomainView(
                z_BD, z_BD, None, unit(generator, batch[d], 8), index_B, banks[d], (clustering,)
            )
        )
    return views


SITUATIONS = [
    {"merging": "random"},
    {"merging": "one"},
    {"merging": "none"},
    {"merging": "all"},
    {"merging": "one", "clusters": (6, 3)},
    {"clusters": (1, 1)},
    {"clusters": (1, 5), "merging": "none"},
    {"clusters": (5, 1), "merging": "all"},
]


@pytest.fixture(params=SITUATIONS, ids=str)
def views(request):
    return pair_of_domains(11, **request.param)


def test_the_situations_are_what_they_say():
    def count(**situation):
        a, b = pair_of_domains(11, **situation)
        merged = a.clusterings[0].merged.is_merged_C.sum().item()
        assert merged == b.clusterings[0].merged.is_merged_C.sum().item()
        return merged

    assert count(merging="none") == 0
    assert count(merging="one") == 1
    assert count(merging="all") == 4
    assert count(clusters=(1, 1)) == 1


@pytest.mark.parametrize("negatives", ["bank", "batch"])
def test_eq_6_instance_term(views, negatives):
    expected = 0.0
    for view in views:
        slots = view.bank_ND if negatives == "bank" else view.bank_ND[view.index_B]
        terms = []
        for z, own in zip(view.z_BD, view.index_B.tolist()):
            up = math.exp(dot(z, view.bank_ND[own]) / TAU)
            terms.append(-math.log(up / sum(math.exp(dot(z, m) / TAU) for m in slots)))
        expected += sum(terms) / len(terms)
    loss = create_loss("uem_instance", tau=TAU, negatives=negatives)
    assert loss(*views, step()).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("prototypes", ["merged", "own"])
def test_eq_7_prototype_term(views, prototypes):
    expected = 0.0
    for view in views:
        clustering = view.clusterings[0]
        merged = clustering.merged
        terms = []
        for z, position in zip(view.z_BD, view.index_B.tolist()):
            cluster = clustering.assign_N[position].item()
            if prototypes == "own":
                all_prototypes, own = clustering.proto_KD, cluster
            else:
                all_prototypes, own = merged.proto_CD, merged.own_to_merged_K[cluster].item()
            weights = [math.exp(dot(z, p) / TAU) for p in all_prototypes]
            terms.append(-math.log(weights[own] / sum(weights)))
        expected += sum(terms) / len(terms)
    loss = create_loss("uem_prototype", tau=TAU, prototypes=prototypes)
    assert loss(*views, step()).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("prototypes", ["merged", "own"])
def test_eq_11_semantic_enhanced(views, prototypes):
    expected = 0.0
    for view in views:
        clustering = view.clusterings[0]
        chosen = clustering.proto_KD if prototypes == "own" else clustering.merged.proto_CD
        terms = []
        for z in view.z_BD:
            weights = [math.exp(dot(z, p) / TAU) for p in chosen]
            terms.append(sum(w / sum(weights) * dist(z, p) for w, p in zip(weights, chosen)))
        expected += sum(terms) / len(terms)
    loss = create_loss("semantic_enhanced", tau=TAU, prototypes=prototypes)
    assert loss(*views, step()).item() == pytest.approx(expected, rel=1e-4)


def test_eq_14_semantic_preserving(views):
    expected = 0.0
    for view in views:
        z, f, count = view.z_BD, view.frozen_BD, len(view.z_BD)
        for i in range(count):
            for j in range(count):
                expected += (cosine(z[i], z[j]) - cosine(f[i], f[j])) ** 2 / count**2
                expected += (dist(z[i], z[j]) - dist(f[i], f[j])) ** 2 / count**2
    value = create_loss("semantic_preserving")(*views, step())
    assert value.item() == pytest.approx(expected, rel=1e-4)


def s(u, v):
    return (1 - cosine(u, v)) * dist(u, v)


def loop_sn2m(own, other):
    """Eq. 15-17, with the merged set of the other domain rebuilt by its maps."""
    prototypes, merged = other.clusterings[0], other.clusterings[0].merged
    total, agreements = 0.0, 0
    for z in own.z_BD:
        own_prototypes = own.clusterings[0].proto_KD
        c = min(range(len(own_prototypes)), key=lambda k: s(z, own_prototypes[k]))
        n = min(range(len(other.bank_ND)), key=lambda j: s(z, other.bank_ND[j]))
        translated = merged.other_to_merged_K[c].item()
        of_neighbour = merged.own_to_merged_K[prototypes.assign_N[n].item()].item()
        delta = math.exp(dot(z, merged.proto_CD[translated]) / TAU)
        if translated == of_neighbour:
            delta += math.exp(dot(z, other.bank_ND[n]) / TAU)
            agreements += 1
        below = sum(math.exp(dot(z, p) / TAU) for p in merged.proto_CD)
        below += sum(math.exp(dot(z, m) / TAU) for m in other.bank_ND)
        total -= math.log(delta / below)
    return total / len(own.z_BD), agreements / len(own.z_BD)


def test_eq_15_to_17_switchable_neighbour(views):
    a, b = views
    seen = {}
    value = create_loss("switchable_neighbour", tau=TAU)(a, b, step(seen.__setitem__))
    (loss_a, agree_a), (loss_b, agree_b) = loop_sn2m(a, b), loop_sn2m(b, a)
    assert value.item() == pytest.approx(loss_a + loss_b, rel=1e-4)
    assert seen["switchable_neighbour.agreement"].item() == pytest.approx((agree_a + agree_b) / 2)
    value.backward()
    assert a.z_BD.grad.isfinite().all()


def test_some_neighbours_agree_and_some_do_not_in_what_is_compared():
    shares = []
    for situation in SITUATIONS:
        a, b = pair_of_domains(11, **situation)
        shares += [loop_sn2m(a, b)[1], loop_sn2m(b, a)[1]]
    assert any(0 < share < 1 for share in shares)


def test_the_neighbour_switches_on_where_everything_merges_and_off_where_nothing_does():
    for merging, clusters in (("all", (1, 1)), ("none", (4, 6))):
        a, b = pair_of_domains(12, merging=merging, clusters=clusters)
        _, agreement = switchable_neighbour_loss(
            a.z_BD, a.clusterings[0].proto_KD, b.bank_ND, b.clusterings[0], TAU
        )
        assert agreement.item() == (1.0 if merging == "all" else 0.0)


def test_gradients_of_the_distances_stay_finite_where_points_coincide():
    z_BD = torch.ones(3, 4).mul(0.5).requires_grad_()
    frozen_BD = F.normalize(torch.eye(3, 4), dim=1)
    semantic_preserving_loss(z_BD, frozen_BD).backward()
    assert z_BD.grad.isfinite().all()
    z_BD.grad = None
    semantic_enhanced_loss(z_BD, z_BD.detach().clone(), 0.07).backward()
    assert z_BD.grad.isfinite().all()


def test_preserving_is_zero_for_an_unchanged_encoder_and_blind_to_rotation():
    generator = torch.Generator().manual_seed(13)
    frozen_BD = unit(generator, 6, 8)
    rotation_DD, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator))
    for z_BD in (frozen_BD, frozen_BD @ rotation_DD):
        assert semantic_preserving_loss(z_BD, frozen_BD).item() == pytest.approx(0, abs=1e-9)


def test_batch_negatives_of_a_batch_of_one_leave_nothing_to_learn():
    generator = torch.Generator().manual_seed(14)
    value = uem_instance_loss(
        unit(generator, 1, 8), unit(generator, 9, 8), torch.tensor([3]), TAU, "batch"
    )
    assert value.item() == 0


def test_what_is_missing_is_named():
    a, b = pair_of_domains(15)
    bare = [
        DomainView(
            v.z_BD,
            v.z_BD,
            None,
            None,
            v.index_B,
            v.bank_ND,
            (Clustering(v.clusterings[0].proto_KD, v.clusterings[0].assign_N),),
        )
        for v in (a, b)
    ]
    for name in ("uem_prototype", "semantic_enhanced", "switchable_neighbour"):
        with pytest.raises(UsageError, match="rule that merges prototypes"):
            create_loss(name)(*bare, step())
    with pytest.raises(UsageError, match="starts with a frozen copy"):
        create_loss("semantic_preserving")(*bare, step())
    create_loss("uem_prototype", prototypes="own")(*bare, step()).backward()
