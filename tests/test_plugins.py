"""A method from a file outside the project, from the flag to its trial."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniature_pair import write_pair

from harness.datasets.contract import DatasetSpec
from harness.datasets.registry import dataset_names, dataset_spec
from harness.errors import UsageError
from harness.methods import PairShape
from harness.options import TrainOptions
from harness.plan.studies import prepare_studies
from harness.plugins import PluginFile, load_plugins, method_digest
from harness.testing import (
    DatasetCheckError,
    check_dataset,
    check_loss,
    check_method,
)
from harness.training.scored_trial import ScoredTrial
from harness.validators import VALIDATORS
from models.encoder import EncoderSettings, build_encoder, save_encoder

DOC = Path(__file__).parents[1] / "docs" / "extending.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The first example of docs/extending.md."""
    path = tmp_path_factory.mktemp("plugin") / "my_method.py"
    path.write_text(EXAMPLES[0])
    return path


def test_the_documented_example_trains_and_its_hash_is_part_of_the_study(example, tmp_path):
    index, cache = write_pair(tmp_path)
    prepared = prepare_studies(
        TrainOptions(
            dataset="folder",
            data_root=index.root,
            cache_dir=cache,
            method=("mean_gap", "instance"),
            image_size=32,
            batch_size=8,
            epochs=1,
            out=tmp_path / "out",
            loss_module=example,
        ),
        trials=1,
        sampler="none",
    )
    plan, built_in = prepared.plans
    plugin = PluginFile(str(example), example.read_bytes())
    assert prepared.data.plugin == plugin
    for planned in (plan, built_in):
        recipe = planned.method.build(
            planned.method.resolve("paper", "", {}), PairShape(5000, 5000, 64)
        )
        assert planned.config.method_digest == method_digest(planned.method, recipe, plugin)
    assert plan.config.method_digest != built_in.config.method_digest
    config = plan.first_trial(prepared.pairs[0])
    trial = ScoredTrial(config, prepared.data, torch.device("cpu"))
    while not trial.done:
        report = trial.next_report()
    assert {"mean_gap", "mean_gap.weighted", "instance_contrast"} <= set(report.losses)
    changed = replace(plan.config, method_digest="0" * 64)
    assert changed.study_id != plan.config.study_id


def test_the_documented_loss_and_method_conform(example):
    load_plugins(example)
    check_loss("mean_gap")
    check_method("mean_gap")


def test_a_validator_from_outside_can_be_the_objective(tmp_path):
    module = tmp_path / "my_validator.py"
    module.write_text(next(text for text in EXAMPLES if "register_validator" in text))
    index, cache = write_pair(tmp_path)
    with VALIDATORS.restored_afterwards():
        prepared = prepare_studies(
            TrainOptions(
                dataset="folder",
                data_root=index.root,
                cache_dir=cache,
                method=("instance",),
                objective="mean_distance",
                image_size=32,
                batch_size=8,
                epochs=1,
                out=tmp_path / "out",
                loss_module=module,
            ),
            trials=1,
            sampler="none",
        )
        config = prepared.plans[0].first_trial(prepared.pairs[0])
        trial = ScoredTrial(config, prepared.data, torch.device("cpu"))
        while not trial.done:
            report = trial.next_report()
    assert report.objective == -report.validators["mean_distance"] < 0


def test_a_file_that_fails_or_is_missing_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.py cannot be read"):
        load_plugins(tmp_path / "none.py")
    bad = tmp_path / "bad.py"
    bad.write_text("import no_such_module_at_all\n")
    with pytest.raises(UsageError, match="no_such_module_at_all"):
        load_plugins(bad)
    taken = tmp_path / "taken.py"
    taken.write_text(
        "from dataclasses import dataclass, replace\n"
        "from harness.methods import get_method, register_method\n"
        "register_method(replace(get_method('cds'), name='ucdir'))\n"
    )
    with pytest.raises(UsageError, match=r"taken\.py cannot be used: .*'ucdir' is taken"):
        load_plugins(taken)


def test_a_file_that_registers_a_name_with_a_dot_is_refused(tmp_path):
    dotted = tmp_path / "dotted.py"
    dotted.write_text(
        "from dataclasses import dataclass, replace\n"
        "from harness.methods import get_method, register_method\n"
        "register_method(replace(get_method('cds'), name='cds.v2'))\n"
    )
    with pytest.raises(UsageError, match=r"method name 'cds\.v2' .* letters, digits, _ and -"):
        load_plugins(dotted)


@pytest.mark.parametrize("name", dataset_names())
def test_the_declared_data_sets_conform(name):
    check_dataset(name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ks": (5, 1)}, "ks must rise"),
        ({"primary_metric": "P@7"}, "primary metric 'P@7'"),
        ({"name": "Two Words"}, "plain lower-case"),
        ({"default_pairs": (("Art", "Moon"),)}, "'Moon' is none of its domains"),
        ({"aliases": {"Art": ("clip_art",), "Clipart": ("Clip Art",)}}, "means Clipart and Art"),
        ({"aliases": {"Art": (" ",)}}, "the alias ' ' of Art is empty"),
        ({"ks": (1.5, 2)}, "whole numbers"),
        ({"ks": (True, 5)}, "whole numbers"),
        ({"domains": ("Art", "Clipart", "Product", "Real_World", "art")}, "'Art' and 'art' differ"),
        ({"domains": ("Art", "Clipart", "Product", "Real_World", "")}, "'' among its domains"),
        ({"domains": ("Art", "Art", "Clipart", "Product", "Real_World")}, "hold 'Art' twice"),
        ({"classes": ("cat", "Cat")}, "its classes 'cat' and 'Cat' differ only in case"),
        ({"classes": ("cat", "_")}, "the name '_' among its classes is empty"),
        ({"default_pairs": ()}, "default_pairs is empty"),
        ({"default_pairs": (("Art", "Clipart"), ("Clipart", "Art"))}, "there twice"),
        ({"default_pairs": ("Art",)}, "'Art' is not two domains"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(change, sentence):
    spec: DatasetSpec = replace(dataset_spec("officehome"), **change)
    with pytest.raises(DatasetCheckError, match=sentence):
        check_dataset(spec)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weights": "imagenet-bogus"}, "There is no weight file 'imagenet-bogus'"),
        ({"weights": "timm", "backbone": "nf_resnet26"}, "no weights for its backbone"),
        ({"backbone": "resnet8"}, "no timm backbone named 'resnet8'"),
        ({"image_size": 8}, "image_size must be a whole number of at least 16, not 8"),
        ({"image_size": 64.5}, "image_size must be a whole number"),
        ({"backbone": "test_vit", "image_size": 40}, "cannot take images of 40 pixels"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2"),
    ],
)
def test_defaults_that_cannot_train_are_refused(change, sentence):
    spec = dataset_spec("shapes")
    spec = replace(spec, defaults=replace(spec.defaults, **change))
    with pytest.raises(DatasetCheckError, match=sentence):
        check_dataset(spec)


def test_weights_of_a_file_are_read(tmp_path):
    spec = dataset_spec("shapes")
    settings = EncoderSettings(backbone="test_resnet", image_size=32)
    path = tmp_path / "start.safetensors"
    encoder = build_encoder(settings, "random", 0)[0]
    save_encoder(path, encoder.state_dict(), settings, {})
    check_dataset(replace(spec, defaults=replace(spec.defaults, weights=str(path))))
    path.write_bytes(b"nothing")
    with pytest.raises(DatasetCheckError, match="cannot be read"):
        check_dataset(replace(spec, defaults=replace(spec.defaults, weights=str(path))))
