"""Retrieval metrics against the golden figures, a loop-written version, and traps of ties."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from harness.errors import UsageError
from harness.evaluation import retrieval
from harness.evaluation.chance import chance_metrics
from harness.evaluation.metrics.average_precision import expected_ap
from harness.evaluation.metrics.voc_average_precision import expected_voc_ap
from harness.evaluation.retrieval import exact_unit, retrieval_metrics, retrieval_metrics_both

GOLDEN = Path(__file__).parent / "golden"
KS = (1, 5, 15)


def draw_pair(seed, n_a=90, n_b=70, classes=6, size=16, separation=0.6):
    """Two domains with common class centres; the last class is absent from b."""
    generator = torch.Generator().manual_seed(seed)
    centre_CD = separation * torch.randn(classes, size, generator=generator)
    label_a = torch.randint(classes, (n_a,), generator=generator)
    label_b = torch.randint(classes - 1, (n_b,), generator=generator)
    z_a = centre_CD[label_a] + torch.randn(n_a, size, generator=generator)
    z_b = centre_CD[label_b] + torch.randn(n_b, size, generator=generator)
    return z_a, z_b, label_a, label_b


def slow_metrics(similarity, query_label, gallery_label, ks):
    """One query after the other, one place after the other."""
    hits, cuts = dict.fromkeys(ks, 0), dict.fromkeys(ks, 0)
    query_precision = {k: [] for k in ks}
    aps, envelopes = [], {}
    for query, label in enumerate(query_label):
        relevant = sum(1 for other in gallery_label if other == label)
        if relevant == 0:
            continue
        order = sorted(range(len(gallery_label)), key=lambda g: (-similarity[query][g], g))
        correct = [gallery_label[g] == label for g in order]
        for k in ks:
            cut = min(k, relevant)
            hits[k] += sum(correct[:cut])
            cuts[k] += cut
            query_precision[k].append(sum(correct[:cut]) / cut)
        precision = [sum(correct[:i]) / i for i in range(1, len(correct) + 1)]
        at_hits = [i for i, is_hit in enumerate(correct) if is_hit]
        aps.append(sum(precision[i] for i in at_hits) / relevant)
        envelope = sum(max(precision[i:]) for i in at_hits) / relevant
        envelopes.setdefault(label, []).append(envelope)
    mean = lambda values: 100 * sum(values) / len(values)  # noqa: E731
    result = {"mAP@All": mean(aps), "n_valid_queries": len(aps)}
    result["mAP@All.voc_class_macro"] = mean([mean(v) / 100 for v in envelopes.values()])
    for k in ks:
        result[f"P@{k}"] = 100 * hits[k] / cuts[k]
        result[f"P@{k}.query_mean"] = mean(query_precision[k])
    return result


def assert_same(metrics, expected, tolerance=1e-9):
    assert metrics.keys() == expected.keys()
    for name in metrics:
        assert metrics[name] == pytest.approx(expected[name], abs=tolerance, nan_ok=True), name


@pytest.mark.parametrize("name", ["small", "missing_class"])
def test_golden_figures(name):
    golden = np.load(GOLDEN / f"retrieval_{name}.npz")
    ks = golden["ks"].tolist()
    both = retrieval_metrics_both(
        torch.from_numpy(golden["query"]),
        torch.from_numpy(golden["gallery"]),
        golden["query_label"],
        golden["gallery_label"],
        ks,
    )
    for way, scores in zip(("q2g", "g2q"), both):
        expected = {
            "mAP@All": golden[f"map_all_{way}"],
            "mAP@All.voc_class_macro": golden[f"map_voc_class_macro_{way}"],
            "n_valid_queries": golden[f"n_valid_queries_{way}"],
        }
        for i, k in enumerate(ks):
            expected[f"P@{k}"] = golden[f"p_at_k_micro_{way}"][i]
            expected[f"P@{k}.query_mean"] = golden[f"p_at_k_query_mean_{way}"][i]
        assert_same(scores.metrics, expected, 1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_loops_under_many_ties(seed):
    """Few distinct directions, so that most similarities are tied, within and across classes."""
    generator = np.random.default_rng(seed)
    corner = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, 0, 0]], dtype=float)
    query, gallery = corner[generator.integers(5, size=40)], corner[generator.integers(5, size=60)]
    query_label, gallery_label = generator.integers(5, size=40), generator.integers(4, size=60)
    scores = retrieval_metrics(
        torch.from_numpy(query), torch.from_numpy(gallery), query_label, gallery_label, KS
    )
    expected = slow_metrics(query @ gallery.T, query_label.tolist(), gallery_label.tolist(), KS)
    assert_same(scores.metrics, expected)


def test_agrees_with_loops_without_ties():
    z_a, z_b, label_a, label_b = draw_pair(0)
    a, b = (torch.nn.functional.normalize(z.double()) for z in (z_a, z_b))
    both = retrieval_metrics_both(z_a, z_b, label_a, label_b, KS)
    assert_same(both[0].metrics, slow_metrics((a @ b.T).tolist(), *_lists(label_a, label_b), KS))
    assert_same(both[1].metrics, slow_metrics((b @ a.T).tolist(), *_lists(label_b, label_a), KS))


def _lists(*tensors):
    return [tensor.tolist() for tensor in tensors]


@pytest.mark.parametrize("size", [3, 7, 33, 128, 512])
def test_identical_gallery_images_are_ranked_by_index(size):
    """One embedding of random components many times over: a float product may tell copies apart."""
    generator = torch.Generator().manual_seed(size)
    z_QD = torch.randn(37, size, generator=generator)
    copies_GD = torch.randn(1, size, generator=generator).repeat(211, 1)
    label_G = torch.randint(2, (211,), generator=generator)
    scores = retrieval_metrics(z_QD, copies_GD, torch.ones(37), label_G, KS)
    by_index = -torch.arange(211.0).repeat(37, 1)
    assert_same(scores.metrics, slow_metrics(by_index.tolist(), [1] * 37, label_G.tolist(), KS))


def test_a_collapsed_embedding_is_ranked_by_index():
    _, _, label_a, label_b = draw_pair(1)
    point = torch.randn(1, 128, generator=torch.Generator().manual_seed(0))
    both = retrieval_metrics_both(point.repeat(90, 1), point.repeat(70, 1), label_a, label_b, KS)
    by_index = [[-g for g in range(70)]] * 90
    assert_same(both[0].metrics, slow_metrics(by_index, *_lists(label_a, label_b), KS))


def test_a_tie_across_classes_is_decided_by_index_alone():
    query, same = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]])
    gallery = same.repeat(3, 1)
    for position, precision in ((0, 100.0), (1, 50.0), (2, 100 / 3)):
        label = np.full(3, 8)
        label[position] = 7
        metrics = retrieval_metrics(query, gallery, np.array([7]), label, (1,)).metrics
        assert metrics["mAP@All"] == pytest.approx(precision)
        assert metrics["P@1"] == (100.0 if position == 0 else 0.0)


@pytest.mark.parametrize("block", [1, 7, 64, 90, 1000])
def test_figures_do_not_depend_on_the_block(block):
    for z_a, z_b, label_a, label_b in (draw_pair(2), draw_pair(3, size=300, separation=0.05)):
        z_b[20:40] = z_b[:20]
        whole = retrieval_metrics_both(z_a, z_b, label_a, label_b, KS, per_query=True)
        cut = retrieval_metrics_both(z_a, z_b, label_a, label_b, KS, block=block, per_query=True)
        alone = retrieval_metrics(z_a, z_b, label_a, label_b, KS, block=block, per_query=True)
        for scores, expected in zip((*cut, alone), (*whole, whole[0])):
            assert scores.metrics == expected.metrics
            np.testing.assert_array_equal(scores.ap_Q, expected.ap_Q)


def test_figures_do_not_depend_on_threads_or_on_how_rows_are_dealt_out(monkeypatch):
    z_a, z_b, label_a, label_b = draw_pair(4, n_a=300, n_b=250, size=128)
    before = torch.get_num_threads()
    results = []
    try:
        for threads, task in ((1, 2**18), (2, 2**18), (2, 2**11), (3, 1)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(retrieval, "_SORT_ELEMENTS", task)
            results.append(retrieval_metrics_both(z_a, z_b, label_a, label_b, KS))
    finally:
        torch.set_num_threads(before)
    for both in results[1:]:
        assert [scores.metrics for scores in both] == [scores.metrics for scores in results[0]]


def test_products_of_rounded_embeddings_are_exact():
    """Every entry equals the sum in integers, so any order of summation gives the same bits."""
    z_a, z_b, _, _ = draw_pair(5, n_a=20, n_b=20, size=257)
    a, b = exact_unit(z_a), exact_unit(z_b)
    product = a @ b.T
    whole_a, whole_b = ([[int(v * 2**26) for v in row] for row in m.tolist()] for m in (a, b))
    for i in range(20):
        for j in range(20):
            exact = sum(p * q for p, q in zip(whole_a[i], whole_b[j]))
            assert product[i, j].item() * 2**52 == exact
    assert float((a - torch.nn.functional.normalize(z_a.double())).abs().max()) < 1e-3


def test_the_path_of_other_devices_gives_the_same_ranks():
    z_a, z_b, label_a, label_b = draw_pair(6)
    z_b[30:60] = z_b[:30]
    label = retrieval._DirectionLabels.of(label_a, label_b)
    far = retrieval._BlockProduct(exact_unit(z_a)[label.order_on(z_a)], exact_unit(z_b))
    far_VG = far(0, len(label.order_V))
    code_V, relevant_V = label.code_Q[label.order_V], label.relevant_Q[label.order_V]
    host = retrieval._hit_ranks(far_VG.numpy(), code_V, label.code_G, relevant_V)
    device = retrieval._hit_ranks_on_device(far_VG, code_V, label.code_G)
    np.testing.assert_array_equal(host, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_figures():
    z_a, z_b, label_a, label_b = draw_pair(7, n_a=500, n_b=400, size=128)
    z_b[200:300] = z_b[:100]
    host = retrieval_metrics_both(z_a, z_b, label_a, label_b, KS)
    device = retrieval_metrics_both(z_a.cuda(), z_b.cuda(), label_a, label_b, KS, block=64)
    for scores, expected in zip(device, host):
        assert_same(scores.metrics, expected.metrics)


class LargestTensor(TorchFunctionMode):
    elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_never_holds_more_than_a_block_of_similarities():
    z_a, z_b, label_a, label_b = draw_pair(8, n_a=900, n_b=800)
    with LargestTensor() as largest:
        retrieval_metrics_both(z_a, z_b, label_a, label_b, KS, block=20)
    assert largest.elements <= 20 * 900


def test_length_of_embeddings_and_float_type_do_not_matter():
    z_a, z_b, label_a, label_b = draw_pair(9)
    plain = retrieval_metrics(z_a, z_b, label_a, label_b, KS).metrics
    assert_same(retrieval_metrics(4 * z_a, z_b / 8, label_a, label_b, KS).metrics, plain)
    half_a, half_b = z_a.bfloat16(), z_b.bfloat16()
    coarse = retrieval_metrics(half_a, half_b, label_a, label_b, KS).metrics
    assert coarse == retrieval_metrics(half_a.float(), half_b.float(), label_a, label_b, KS).metrics


def test_micro_form_weighs_by_relevant_images_and_query_mean_does_not():
    """90 queries with one relevant image, all wrong; 10 with 50, all right."""
    gallery = torch.tensor([[-1.0, 0.0]] + [[1.0, 0.0]] * 50)
    gallery_label = np.array([0] + [1] * 50)
    query, query_label = torch.tensor([[1.0, 0.0]] * 100), np.array([0] * 90 + [1] * 10)
    metrics = retrieval_metrics(query, gallery, query_label, gallery_label, (15,)).metrics
    assert metrics["P@15"] == pytest.approx(62.5)
    assert metrics["P@15.query_mean"] == pytest.approx(10.0)


def test_scores_per_query_average_to_the_metrics():
    z_a, z_b, label_a, label_b = draw_pair(10)
    scores = retrieval_metrics(z_a, z_b, label_a, label_b, KS, per_query=True)
    absent = label_a.numpy() == 5
    assert absent.any()
    np.testing.assert_array_equal(np.isnan(scores.ap_Q), absent)
    assert np.nanmean(scores.ap_Q) == pytest.approx(scores.metrics["mAP@All"])
    for k in KS:
        np.testing.assert_array_equal(np.isnan(scores.precision_at_Q[k]), absent)
        mean = np.nanmean(scores.precision_at_Q[k])
        assert mean == pytest.approx(scores.metrics[f"P@{k}.query_mean"])
    one = retrieval_metrics(z_a[3:4], z_b, label_a[3:4], label_b, KS).metrics
    assert one["mAP@All"] == pytest.approx(scores.ap_Q[3], nan_ok=True)


def test_no_valid_query_gives_nan_and_the_count():
    z_a, z_b, _, label_b = draw_pair(11)
    metrics = retrieval_metrics(z_a, z_b, np.full(90, 77), label_b, KS).metrics
    assert metrics.pop("n_valid_queries") == 0
    assert all(math.isnan(value) for value in metrics.values())
    assert set(metrics) == {"mAP@All", "mAP@All.voc_class_macro"} | {
        f"P@{k}{form}" for k in KS for form in ("", ".query_mean")
    }


def test_bad_input_is_refused():
    z_a, z_b, label_a, label_b = draw_pair(12)
    with pytest.raises(UsageError, match="1 or more"):
        retrieval_metrics(z_a, z_b, label_a, label_b, (0, 5))
    with pytest.raises(ValueError, match="labels"):
        retrieval_metrics(z_a, z_b, label_a[:-1], label_b, KS)
    with pytest.raises(ValueError, match="columns"):
        retrieval_metrics(z_a[:, :4], z_b, label_a, label_b, KS)
    z_a[4, 2] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        retrieval_metrics(z_a, z_b, label_a, label_b, KS)


def test_expected_average_precision_is_that_of_all_rankings():
    """Every ranking of 7 images, 3 of them relevant, enumerated."""
    from itertools import combinations

    aps, vocs = [], []
    for places in combinations(range(1, 8), 3):
        precision = [(n + 1) / place for n, place in enumerate(places)]
        aps.append(sum(precision) / 3)
        vocs.append(sum(max(precision[n:]) for n in range(3)) / 3)
    assert expected_ap(3, 7) == pytest.approx(np.mean(aps))
    assert expected_voc_ap(3, 7, draws=4000) == pytest.approx(np.mean(vocs), rel=0.01)
    assert expected_ap(7, 7) == expected_voc_ap(7, 7) == 1.0
    assert expected_ap(1, 1) == 1.0


def test_chance_is_the_mean_over_random_embeddings():
    _, _, label_a, label_b = draw_pair(13, n_a=200, n_b=60)
    generator = torch.Generator().manual_seed(0)
    runs = []
    for _ in range(60):
        z_a, z_b = (torch.randn(n, 32, generator=generator) for n in (200, 60))
        runs.append(retrieval_metrics(z_a, z_b, label_a, label_b, KS).metrics)
    chance = chance_metrics(label_a, label_b, KS)
    assert chance.keys() == runs[0].keys()
    for name, expected in chance.items():
        values = [metrics[name] for metrics in runs]
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 4 * error + 0.002 * expected, name
    assert chance == chance_metrics(label_a, label_b, KS)


def test_chance_without_a_valid_query_is_nan():
    chance = chance_metrics(np.array([1, 2]), np.array([3, 4]), KS)
    assert chance["n_valid_queries"] == 0
    assert math.isnan(chance["P@1"])
    assert math.isnan(chance["mAP@All.voc_class_macro"])
