"""Label-free validators on embeddings whose quality is known by construction.

Shapes: N images of a domain, C classes, D embedding size.
"""

import ast
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import ot
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score, cohen_kappa_score, silhouette_score
from torch import Tensor

import harness.validators
from harness.errors import UsageError
from harness.validators import contract, neighbours
from harness.validators.contract import PairEmbeddings
from harness.validators.effective_dimension import dimension_coverage, effective_dimension
from harness.validators.neighbours import cross_neighbours
from harness.validators.partition_agreement import adjusted_rand_index, cohen_kappa
from harness.validators.reference_clustering import reference_clustering, reference_k
from harness.validators.registry import (
    get_validator,
    register_validator,
    score_all,
    validator_names,
)
from harness.validators.silhouette import mean_silhouette

DIRECTIONS = {
    "cluster_confidence": "max",
    "cluster_stability": "max",
    "coral": "min",
    "cycle_consistency": "max",
    "mmd": "min",
    "mutual_nn": "max",
    "prototype_matching_entropy": "min",
    "silhouette": "max",
    "sinkhorn_cost": "min",
    "soft_neighbourhood_density": "max",
}
# MMD and CORAL compare distributions: two random samples of one distribution are aligned.
SEES_CLASSES = sorted(set(DIRECTIONS) - {"mmd", "coral"})
ACROSS_DOMAINS = sorted(set(DIRECTIONS) - {"silhouette", "cluster_confidence", "cluster_stability"})
N_A, N_B, D, C = 300, 220, 64, 20


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def directions(n: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(n, D, generator=draws(seed)), dim=1)


def around(centre_ND: Tensor, noise: float, seed: int) -> Tensor:
    shift_ND = torch.randn(centre_ND.shape, generator=draws(seed)) / D**0.5
    return F.normalize(centre_ND + noise * shift_ND, dim=1)


def noisy(centre_a_ND: Tensor, centre_b_ND: Tensor, noise: float) -> PairEmbeddings:
    """Both domains at two epochs, noise drawn anew each time."""
    return PairEmbeddings(
        around(centre_a_ND, noise, 1),
        around(centre_b_ND, noise, 2),
        around(centre_a_ND, noise, 3),
        around(centre_b_ND, noise, 4),
    )


def oracle(noise: float = 0.7) -> PairEmbeddings:
    """Class centres shared by the domains, plus noise."""
    centre_CD = directions(C, 0)
    return noisy(centre_CD[torch.arange(N_A) % C], centre_CD[torch.arange(N_B) % C], noise)


def random() -> PairEmbeddings:
    return PairEmbeddings(
        directions(N_A, 1), directions(N_B, 2), directions(N_A, 3), directions(N_B, 4)
    )


def collapsed(kind: str) -> PairEmbeddings:
    point_D, other_D = directions(2, 5)
    at_a, at_b = point_D.expand(N_A, D), point_D.expand(N_B, D)
    if kind == "one point":
        return PairEmbeddings(at_a, at_b, at_a, at_b)
    if kind == "one point per domain":
        at_b = other_D.expand(N_B, D)
        return PairEmbeddings(at_a, at_b, at_a, at_b)
    if kind == "one point, rounding":
        return noisy(at_a, at_b, 1e-7)
    if kind == "near one point":
        return noisy(at_a, at_b, 0.01)
    if kind == "near one point, standing still":
        a_ND, b_ND = around(at_a, 0.01, 1), around(at_b, 0.01, 2)
        return PairEmbeddings(a_ND, b_ND, a_ND, b_ND)
    if kind == "two points":
        two_2D = torch.stack([point_D, other_D])
        a_ND, b_ND = two_2D[torch.arange(N_A) % 2], two_2D[torch.arange(N_B) % 2]
        return PairEmbeddings(a_ND, b_ND, a_ND, b_ND)
    assert kind == "one line"
    a_ND = F.normalize(point_D + 0.1 * torch.randn(N_A, 1, generator=draws(1)) * other_D, dim=1)
    b_ND = F.normalize(point_D + 0.1 * torch.randn(N_B, 1, generator=draws(2)) * other_D, dim=1)
    return PairEmbeddings(a_ND, b_ND, a_ND, b_ND)


COLLAPSES = (
    "one point",
    "one point per domain",
    "one point, rounding",
    "near one point",
    "near one point, standing still",
    "two points",
    "one line",
)


def transformed(embeddings: PairEmbeddings, change) -> PairEmbeddings:
    return replace(
        embeddings,
        a_ND=change(embeddings.a_ND),
        b_ND=change(embeddings.b_ND),
        previous_a_ND=change(embeddings.previous_a_ND),
        previous_b_ND=change(embeddings.previous_b_ND),
    )


def better(name: str, one: float, other: float) -> bool:
    return one > other if DIRECTIONS[name] == "max" else one < other


def assert_same(one: dict[str, float], other: dict[str, float], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value == pytest.approx(other[name], abs=tolerance, nan_ok=True), name


class TestRegistry:
    def test_the_ten_validators_and_their_directions(self):
        assert {name: get_validator(name).direction for name in validator_names()} == DIRECTIONS

    def test_unknown_name_gets_the_nearest(self):
        with pytest.raises(UsageError, match="mutual_nn"):
            get_validator("mutual_n")
        with pytest.raises(UsageError, match="mmd"):
            score_all(random(), ["mmdd"])

    def test_a_name_cannot_be_taken_twice(self):
        with pytest.raises(UsageError, match="taken"):
            register_validator("mmd", direction="min")(lambda embeddings: 0.0)

    def test_only_the_wanted_ones_are_scored(self):
        scores = score_all(oracle(), ["mmd", "coral"])
        assert list(scores) == ["mmd", "coral"]
        assert scores["coral"] == score_all(oracle())["coral"]

    def test_what_they_share_is_computed_once(self, monkeypatch):
        calls = []
        monkeypatch.setattr(
            contract, "cross_neighbours", lambda *pair: calls.append(1) or cross_neighbours(*pair)
        )
        score_all(random())
        assert len(calls) == 1

    def test_no_label_and_nothing_that_is_searched_can_get_in(self):
        reachable = ("harness.errors", "harness.registry", "harness.seeds", "harness.validators")
        for file in Path(harness.validators.__file__).parent.glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                for name in names:
                    if name.split(".")[0] in ("harness", "losses", "models"):
                        assert name.startswith(reachable), f"{file.name} imports {name}"


class TestQuality:
    @pytest.fixture(scope="class")
    def scores(self) -> dict[str, dict[str, float]]:
        cases = {kind: collapsed(kind) for kind in COLLAPSES}
        return {
            case: score_all(embeddings)
            for case, embeddings in (cases | {"oracle": oracle(), "random": random()}).items()
        }

    @pytest.mark.parametrize("name", SEES_CLASSES)
    def test_oracle_beats_random(self, scores, name):
        assert better(name, scores["oracle"][name], scores["random"][name])

    @pytest.mark.parametrize("name", DIRECTIONS)
    @pytest.mark.parametrize("kind", COLLAPSES)
    def test_a_collapse_is_never_best(self, scores, name, kind):
        assert math.isfinite(scores[kind][name])
        assert better(name, scores["oracle"][name], scores[kind][name])

    @pytest.mark.parametrize("name", DIRECTIONS)
    def test_three_shared_points_lose_even_to_loose_classes(self, name):
        point_3D = directions(3, 5)
        a_ND, b_ND = point_3D[torch.arange(N_A) % 3], point_3D[torch.arange(N_B) % 3]
        points = PairEmbeddings(a_ND, b_ND, a_ND, b_ND)
        validator = get_validator(name)
        assert better(name, validator(oracle(noise=2)), validator(points))

    @pytest.mark.parametrize("kind", COLLAPSES)
    def test_a_collapse_scores_next_to_nothing_as_the_default_objective(self, scores, kind):
        assert 0 <= scores[kind]["mutual_nn"] < 0.05 < scores["oracle"]["mutual_nn"] <= 1

    @pytest.mark.parametrize("name", ACROSS_DOMAINS)
    def test_a_gap_between_the_domains_costs(self, scores, name):
        aligned = oracle()
        apart_ND = F.normalize(aligned.b_ND + 2 * directions(1, 9), dim=1)
        apart = get_validator(name)(replace(aligned, b_ND=apart_ND))
        assert better(name, scores["oracle"][name], apart)

    def test_alignment_falls_with_the_share_of_images_left_behind(self):
        aligned = oracle()
        stray_ND = directions(N_B, 8)
        costs = []
        for share in (0.0, 0.3, 0.6, 1.0):
            strays_N1 = (torch.arange(N_B) < share * N_B)[:, None]
            b_ND = torch.where(strays_N1, stray_ND, aligned.b_ND)
            costs.append(get_validator("sinkhorn_cost")(replace(aligned, b_ND=b_ND)))
        assert costs == sorted(costs)
        assert len(set(costs)) == len(costs)

    def test_the_plain_mutual_rate_would_prefer_random_embeddings(self):
        """Why the rate is weighed: the reason has to stay true for the weight to stay."""

        def rate(embeddings: PairEmbeddings) -> float:
            found = cross_neighbours(embeddings.a_ND, embeddings.b_ND)
            mutual_N = found.of_b_M[found.of_a_N] == torch.arange(N_A)
            return mutual_N.sum().item() / N_B

        assert rate(random()) > rate(oracle())

    def test_standing_still_is_not_stability(self):
        still = random()
        still = replace(still, previous_a_ND=still.a_ND, previous_b_ND=still.b_ND)
        stability = get_validator("cluster_stability")
        assert stability(still) < 0.2 < stability(oracle())


class TestInvariance:
    def test_order_of_images(self):
        embeddings = oracle(noise=1.0)
        orders = {n: torch.randperm(n, generator=draws(6)) for n in (N_A, N_B)}
        shuffled = transformed(embeddings, lambda z_ND: z_ND[orders[len(z_ND)]])
        names = [name for name in DIRECTIONS if name != "sinkhorn_cost"]
        assert_same(score_all(shuffled, names), score_all(embeddings, names), 1e-4)
        # The steps of Sinkhorn are cut off before the marginals are exact.
        assert_same(
            score_all(shuffled, ["sinkhorn_cost"]), score_all(embeddings, ["sinkhorn_cost"]), 1e-3
        )

    def test_rotation(self):
        rotation_DD = torch.linalg.qr(torch.randn(D, D, generator=draws(7))).Q
        embeddings = oracle(noise=1.0)
        turned = transformed(embeddings, lambda z_ND: z_ND @ rotation_DD)
        assert_same(score_all(turned), score_all(embeddings), 1e-3)

    def test_exchange_of_the_domains(self):
        one = oracle(noise=1.0)
        other = PairEmbeddings(one.b_ND, one.a_ND, one.previous_b_ND, one.previous_a_ND)
        assert_same(score_all(other), score_all(one), 1e-4)

    def test_same_again_whatever_the_global_generator(self):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = score_all(oracle())
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002
        assert_same(score_all(oracle()), first)

    def test_number_of_threads(self):
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = score_all(oracle())
            torch.set_num_threads(2)
            two = score_all(oracle())
        finally:
            torch.set_num_threads(threads)
        assert_same(two, one, 1e-5)

    def test_scores_do_not_depend_on_which_others_are_asked_for(self):
        embeddings = oracle()
        together = score_all(embeddings)
        assert_same({n: get_validator(n)(oracle()) for n in DIRECTIONS}, together)


class TestEdges:
    @pytest.mark.parametrize(("n_a", "n_b"), [(3, 3), (3, 40), (2, 5), (1, 1), (1, 30), (600, 3)])
    def test_few_images(self, n_a, n_b):
        scores = score_all(
            PairEmbeddings(
                directions(n_a, 1), directions(n_b, 2), directions(n_a, 3), directions(n_b, 4)
            )
        )
        for name, value in scores.items():
            assert math.isfinite(value) or min(n_a, n_b) == 1, name

    def test_more_images_than_the_sample_holds(self):
        a_ND, b_ND = directions(1300, 1), directions(700, 2)
        assert all(map(math.isfinite, score_all(PairEmbeddings(a_ND, b_ND, a_ND, b_ND)).values()))

    def test_first_epoch_has_no_stability(self):
        first = replace(oracle(), previous_a_ND=None, previous_b_ND=None)
        scores = score_all(first)
        assert math.isnan(scores.pop("cluster_stability"))
        assert all(map(math.isfinite, scores.values()))

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_embeddings_that_are_not_finite_have_no_score(self, bad):
        embeddings = oracle()
        embeddings.b_ND[3, 1] = bad
        assert all(map(math.isnan, score_all(embeddings).values()))

    def test_zero_vectors_do_not_stop_a_trial(self):
        zeros = torch.zeros(40, D)
        scores = score_all(PairEmbeddings(zeros, zeros, zeros, zeros))
        for name, value in scores.items():
            assert not better(name, value, score_all(oracle(), [name])[name])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"a_ND": torch.zeros(0, D)}, "float32"),
            ({"a_ND": torch.zeros(4, D, dtype=torch.float64)}, "float64"),
            ({"b_ND": torch.zeros(N_B, D + 1), "previous_b_ND": None}, "differ"),
            ({"previous_a_ND": torch.zeros(N_A + 1, D)}, "follow"),
            ({"previous_a_ND": None}, "both"),
        ],
    )
    def test_shapes_that_do_not_belong_together(self, change, message):
        with pytest.raises(ValueError, match=message):
            replace(oracle(), **change)


class TestAgainstSlowVersions:
    def test_neighbours_over_blocks_with_ties(self, monkeypatch):
        monkeypatch.setattr(neighbours, "BLOCK", 7)
        a_ND, b_ND = directions(50, 1), directions(31, 2)
        a_ND[40], b_ND[20] = a_ND[3], b_ND[5]
        found = cross_neighbours(a_ND, b_ND)
        cosine = (a_ND @ b_ND.T).numpy()
        assert found.of_a_N.tolist() == cosine.argmax(1).tolist()
        assert found.of_b_M.tolist() == cosine.argmax(0).tolist()

    def test_partition_agreement(self):
        first = torch.randint(5, (200,), generator=draws(1))
        second = torch.where(torch.rand(200, generator=draws(2)) < 0.4, first, (first * 3 + 1) % 7)
        assert adjusted_rand_index(first, second) == pytest.approx(
            adjusted_rand_score(first, second)
        )
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
        assert adjusted_rand_index(first, (first + 2) % 5) == pytest.approx(1)
        same = torch.zeros(9, dtype=torch.int64)
        assert adjusted_rand_index(same, same) == cohen_kappa(same, same) == 0

    def test_mutual_nn(self):
        embeddings = oracle(noise=1.0)
        a, b = embeddings.a_ND.numpy(), embeddings.b_ND.numpy()
        forth, back = (a @ b.T).argmax(1), (a @ b.T).argmax(0)
        mutual = sum(back[forth[i]] == i for i in range(N_A))

        def agreement(z, answer):
            cosine = z @ z.T
            own = [
                max((j for j in range(len(z)) if j != i), key=lambda j: cosine[i, j])
                for i in range(len(z))
            ]
            return cohen_kappa_score(answer, answer[own])

        answer_a = embeddings.b.clusters.assign_N.numpy()[forth]
        answer_b = embeddings.a.clusters.assign_N.numpy()[back]
        expected = mutual / N_B * (agreement(a, answer_a) + agreement(b, answer_b)) / 2
        assert embeddings.resolved == 1
        assert get_validator("mutual_nn")(embeddings) == pytest.approx(expected, abs=1e-6)

    def test_cycle_consistency(self):
        embeddings = oracle(noise=1.0)
        a, b = embeddings.a_ND.numpy(), embeddings.b_ND.numpy()
        forth, back = (a @ b.T).argmax(1), (a @ b.T).argmax(0)
        in_a = embeddings.a.clusters.assign_N.numpy()
        in_b = embeddings.b.clusters.assign_N.numpy()
        expected = (
            cohen_kappa_score(in_a, in_a[back[forth]]) + cohen_kappa_score(in_b, in_b[forth[back]])
        ) / 2
        assert get_validator("cycle_consistency")(embeddings) == pytest.approx(expected, abs=1e-6)

    def test_silhouette(self):
        domain = oracle().a
        value = mean_silhouette(domain.z_ND, domain.clusters).item()
        expected = silhouette_score(domain.z_ND, domain.clusters.assign_N, metric="cosine")
        assert value == pytest.approx(expected, abs=1e-5)

    def test_silhouette_with_images_alone_in_their_cluster(self):
        z_ND = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0.2]]), dim=1)
        clusters = reference_clustering(z_ND, torch.arange(3), seed=0)
        expected = silhouette_score(z_ND, clusters.assign_N, metric="cosine")
        assert mean_silhouette(z_ND, clusters).item() == pytest.approx(expected, abs=1e-5)

    def test_cluster_confidence(self):
        embeddings = oracle()
        values = []
        for domain in (embeddings.a, embeddings.b):
            weight = np.exp(10 * (domain.z_ND @ domain.clusters.proto_KD.T).numpy())
            own = weight[np.arange(len(weight)), domain.clusters.assign_N.numpy()]
            values.append((own / weight.sum(1)).mean())
        expected = np.mean(values)
        assert get_validator("cluster_confidence")(embeddings) == pytest.approx(expected, abs=1e-5)

    def test_prototype_matching_entropy(self):
        embeddings = oracle()
        a, b = embeddings.a.clusters, embeddings.b.clusters

        def entropy(p):
            return -sum(x * math.log(x) for x in p if x > 0)

        def direction(asking, answering):
            weight = np.exp(10 * (asking.proto_KD @ answering.proto_KD.T).double().numpy())
            match = weight / weight.sum(1, keepdims=True)
            share = (asking.count_K / asking.count_K.sum()).double().numpy()
            unsure = sum(s * entropy(row) for s, row in zip(share, match))
            return (unsure + math.log(len(match[0])) - entropy(share @ match)) / math.log(
                len(match[0])
            )

        expected = (direction(a, b) + direction(b, a)) / 2
        value = get_validator("prototype_matching_entropy")(embeddings)
        assert value == pytest.approx(expected, abs=1e-5)

    def test_soft_neighbourhood_density(self):
        embeddings = oracle()
        logit = 10 * (embeddings.a_ND @ embeddings.b_ND.T).double()

        def direction(logit):
            p = logit.softmax(1)
            unsure = -(p * p.log()).sum(1).mean()
            spread = -(p.mean(0) * p.mean(0).log()).sum()
            return 4 * unsure * (spread - unsure) / math.log(logit.shape[1]) ** 2

        expected = ((direction(logit) + direction(logit.T)) / 2).item()
        value = get_validator("soft_neighbourhood_density")(embeddings)
        assert value == pytest.approx(expected, abs=1e-5)

    def test_mmd(self):
        embeddings = replace(oracle(), b_ND=around(oracle().b_ND + directions(1, 9), 0.3, 5))
        a, b = embeddings.a_ND.double(), embeddings.b_ND.double()

        def kernel(x, y):
            return torch.exp(-((x[:, None] - y[None]) ** 2).sum(2))

        def pairs(x):
            k = kernel(x, x)
            return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))

        discrepancy = pairs(a) + pairs(b) - 2 * kernel(a, b).mean()
        scatter = 1 - (pairs(a) + pairs(b)) / 2
        relative = (discrepancy / 4) / (discrepancy / 4 + scatter)
        expected = 1 - embeddings.spread * (1 - relative.item())
        assert relative > 0.01
        assert get_validator("mmd")(embeddings) == pytest.approx(expected, abs=1e-5)

    def test_coral(self):
        embeddings = oracle()
        c_a = np.cov(embeddings.a_ND.numpy().T, bias=True)
        c_b = np.cov(embeddings.b_ND.numpy().T, bias=True)
        relative = ((c_a - c_b) ** 2).sum() / ((c_a**2).sum() + (c_b**2).sum())
        expected = 1 - embeddings.spread * (1 - relative)
        assert get_validator("coral")(embeddings) == pytest.approx(expected, abs=1e-5)

    def test_sinkhorn_cost_lies_between_the_exact_plan_and_pairing_at_random(self):
        embeddings = oracle()
        cost = 1 - (embeddings.a_ND @ embeddings.b_ND.T).double().numpy()
        a, b = np.full(N_A, 1 / N_A), np.full(N_B, 1 / N_B)
        entropic = (ot.sinkhorn(a, b, cost, 0.05, numItermax=200, warn=False) * cost).sum()
        assert embeddings.spread == 1
        value = get_validator("sinkhorn_cost")(embeddings)
        assert value == pytest.approx(entropic / cost.mean(), abs=0.01)
        assert ot.emd2(a, b, cost) / cost.mean() - 0.01 < value < 1

    def test_effective_dimension(self):
        groups_ND = torch.eye(D)[torch.arange(60) % 6]
        cosine_SS = groups_ND @ groups_ND.T
        assert effective_dimension(cosine_SS, centred=False) == pytest.approx(6, abs=1e-4)
        assert effective_dimension(cosine_SS, centred=True) == pytest.approx(5, abs=1e-4)
        cone_ND = F.normalize(groups_ND + 5 * torch.eye(D)[-1], dim=1)
        cosine_SS = cone_ND @ cone_ND.T
        assert effective_dimension(cosine_SS, centred=False) < 1.2
        assert effective_dimension(cosine_SS, centred=True) == pytest.approx(5, abs=1e-3)
        assert effective_dimension(torch.ones(9, 9), centred=True) == 1
        assert dimension_coverage(torch.eye(9), 81, centred=False) == pytest.approx(0.5)


class TestReferenceClustering:
    def test_k_comes_from_the_number_of_images_alone(self):
        sizes = (1, 2, 3, 16, 760, 4400, 100_000)
        assert [reference_k(n) for n in sizes] == [1, 2, 2, 4, 28, 64, 64]

    def test_finds_classes_that_stand_apart(self):
        n, classes = 256, reference_k(256)
        label_N = torch.arange(n) % classes
        z_ND = around(directions(classes, 0)[label_N], 0.3, 1)
        clusters = reference_clustering(z_ND, torch.randperm(n, generator=draws(2)), seed=0)
        assert adjusted_rand_score(label_N, clusters.assign_N) > 0.9
        assert clusters.occupancy == 1
        assert clusters.count_K.sum() == n
        torch.testing.assert_close(clusters.proto_KD.norm(dim=1), torch.ones(classes))

    def test_the_seed_decides_the_draws(self):
        z_ND, order_N = directions(300, 1), torch.randperm(300, generator=draws(2))
        first = reference_clustering(z_ND, order_N, seed=0)
        assert torch.equal(first.assign_N, reference_clustering(z_ND, order_N, 0).assign_N)
        assert not torch.equal(first.assign_N, reference_clustering(z_ND, order_N, 1).assign_N)

    def test_coinciding_images_leave_clusters_empty(self):
        z_ND = directions(1, 0).expand(100, D)
        clusters = reference_clustering(z_ND, torch.arange(100), seed=0)
        assert clusters.occupancy == pytest.approx(1 / reference_k(100))
        assert clusters.proto_KD.isfinite().all()
