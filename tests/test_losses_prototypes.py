"""PCL's, PCS's, CDS's and CoDA's losses against slow evaluations."""

import math

import pytest
import torch
import torch.nn.functional as F
from golden_losses import step

from harness.errors import UsageError
from harness.training.clusterings.concentration import pcl_density, pcs_density
from losses import Clustering, DomainView, create_loss
from losses.neighbour_entropy import neighbour_entropy


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def view(seed, clusters=(4,), batch=5, images=20, with_density=True):
    generator = torch.Generator().manual_seed(seed)
    z_BD = unit(generator, batch, 8).requires_grad_()
    clusterings = tuple(
        Clustering(
            unit(generator, k, 8),
            torch.randint(k, (images,), generator=generator),
            density_K=0.1 + torch.rand(k, generator=generator) if with_density else None,
        )
        for k in clusters
    )
    index_B = torch.randperm(images, generator=generator)[:batch]
    return DomainView(z_BD, z_BD, None, None, index_B, unit(generator, images, 8), clusterings)


@pytest.mark.parametrize("tau", [None, 0.3])
def test_proto_nce_against_loops(tau):
    a, b = view(1, (4, 6)), view(2, (5, 3), batch=7)
    expected = 0.0
    for v in (a, b):
        for c in v.clusterings:
            for z, position in zip(v.z_BD.detach(), v.index_B.tolist()):
                own = c.assign_N[position].item()
                weights = [
                    math.exp(z @ p / (tau or phi)) for p, phi in zip(c.proto_KD, c.density_K)
                ]
                term = -math.log(weights[own] / sum(weights))
                expected += term / len(v.z_BD) / len(v.clusterings) / 2
    value = create_loss("proto_nce", tau=tau)(a, b, step())
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_proto_nce_needs_densities_or_a_temperature():
    bare = view(3, with_density=False)
    with pytest.raises(UsageError, match="computes densities, or a tau"):
        create_loss("proto_nce")(bare, bare, step())
    create_loss("proto_nce", tau=0.2)(bare, bare, step()).backward()


def loop_density(points, centroids, assign):
    density, sizes = [], []
    for k, centroid in enumerate(centroids):
        members = [p for p, c in zip(points, assign.tolist()) if c == k]
        total = sum(float((p - centroid).norm()) for p in members)
        size = max(len(members), 1)
        density.append(total / size / math.log(len(members) + 10))
        sizes.append(len(members))
    return density, sizes


def clustered(seed):
    generator = torch.Generator().manual_seed(seed)
    points_ND, centroid_KD = unit(generator, 60, 8), unit(generator, 7, 8) * 0.8
    assign_N = torch.randint(5, (60,), generator=generator)
    assign_N[0] = 5  # one image alone; cluster 6 stays empty
    return points_ND, centroid_KD, assign_N


def test_pcl_density_against_loops():
    points_ND, centroid_KD, assign_N = clustered(4)
    density, sizes = loop_density(points_ND, centroid_KD, assign_N)
    assert sorted(sizes)[:2] == [0, 1]
    density = [d if n > 1 else max(density) for d, n in zip(density, sizes)]
    ordered = sorted(density)

    def percentile(q):
        place = q * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    density = [min(max(d, percentile(0.1)), percentile(0.9)) for d in density]
    mean = sum(density) / len(density)
    expected = torch.tensor([0.2 * d / mean for d in density])
    found_K = pcl_density(points_ND, centroid_KD, assign_N, tau=0.2)
    torch.testing.assert_close(found_K, expected, rtol=1e-4, atol=1e-6)
    assert found_K.mean().item() == pytest.approx(0.2)


def test_pcs_density_against_loops():
    points_ND, centroid_KD, assign_N = clustered(5)
    density, _ = loop_density(points_ND, centroid_KD, assign_N)
    expected = torch.tensor([max(d, 0.05) for d in density])
    torch.testing.assert_close(
        pcs_density(points_ND, centroid_KD, assign_N), expected, rtol=1e-4, atol=1e-6
    )


def test_densities_of_images_that_lie_on_their_centroids():
    centroid_KD = torch.eye(3)
    assign_N = torch.tensor([0, 0, 1, 1, 2, 2])
    points_ND = centroid_KD[assign_N]
    torch.testing.assert_close(
        pcl_density(points_ND, centroid_KD, assign_N, 0.3), torch.full((3,), 0.3)
    )
    torch.testing.assert_close(
        pcs_density(points_ND, centroid_KD, assign_N), torch.full((3,), 0.05)
    )


def entropy(weights):
    return -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)


@pytest.mark.parametrize("neighbours", [1, 6, 700])
def test_neighbour_entropy_against_loops(neighbours):
    a, b = view(6), view(7, batch=6, images=13)
    expected = 0.0
    for own, other in ((a, b), (b, a)):
        for z in own.z_BD.detach():
            cosines = sorted((float(z @ m) for m in other.bank_ND), reverse=True)[:neighbours]
            expected += entropy([math.exp(c / 0.2) for c in cosines]) / len(own.z_BD)
    value = create_loss("neighbour_entropy", tau=0.2, neighbours=neighbours)(a, b, step())
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_neighbour_entropy_is_the_log_of_the_count_where_all_are_equally_near():
    bank_ND = torch.eye(8)
    z_BD = F.normalize(torch.ones(2, 8), dim=1)
    assert neighbour_entropy(z_BD, bank_ND, 5, 0.1).item() == pytest.approx(math.log(5))


@pytest.mark.parametrize(("prototypes", "pairs"), [("own", ("aa", "bb")), ("other", ("ab", "ba"))])
def test_self_entropy_over_the_prototypes_of_one_domain(prototypes, pairs):
    views = {"a": view(8, (4, 3)), "b": view(9, (6, 5), batch=3)}
    expected = 0.0
    for image, prototype in pairs:
        for c in views[prototype].clusterings:
            terms = [
                entropy([math.exp(z @ p / 0.5) for p in c.proto_KD])
                for z in views[image].z_BD.detach()
            ]
            expected += sum(terms) / len(terms) / 2 / len(pairs)
    loss = create_loss("self_entropy", temperature=0.5, prototypes=prototypes)
    value = loss(views["a"], views["b"], step())
    assert value.item() == pytest.approx(expected, rel=1e-5)


def begun(loss, a, b):
    loss.begin_stage(a.clusterings, b.clusterings, a.bank_ND, b.bank_ND)
    return loss


@pytest.mark.parametrize("clusters", [((4, 6), (4, 6)), ((4, 6), (5, 3))])
def test_coda_against_loops(clusters):
    a, b = view(10, clusters[0]), view(11, clusters[1], batch=7)
    loss = begun(create_loss("coda", embedding_size=8, temperature=0.05), a, b)
    matching, alignment = 0.0, 0.0
    for own in (a, b):
        for head, (of_a, of_b) in enumerate(zip(a.clusterings, b.clusterings)):
            classifier = own.clusterings[head].proto_KD
            for z, position in zip(own.z_BD.detach(), own.index_B.tolist()):
                slot = own.bank_ND[position]
                targets = [math.exp(slot @ w / 0.05) for w in classifier]
                logits = [float(z @ w) for w in classifier]
                log_sum = math.log(sum(math.exp(x) for x in logits))
                for t, x in zip(targets, logits):
                    matching -= t / sum(targets) * (x - log_sum) / len(own.z_BD) / 2
                for w_a, w_b in zip(of_a.proto_KD, of_b.proto_KD):
                    alignment += abs(float(z @ w_a - z @ w_b)) / len(own.z_BD) / 2
    seen = {}
    value = loss(a, b, step(seen.__setitem__))
    assert value.item() == pytest.approx(matching + 0.01 * alignment, rel=1e-5)
    assert seen["coda.self_matching"].item() == pytest.approx(matching, rel=1e-5)
    assert seen["coda.classifier_alignment"].item() == pytest.approx(alignment, rel=1e-4)


def test_an_optimiser_built_before_the_stage_trains_codas_classifiers():
    a, b = view(12, (4, 6)), view(13, (4, 6))
    loss = create_loss("coda", embedding_size=8, heads=2)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.1, momentum=0.9)
    begun(loss, a, b)
    proto_KD = a.clusterings[0].proto_KD.clone()
    values = []
    for _ in range(5):
        value = loss(a, b, step())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values == sorted(values, reverse=True)
    assert (loss.classifiers_a[0] - proto_KD).abs().max() > 1e-4
    torch.testing.assert_close(a.clusterings[0].proto_KD, proto_KD)


def test_codas_targets_carry_no_gradient_into_the_classifiers():
    a, b = view(14), view(15)
    loss = begun(create_loss("coda", embedding_size=8, heads=1, alignment_weight=0), a, b)
    loss(a, b, step()).backward()
    classifier_KD = a.clusterings[0].proto_KD.clone().requires_grad_()
    slots = a.bank_ND[a.index_B]
    target_BK = ((slots @ classifier_KD.T) / 0.01).softmax(1).detach()
    F.cross_entropy(a.z_BD.detach() @ classifier_KD.T, target_BK).backward()
    torch.testing.assert_close(loss.classifiers_a[0].grad, classifier_KD.grad)


def test_coda_with_more_clusterings_than_heads_is_refused():
    a = view(16, (3, 4, 5))
    with pytest.raises(UsageError, match="has 2 heads for 3 clusterings"):
        begun(create_loss("coda", embedding_size=8, heads=2), a, a)
