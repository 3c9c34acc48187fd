"""Each method beats its own start on a pair of ``shapes``, from random weights, in five epochs."""

import pytest
import torch

from harness.evaluation.oracle import mean_over_directions
from harness.methods import get_method, method_names
from harness.options import TrainOptions
from harness.plan.studies import prepare_studies
from harness.training.scored_trial import ScoredTrial

EPOCHS = 5
GAIN = 1.0
"""Percentage points of mAP@All; chance is 9.1, the starts lie between 10 and 11."""

NOT_FROM_RANDOM_WEIGHTS = {"coda"}
"""docs/methods.md says why."""

LEARNING = [
    name
    for name in method_names()
    if get_method(name).trains and name not in NOT_FROM_RANDOM_WEIGHTS
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("shapes")


def mean_average_precision(method, cache):
    """mAP@All, mean over both directions, before and after the training."""
    options = TrainOptions(method=(method,), pairs="clipart-real", epochs=EPOCHS, cache_dir=cache)
    prepared = prepare_studies(options, trials=1, sampler="none")
    config = prepared.plans[0].first_trial(prepared.pairs[0])
    trial = ScoredTrial(config, prepared.data, torch.device("cpu"))
    while not trial.done:
        trial.next_report()
    return tuple(mean_over_directions(trial.history[i].sealed, "mAP@All") for i in (0, -1))


@pytest.mark.parametrize("method", LEARNING)
def test_the_first_setting_learns(method, cache):
    start, end = mean_average_precision(method, cache)
    assert end > start + GAIN
