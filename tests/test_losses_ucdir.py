"""UCDIR's losses against the authors' figures and against slow loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from golden_losses import FILES, Golden, step

from harness.errors import UsageError
from losses import Clustering, DomainView, create_loss
from losses.cluster_contrast import cluster_contrast_loss
from losses.distance_of_distance import distance_of_distance_loss
from losses.instance_contrast import instance_contrast_loss
from losses.self_entropy import prototype_entropy


@pytest.fixture(params=FILES)
def golden(request):
    return Golden(request.param)


@pytest.mark.parametrize("x", ["a", "b"])
def test_instance_contrast_of_one_domain_equals_the_authors(golden, x):
    view = golden.view(x)
    value = instance_contrast_loss(
        view.z_BD, view.key_BD, view.bank_ND, view.index_B, golden["tau"]
    )
    golden.check(f"ucdir.instance_{x}", value)


@pytest.mark.parametrize("x", ["a", "b"])
def test_cluster_contrast_of_one_domain_equals_the_authors(golden, x):
    view = golden.view(x)
    value, pass_rate = cluster_contrast_loss(
        view.z_BD,
        view.key_BD,
        view.bank_ND,
        view.index_B,
        view.clusterings,
        golden["tau"],
        golden["cluster_filter"],
    )
    golden.check(f"ucdir.cluster_{x}", value)
    assert 0 < pass_rate <= 1


def test_self_entropy_equals_the_authors(golden):
    loss = create_loss("self_entropy", temperature=golden["se_temperature"])
    golden.check("ucdir.self_entropy", loss(golden.view("a"), golden.view("b"), step()))


def test_distance_of_distance_equals_the_authors(golden):
    loss = create_loss("distance_of_distance", temperature=golden["dd_temperature"])
    golden.check("ucdir.distance_of_distance", loss(golden.view("a"), golden.view("b"), step()))


@pytest.mark.parametrize("part", ["instance", "cluster"])
def test_a_loss_is_half_the_sum_of_the_domains(golden, part):
    loss = create_loss(f"{part}_contrast", tau=golden["tau"])
    value = loss(golden.view("a"), golden.view("b"), step())
    expected = (golden[f"ucdir.{part}_a"] + golden[f"ucdir.{part}_b"]) / 2
    assert value.item() == pytest.approx(expected, rel=1e-5)


def random_domain(seed, batch=5, images=20, clusters=3, size=8):
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape):
        return F.normalize(torch.randn(*shape, generator=generator), dim=1)

    return {
        "z": unit(batch, size),
        "key": unit(batch, size),
        "bank": unit(images, size),
        "index": torch.randperm(images, generator=generator)[:batch],
        "assign": torch.randint(clusters, (images,), generator=generator),
        "proto": unit(clusters, size),
    }


def test_instance_contrast_takes_the_own_key_even_for_an_image_twice_in_the_batch():
    d = random_domain(1)
    d["index"][1] = d["index"][0]
    d["bank"][d["index"]] = d["key"]
    total = 0.0
    for z, key, own in zip(d["z"], d["key"], d["index"].tolist()):
        others = [math.exp(z @ m / 0.3) for n, m in enumerate(d["bank"]) if n != own]
        positive = math.exp(z @ key / 0.3)
        total += -math.log(positive / (positive + sum(others)))
    value = instance_contrast_loss(d["z"], d["key"], d["bank"], d["index"], 0.3)
    assert value.item() == pytest.approx(total / 5, rel=1e-5)


def test_instance_contrast_is_cross_entropy_over_an_overwritten_bank():
    d = random_domain(2)
    d["bank"][d["index"]] = d["key"]
    value = instance_contrast_loss(d["z"], d["key"], d["bank"], d["index"], 0.2)
    plain = F.cross_entropy(d["z"] @ d["bank"].T / 0.2, d["index"])
    assert value.item() == pytest.approx(float(plain), rel=1e-6)
    without_keys = instance_contrast_loss(d["z"], None, d["bank"], d["index"], 0.2)
    assert float(without_keys) == pytest.approx(float(plain), rel=1e-6)


def loop_cluster_contrast(d, clusterings, tau, threshold):
    losses = []
    for n in range(len(clusterings)):
        passing = []
        for z, key, own in zip(d["z"], d["key"], d["index"].tolist()):
            scores = [math.exp(z @ m / tau) for m in d["bank"]]
            positives = [
                j
                for j in range(len(scores))
                if all(c.assign_N[j] == c.assign_N[own] for c in clusterings[: n + 1])
            ]
            mean_logp = sum(math.log(scores[j] / sum(scores)) for j in positives) / len(positives)
            shares = [math.exp(key @ p / tau) for p in clusterings[n].proto_KD]
            if shares[clusterings[n].assign_N[own]] / sum(shares) > threshold:
                passing.append(-mean_logp)
        losses.append(sum(passing) / len(passing) if passing else 0.0)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cluster_contrast_over_several_clusterings_intersects_the_positives(count):
    d = random_domain(3, batch=8, images=40)
    generator = torch.Generator().manual_seed(9)
    clusterings = [Clustering(d["proto"], d["assign"])]
    for clusters in (4, 2)[: count - 1]:
        proto = F.normalize(torch.randn(clusters, 8, generator=generator), dim=1)
        clusterings.append(Clustering(proto, torch.randint(clusters, (40,), generator=generator)))
    value, _ = cluster_contrast_loss(d["z"], d["key"], d["bank"], d["index"], clusterings, 0.5, 0.3)
    expected = loop_cluster_contrast(d, clusterings, 0.5, 0.3)
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_cluster_contrast_reports_its_pass_rate_and_is_zero_where_nothing_passes():
    golden = Golden("losses_k7_loose")
    seen = {}
    a, b = golden.view("a"), golden.view("b")
    create_loss("cluster_contrast", tau=0.2)(a, b, step(seen.__setitem__))
    rate = float(seen["cluster_contrast.pass_rate"])
    shares = []
    for view in (a, b):
        p = F.softmax(view.key_BD @ view.clusterings[0].proto_KD.T / 0.2, 1)
        own = view.clusterings[0].assign_N[view.index_B].tolist()
        shares += [float(row[c]) for row, c in zip(p, own)]
    assert rate == pytest.approx(sum(s > 0.2 for s in shares) / len(shares))
    assert 0 < rate < 1

    shut = create_loss("cluster_contrast", tau=0.2, cluster_filter=0.9999)
    value = shut(a, b, step(seen.__setitem__))
    value.backward()
    assert value.item() == 0 == float(seen["cluster_contrast.pass_rate"])
    assert float(golden.z["a"].grad.abs().max()) == 0


def test_self_entropy_against_loops():
    d = random_domain(4)
    total = 0.0
    for z in d["z"]:
        weights = [math.exp(z @ p / 0.2) for p in d["proto"]]
        total -= sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)
    value = prototype_entropy(d["z"], d["proto"], 0.2)
    assert value.item() == pytest.approx(total / 5, rel=1e-5)


def test_distance_of_distance_ignores_the_order_of_prototypes():
    d = random_domain(5, clusters=6)
    shuffled = d["proto"][torch.tensor([3, 1, 5, 0, 2, 4])]
    other = random_domain(6, clusters=4)["proto"]
    same = distance_of_distance_loss(d["z"], d["proto"], shuffled, 0.1, "sum")
    assert float(same) == pytest.approx(0, abs=1e-10)
    value = distance_of_distance_loss(d["z"], d["proto"], other, 0.1, "sum")
    permuted = distance_of_distance_loss(d["z"], shuffled, other, 0.1, "sum")
    assert float(permuted) == pytest.approx(float(value), rel=1e-5)
    assert float(value) > 0.01


def test_distance_of_distance_doubles_with_the_batch_unless_it_is_a_mean():
    d = random_domain(7, clusters=6)
    other = random_domain(8, clusters=4)["proto"]
    twice = torch.cat([d["z"], d["z"]])
    for reduction, factor in (("sum", 2), ("mean", 1)):
        one = distance_of_distance_loss(d["z"], d["proto"], other, 0.1, reduction)
        two = distance_of_distance_loss(twice, d["proto"], other, 0.1, reduction)
        assert float(two) == pytest.approx(factor * float(one), rel=1e-5)


def test_losses_over_prototypes_are_zero_before_the_first_clustering():
    d = random_domain(9)
    z = d["z"].requires_grad_()
    view = DomainView(z, z, d["key"], None, d["index"], d["bank"])
    for name in ("cluster_contrast", "self_entropy", "distance_of_distance"):
        value = create_loss(name)(view, view, step())
        value.backward()
        assert value.item() == 0
        assert float(z.grad.abs().max()) == 0


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="tau must be a number above 0, not 0"):
        create_loss("instance_contrast", tau=0)
    with pytest.raises(UsageError, match="temperature must be a number above 0, not nan"):
        create_loss("self_entropy", temperature=math.nan)
    with pytest.raises(UsageError, match="cluster_filter must lie in"):
        create_loss("cluster_contrast", cluster_filter=1.5)
    with pytest.raises(UsageError, match=r"reduction cannot be 'total'\. Known: sum, mean"):
        create_loss("distance_of_distance", reduction="total")
    with pytest.raises(UsageError, match=r"takes no argument 'temprature'\. Did you mean"):
        create_loss("self_entropy", temprature=1.0)


def test_cluster_contrast_without_a_momentum_encoder_says_what_is_missing():
    d = random_domain(10)
    view = DomainView(
        d["z"], d["z"], None, None, d["index"], d["bank"], (Clustering(d["proto"], d["assign"]),)
    )
    with pytest.raises(UsageError, match="needs a method with a momentum encoder"):
        create_loss("cluster_contrast")(view, view, step())
