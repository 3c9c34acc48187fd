"""Every registered method: its parameters fit its search space, and it trains a small pair."""

import math

import pytest
import torch
from miniature_pair import SMALLER, first_values, train_pair, write_pair
from study_examples import plan

from harness.errors import UsageError
from harness.evaluation.vault import LabelVault, unseal
from harness.methods import PairShape, get_method, method_names
from harness.methods.cluster_counts import cut_to_images, multiples
from harness.methods.recipe import SigmoidRamp, first_active_epochs
from harness.search.proposer import Proposer
from harness.training.checkpoint import load_checkpoint, save_checkpoint
from harness.training.optimiser import build_optimiser, set_learning_rate
from losses import DomainView, StepContext, create_loss

DATASETS = ("officehome", "domainnet7", "office31", "pacs", "shapes", "tiny")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("methods"))


def weights_of(training):
    return {name: value.clone() for name, value in training.encoder.named_parameters()}


@pytest.mark.parametrize("preset", ["paper", "scratch"])
@pytest.mark.parametrize("name", method_names())
def test_the_recipe_builds_and_every_searched_value_acts(name, preset):
    method = get_method(name)
    for dataset in DATASETS:
        for n in (SMALLER, 2427):
            ranges, paper = method.space(n), method.paper_point(dataset, n)
            assert set(paper) == set(ranges)
            assert set(ranges) <= set(method.parameter_types())
            assert len(ranges) <= 5
            values = method.resolve(preset, dataset, {**paper, **first_in(ranges, paper)})
            recipe = method.build(values, PairShape(n, n + 8, 16))
            assert math.isclose(sum(stage.share for stage in recipe.stages), method.trains)
            assert set(ranges) <= set(first_active_epochs(recipe, 400))


def first_in(ranges, paper):
    return {k: min(max(paper[k], values.low), values.high) for k, values in ranges.items()}


@pytest.mark.parametrize("name", ["ucdir", "ucdir_ot", "protoot", "pcs", "protonce"])
def test_the_paper_point_of_a_covered_data_set_lies_in_the_ranges(name):
    method = get_method(name)
    paper = method.paper_point("officehome", 2427)
    assert first_in(method.space(2427), paper) == paper
    assert paper["K"] == 65


@pytest.mark.parametrize("name", method_names())
def test_two_epochs_on_a_small_pair(name, tiny):
    index, cache = tiny
    training = train_pair(name, index, cache, epochs=2)
    before = weights_of(training)
    reports = []
    while not training.finished:
        reports.append(training.run_epoch())
    assert training.epoch == 2
    trains = get_method(name).trains
    assert len(reports) == (2 if trains else 1)
    assert [p.epochs for p in training.positions] == (
        [2 // len(training.recipe.stages)] * len(training.recipe.stages) if trains else []
    )
    changed = any(not torch.equal(value, before[k]) for k, value in weights_of(training).items())
    assert changed == trains
    for report in reports:
        assert bool(report) == trains
        assert all(math.isfinite(value) for value in report.values())
    vault = LabelVault.of_pair(index, "art", "sketch")
    for metrics in unseal(vault.score(*training.embeddings)).values():
        assert 0 < metrics["mAP@All"] <= 100
        assert metrics["n_valid_queries"] in (20, 28)


@pytest.mark.parametrize("name", ["coda", "protoot", "uem", "pcs"])
def test_a_training_from_its_checkpoint_goes_on_as_if_it_had_not_stopped(name, tiny, tmp_path):
    index, cache = tiny
    straight = train_pair(name, index, cache, epochs=3)
    straight.run_epoch()
    straight.run_epoch()
    save_checkpoint(straight.state_dict(), tmp_path, "token", 2)
    resumed = train_pair(name, index, cache, epochs=3)
    resumed.load_state_dict(load_checkpoint(tmp_path))
    assert straight.run_epoch() == resumed.run_epoch()
    for one, other in zip(straight.embeddings, resumed.embeddings):
        assert torch.equal(one, other)


def test_uem_freezes_a_copy_at_its_second_stage_and_trains_on(tiny):
    index, cache = tiny
    training = train_pair("uem", index, cache, epochs=4)
    assert [p.epochs for p in training.positions] == [3, 1]
    for _ in range(3):
        training.run_epoch()
    assert training.frozen is None
    end_of_first = weights_of(training)
    report = training.run_epoch()
    for name, value in training.frozen.named_parameters():
        assert torch.equal(value, end_of_first[name])
    assert {"domain_adversarial", "semantic_preserving", "switchable_neighbour"} <= set(report)
    assert report["domain_adversarial.weighted"] == report["domain_adversarial"]


def test_uem_ablations_drop_the_term_they_are_named_for():
    def losses(name):
        recipe = get_method(name).build(first_values(name), PairShape(40, 50, 12))
        return {term.loss for stage in recipe.stages for term in stage.terms}

    whole = losses("uem")
    assert losses("uem_no_merge") == whole
    assert whole - losses("uem_no_sel") == {"semantic_enhanced"}
    assert whole - losses("uem_no_spda") == {"semantic_preserving"}
    assert whole - losses("uem_no_sn2m") == {"switchable_neighbour"}
    no_merge = get_method("uem_no_merge").build(first_values("uem_no_merge"), PairShape(40, 50, 12))
    assert no_merge.stages[0].terms[1].arguments["prototypes"] == "own"
    assert no_merge.stages[1].clustering.arguments["merge"] is False


def test_uem_epochs_and_ramp_are_the_papers():
    for dataset, (first, second) in {"officehome": (100, 50), "domainnet7": (200, 50)}.items():
        method = get_method("uem")
        recipe = method.build(method.resolve("paper", dataset, {}), PairShape(900, 900, 64))
        shares = [stage.share * (first + second) for stage in recipe.stages]
        assert shares == pytest.approx([first, second])
        ramp = recipe.stages[0].terms[1].ramp
        for epoch in (first // 2 - 4, first // 2, first // 2 + 4):
            expected = 1 / (1 + math.exp(0.5 * first - epoch))
            assert ramp(epoch / first) == pytest.approx(expected)
        assert recipe.stages[0].clustering.start == pytest.approx(0.5 - 13.8 / first, abs=1e-3)


def test_a_sigmoid_ramp_is_zero_before_its_start_and_only_there():
    ramp = SigmoidRamp(0.5, 40.0)
    assert ramp(ramp.start - 1e-6) == 0.0
    assert ramp(ramp.start + 1e-6) == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("text", ["elbows", "0", "-3", "41", "2.5"])
def test_uem_refuses_clusters_it_cannot_make(text):
    method = get_method("uem")
    with pytest.raises(UsageError, match="clusters takes elbow or a number up to 40"):
        method.build(method.resolve("paper", "", {"clusters": text}), PairShape(40, 50, 12))


@pytest.mark.parametrize(
    ("name", "parameter", "valid"),
    [
        ("protoot", "beta_mode", "official"),
        ("uem", "negatives", "batch"),
        ("ucdir", "optimiser", "adamw"),
        ("coda", "optimiser", "adamw"),
    ],
)
def test_a_wrong_word_is_refused_when_the_recipe_is_built(name, parameter, valid):
    method = get_method(name)
    shape = PairShape(40, 50, 12)
    method.build(method.resolve("paper", "", {parameter: valid}), shape)
    with pytest.raises(UsageError, match=parameter):
        method.build(method.resolve("paper", "", {parameter: "wrong"}), shape)


def test_a_set_number_of_clusters_replaces_the_elbow(tiny):
    index, cache = tiny
    training = train_pair("uem", index, cache, epochs=2, clusters="3")
    training.run_epoch()
    training.run_epoch()
    assert [len(domain[0].proto_KD) for domain in training.clusterings] == [3, 3]


def test_constants_are_cut_to_the_smaller_domain_with_a_note():
    notes = {}
    for name in ("coda", "cds", "pcs", "protonce"):
        method = get_method(name)
        values = method.resolve("paper", "officehome", {})
        notes[name] = method.build(values, PairShape(50, 80, 16)).notes
        assert method.build(values, PairShape(5000, 5000, 16)).notes == ()
    assert notes["coda"] == (
        "CoDA's classifiers 100, 200, 300, 400 cut to 50: the smaller domain has 50 images.",
    )
    assert "700" in notes["cds"][0]
    assert "65, 130 cut to 50" in notes["pcs"][0]
    assert "65, 130, 260 cut to 50" in notes["protonce"][0]


def test_cutting_keeps_what_fits_and_how_often():
    assert cut_to_images((20, 40) * 3, 30, "x")[0] == (20, 20, 20, 30)
    assert cut_to_images((20, 40), 40, "x") == ((20, 40), ())
    assert multiples(5, "1, 1,2") == (5, 5, 10)
    with pytest.raises(UsageError, match="k_factors"):
        multiples(5, "1,x")


def test_papers_lists_of_cluster_numbers():
    method = get_method("pcs")
    plan = method.build(method.resolve("paper", "office31", {}), PairShape(498, 795, 64)).stages[0]
    assert plan.clustering.arguments["ks"] == (31, 31, 62) * 10
    method = get_method("coda")
    plan = method.build(method.resolve("paper", "", {}), PairShape(900, 900, 16)).stages[0]
    assert plan.clustering.arguments["ks"] == (100, 200, 300, 400)


def test_protoot_official_trains_with_equal_numbers_of_prototypes(tiny):
    index, cache = tiny
    training = train_pair("protoot", index, cache, epochs=2, beta_mode="official")
    training.run_epoch()
    assert "protoot_cross_domain" in training.run_epoch()


def test_a_method_with_nothing_to_search_is_tried_once():
    asked = Proposer(plan(space={}, trials=4), ("a", "b"))
    assert asked.propose(("a", "b")).searched == ()
    assert asked.propose(("a", "b")) is None
    assert asked.exhausted


@pytest.mark.parametrize("name", method_names())
def test_the_first_point_is_the_preset_where_the_paper_gives_one(name):
    method = get_method(name)
    for dataset in DATASETS:
        preset = method.presets["paper"](dataset)
        first = method.paper_point(dataset, 2427)
        assert {k: first[k] for k in set(first) & set(preset)} == {
            k: preset[k] for k in set(first) & set(preset)
        }


@pytest.mark.parametrize(("preset", "epochs", "steps"), [("paper", 150, 44), ("scratch", 16, 14)])
def test_uems_domain_classifier_learns_within_its_stage(preset, epochs, steps):
    """Under the recipe's own optimiser and schedule, on domains that can be told apart."""
    method = get_method("uem")
    recipe = method.build(method.resolve(preset, "", {}), PairShape(800, 800, 50))
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = create_loss(
            "domain_adversarial", pooled_size=1, embedding_size=128, features="embedding"
        )
    backbone, head = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    optimiser = build_optimiser(recipe.optimiser, backbone, head, [classifier])
    shift_D = torch.nn.functional.normalize(torch.randn(128, generator=draws), dim=0)
    seen = []

    def domain(sign):
        z_BD = torch.randn(50, 128, generator=draws) / 128**0.5 + sign * shift_D
        z_BD = torch.nn.functional.normalize(z_BD, dim=1).requires_grad_()
        return DomainView(z_BD, z_BD, None, None, torch.arange(50), z_BD.detach())

    for epoch in range(round(epochs * 2 / 3), epochs):
        set_learning_rate(optimiser, recipe.optimiser, epoch, epochs)
        for _ in range(steps):
            context = StepContext(
                epoch=epoch,
                progress=0.0,
                stage="cdsm",
                generator=draws,
                record=lambda name, value: seen.append(float(value)),
            )
            optimiser.zero_grad()
            classifier(domain(1.0), domain(-1.0), context).backward()
            optimiser.step()
    assert sum(seen[-20:]) / 20 > 0.95


def test_uem_logs_its_numbers_of_clusters(tiny):
    training = train_pair("uem", *tiny, epochs=3)
    logged = [training.run_epoch() for _ in range(3)][-1]
    (a,), (b,) = training.clusterings
    assert logged["clusters.a"] == len(a.proto_KD)
    assert logged["clusters.b"] == len(b.proto_KD)
    assert logged["clusters.merged"] == int(a.merged.is_merged_C.sum())
