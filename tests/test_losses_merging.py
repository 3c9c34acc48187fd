"""UEM's translation and merging (eq. 8-9) against an exhaustive evaluation."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from harness.training.clusterings.merging import matched_pairs, merge_prototypes, smallest_gap


def brute_force(proto_a, proto_b, mean_a, mean_b):
    """The set P' in A as a list of rows, with the maps, by trying every assignment."""
    moved = [p + mean_a - mean_b for p in proto_b]

    def d(u, v):
        return math.sqrt(sum((x - y) ** 2 for x, y in zip(u.tolist(), v.tolist())))

    def gap(rows):
        return min((d(u, v) for u, v in itertools.combinations(rows, 2)), default=math.inf)

    few, many = sorted((len(proto_a), len(proto_b)))
    best, best_cost = None, math.inf
    for chosen in itertools.permutations(range(many), few):
        pairs = [(i, c) if len(proto_a) == few else (c, i) for i, c in enumerate(chosen)]
        cost = sum(d(proto_a[i], moved[j]) for i, j in pairs)
        if cost < best_cost:
            best, best_cost = pairs, cost
    bound = min(gap(list(proto_a)), gap(list(proto_b)))
    near = [(i, j) for i, j in best if d(proto_a[i], moved[j]) < bound]
    rows = [p for i, p in enumerate(proto_a) if i not in [i for i, _ in near]]
    rows += [p for j, p in enumerate(moved) if j not in [j for _, j in near]]
    rows += [(proto_a[i] + moved[j]) / 2 for i, j in near]
    return near, rows


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def case(seed, clusters, noise, shift=0.0):
    """B's prototypes are A's, shuffled, moved by a common vector and by noise."""
    generator = torch.Generator().manual_seed(seed)
    proto_a, bank_a = unit(generator, clusters[0], 6), unit(generator, 20, 6)
    shared = min(clusters)
    extra = unit(generator, clusters[1] - shared, 6)
    moved = proto_a[torch.randperm(clusters[0], generator=generator)[:shared]]
    moved = moved + noise * unit(generator, shared, 6)
    offset_D = shift * unit(generator, 1, 6)
    proto_b = torch.cat([moved, extra]) + offset_D
    bank_b = bank_a[torch.randperm(20, generator=generator)] + offset_D
    return proto_a, proto_b, bank_a, bank_b


CASES = {
    "random": (21, (4, 5), 1.5, 0.3),
    "more in a": (22, (5, 3), 0.3, 0.3),
    "everything merges": (23, (4, 4), 0.01, 0.7),
    "nothing merges": (24, (4, 4), 3.0, 0.0),
    "one prototype each": (25, (1, 1), 0.9, 0.5),
    "one prototype in a": (26, (1, 4), 0.1, 0.2),
    "one prototype in b": (27, (4, 1), 0.1, 0.2),
}


@pytest.mark.parametrize("name", CASES)
def test_merging_equals_trying_everything(name):
    proto_a, proto_b, bank_a, bank_b = case(*CASES[name])
    in_a, in_b = merge_prototypes(proto_a, proto_b, bank_a, bank_b)
    views = (
        (in_a, proto_a, proto_b, bank_a, bank_b),
        (in_b, proto_b, proto_a, bank_b, bank_a),
    )
    for merged, own, other, bank_own, bank_other in views:
        near, rows = brute_force(own, other, bank_own.mean(0), bank_other.mean(0))
        expected = F.normalize(torch.stack(rows), dim=1)
        assert merged.proto_CD.shape == expected.shape
        assert merged.is_merged_C.sum().item() == len(near)
        for i, j in near:
            row = merged.own_to_merged_K[i].item()
            assert row == merged.other_to_merged_K[j].item()
            assert merged.is_merged_C[row]
        joined = set(merged.own_to_merged_K.tolist())
        joined |= set(merged.other_to_merged_K.tolist())
        assert joined == set(range(len(rows)))
        nearest = torch.cdist(merged.proto_CD, expected).min(dim=1).values
        assert nearest.max() < 1e-5
        for k, p in enumerate(own):
            if k not in [i for i, _ in near]:
                torch.testing.assert_close(
                    merged.proto_CD[merged.own_to_merged_K[k]], F.normalize(p, dim=0)
                )


def test_the_cases_are_what_they_say():
    def merged(name):
        return merge_prototypes(*case(*CASES[name]))[0].is_merged_C.sum().item()

    assert merged("everything merges") == 4
    assert merged("nothing merges") == 0
    assert merged("one prototype each") == 1
    assert 0 < merged("random") < 4


def test_both_domains_merge_the_same_pairs():
    in_a, in_b = merge_prototypes(*case(*CASES["random"]))
    assert in_a.proto_CD.shape == in_b.proto_CD.shape
    pairs_a = {
        (i, j)
        for i, j in itertools.product(range(4), range(5))
        if in_a.own_to_merged_K[i] == in_a.other_to_merged_K[j]
    }
    pairs_b = {
        (i, j)
        for i, j in itertools.product(range(4), range(5))
        if in_b.other_to_merged_K[i] == in_b.own_to_merged_K[j]
    }
    assert pairs_a == pairs_b != set()


def test_merged_prototypes_are_unit_vectors_without_gradient():
    proto_a, proto_b, bank_a, bank_b = case(*CASES["random"])
    in_a, _ = merge_prototypes(proto_a.requires_grad_(), proto_b, bank_a, bank_b)
    torch.testing.assert_close(in_a.proto_CD.norm(dim=1), torch.ones(len(in_a.proto_CD)))
    assert not in_a.proto_CD.requires_grad


def test_the_gap_of_a_single_prototype_bounds_nothing():
    assert smallest_gap(torch.ones(1, 3)) == math.inf
    assert smallest_gap(torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]])) == pytest.approx(5)
    rows, columns = matched_pairs(torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(2))
    assert (rows, columns) == ([0], [0])


@pytest.mark.parametrize("tight", ["a", "b"])
def test_two_near_prototypes_of_either_domain_forbid_a_merge_that_is_wider(tight):
    wide = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    near = torch.tensor([[1.0, 0.2], [1.0, 0.3]])
    centred_ND = torch.zeros(3, 2)
    first, second = (near, wide) if tight == "a" else (wide, near)
    in_a, in_b = merge_prototypes(first, second, centred_ND, centred_ND)
    assert not in_a.is_merged_C.any()
    assert not in_b.is_merged_C.any()
