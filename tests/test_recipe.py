import math

import pytest

from harness.errors import UsageError
from harness.methods import PairShape, get_method
from harness.methods.recipe import (
    BankRule,
    LinearRamp,
    LossTerm,
    OptimiserRule,
    Recipe,
    SigmoidRamp,
    Stage,
    StepRamp,
    first_active_epochs,
    stage_positions,
)


def recipe(*shares: float) -> Recipe:
    stages = tuple(
        Stage(name=str(i), share=share, terms=(LossTerm(loss="instance_contrast"),))
        for i, share in enumerate(shares)
    )
    return Recipe(
        stages=stages,
        bank=BankRule(rule="overwrite"),
        momentum_encoder=None,
        optimiser=OptimiserRule(kind="sgd", lr=0.1),
        scored="query",
    )


def test_ucdir_weights_are_the_authors_at_their_200_epochs():
    values = get_method("ucdir").resolve("paper", "officehome", {})
    built = get_method("ucdir").build(values, PairShape(2427, 4365, 64))
    stage = built.stages[0]
    terms = {term.loss: term for term in stage.terms}

    def weight(loss: str, epoch: int) -> float:
        return terms[loss].weight * terms[loss].ramp(epoch / 200)

    for epoch in range(200):
        expected = 0.5 * min(1.0, max(0.0, (epoch - 20) / 80))
        assert weight("cluster_contrast", epoch) == pytest.approx(expected, abs=1e-12)
        on = float(epoch >= 100)
        assert weight("self_entropy", epoch) == 1.0 * on
        assert weight("distance_of_distance", epoch) == 0.5 * on
        assert weight("instance_contrast", epoch) == 1.0
    assert stage.clustering is not None
    assert next(e for e in range(200) if e / 200 >= stage.clustering.start) == 20
    assert terms["self_entropy"].arguments["temperature"] == 0.01


def test_ucdir_on_domainnet_takes_the_authors_other_settings():
    values = get_method("ucdir").resolve("paper", "domainnet7", {})
    assert (values["K"], values["lambda_dd"], values["lambda_se"]) == (7, 0.1, 0.5)
    assert (values["cluster_weight"], values["se_temperature"]) == (1.0, 0.1)


def test_distance_of_distance_is_scaled_to_a_batch_of_64():
    method = get_method("ucdir")
    values = method.resolve("paper", "", {"lambda_dd": 0.5})
    small = method.build(values, PairShape(100, 100, 32)).stages[0].terms[-1]
    assert small.loss == "distance_of_distance"
    assert small.weight == 0.5 * 64 / 32


def test_set_goes_before_preset_and_preset_before_recipe():
    method = get_method("ucdir")
    assert method.resolve("scratch", "", {})["lr"] != method.resolve("paper", "", {})["lr"]
    assert method.resolve("scratch", "", {"lr": 0.5})["lr"] == 0.5


def test_an_unknown_parameter_is_named_with_the_nearest_valid_one():
    with pytest.raises(UsageError, match="lambda_dd"):
        get_method("ucdir").resolve("paper", "", {"lamda_dd": 1.0})


@pytest.mark.parametrize("epochs", range(1, 12))
@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (2 / 3, 1 / 3), (0.98, 0.01, 0.01)])
def test_stages_share_the_epochs_without_gap_or_overlap(epochs, shares):
    positions = stage_positions(recipe(*shares), epochs)
    covered = [
        epoch
        for position in positions
        for epoch in range(position.first_epoch, position.first_epoch + position.epochs)
    ]
    assert covered == list(range(epochs))
    assert len(positions) == min(len(shares), epochs)
    assert all(position.epochs >= 1 for position in positions)


def test_two_thirds_of_150_epochs_are_100():
    assert [p.epochs for p in stage_positions(recipe(2 / 3, 1 / 3), 150)] == [100, 50]


def test_ramps():
    assert [LinearRamp(0.1, 0.5)(p) for p in (0.0, 0.1, 0.3, 0.5, 0.9)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    assert [StepRamp(0.5)(p) for p in (0.49, 0.5)] == [0.0, 1.0]
    # UEM eq. 10 at E = 100 epochs: 1 / (1 + exp(0.5 E - e)).
    for epoch in (40, 50, 53):
        expected = 1 / (1 + math.exp(50 - epoch))
        assert SigmoidRamp(0.5, 100)(epoch / 100) == pytest.approx(expected)


def test_parameters_that_never_act_are_missing_from_the_first_active_epochs():
    method = get_method("ucdir")
    built = method.build(method.resolve("paper", "", {}), PairShape(100, 100, 64))
    assert first_active_epochs(built, 200) == {
        **dict.fromkeys(["tau"], 0),
        "K": 20,
        **dict.fromkeys(["cluster_weight", "cluster_filter"], 21),
        **dict.fromkeys(["lambda_se", "se_temperature", "lambda_dd", "dd_temperature"], 100),
    }
    assert set(first_active_epochs(built, 1)) == {"tau"}
