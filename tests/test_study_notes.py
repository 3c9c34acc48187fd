"""What a study says before it starts, and what it does not search because it cannot act."""

import dataclasses

import pytest
from in_process_search import write_domains
from optuna.distributions import FloatDistribution
from study_examples import plan

from harness.methods import get_method
from harness.options import TuneOptions
from harness.plan.notes import study_notes
from harness.plan.samplers import describe_sampler
from harness.plan.studies import prepare_studies

SIZES = [(100, 120)]


def test_one_value_that_never_acts_is_it_and_several_are_them():
    fixed = dataclasses.replace(
        plan(epochs=1, fixed={"K": 5}), fixed={"K": 5}, space={}, paper={"K": 12}
    )
    (said,) = [note for note in study_notes(fixed, 100, SIZES) if "never" in note]
    assert "within 1 epoch K never acts; more --epochs would let it." in said
    ucdir = dataclasses.replace(
        plan(epochs=1, method="ucdir"),
        method=get_method("ucdir"),
        space={"tau": FloatDistribution(0.1, 1.0)},
        paper={"tau": 0.2},
    )
    notes = study_notes(ucdir, 100, SIZES, idle={"lambda_dd", "lambda_se"})
    (said,) = [note for note in notes if "never" in note]
    assert "lambda_dd, lambda_se never act and are not searched; more --epochs" in said


@pytest.mark.parametrize(("epochs", "share"), [(3, "4%"), (30, "30%"), (300, None)])
def test_a_study_says_how_far_its_scored_encoder_can_come(epochs, share):
    """120 images in batches of 10 are 12 steps an epoch: 1 - 0.999^36 is 4 %."""
    study = dataclasses.replace(
        plan(epochs=epochs, method="ucdir", batch_size=10, preset="paper"),
        method=get_method("ucdir"),
        space={},
        paper={},
    )
    said = [note for note in study_notes(study, 100, SIZES) if "too short" in note]
    assert bool(said) == (share is not None)
    if share:
        assert f"{12 * epochs} steps at encoder momentum 0.999" in said[0]
        assert f"the scored encoder {share} of its way" in said[0]


@pytest.mark.parametrize(("epochs", "searched"), [(1, {"tau"}), (20, None)])
def test_what_cannot_act_in_these_epochs_is_not_searched(tmp_path, epochs, searched):
    root = write_domains(tmp_path / "squares", domains=2)
    options = TuneOptions(
        dataset="folder",
        data_root=root,
        cache_dir=tmp_path / "cache",
        out=tmp_path / "out",
        image_size=32,
        batch_size=8,
        backbone="test_resnet",
        epochs=epochs,
    )
    prepared = prepare_studies(options, trials=2, sampler=describe_sampler("tpe"))
    (study,) = prepared.plans
    assert set(study.space) == (searched or {"K", "tau", "lambda_dd", "lambda_se"})
    config = study.first_trial(("ink", "oil"))
    assert set(config.searched) == set(study.space)
    # What is not searched has the value that the search would have begun with.
    whole = study.method.space(16)
    assert whole["K"].low <= config.params["K"] <= whole["K"].high
