import dataclasses
import json
from pathlib import Path

import pytest

from harness.config import (
    StudyConfig,
    TrialConfig,
    content_hash,
    from_json,
    study_id_of,
    to_json,
    trial_from_json,
)
from harness.config_file import read_config_file
from harness.errors import UsageError
from harness.options import TuneOptions


def study(**changes) -> StudyConfig:
    fields = {
        "dataset": "shapes",
        "fingerprint": "f",
        "method": "ucdir",
        "backbone": "test_resnet",
        "weights": "random",
        "image_size": 32,
        "epochs": 4,
        "batch_size": 16,
        "preset": "scratch",
        "objective": "mutual_nn",
    }
    return StudyConfig(**(fields | changes))


def trial(number: int = 0, **changes) -> TrialConfig:
    fields = {
        "study": study(),
        "trial_id": f"{study().study_id}.a-b.{number:04d}",
        "number": number,
        "pair": ("a", "b"),
        "params": {"K": 5, "tau": 0.2, "lambda_dd": 0.5, "lambda_se": 1.0, "optimiser": "sgd"},
        "searched": ("K", "tau"),
        "init_seed": 1,
        "seed": 2,
    }
    return TrialConfig(**(fields | changes))


def test_json_round_trip_gives_an_equal_trial():
    config = trial()
    again = from_json(TrialConfig, to_json(config))
    assert again == config
    assert again.pair == ("a", "b")
    assert again.study.study_id == config.study.study_id


def test_json_round_trip_of_options_keeps_paths():
    options = TuneOptions(data_root=Path("x"), method=("a", "b"), trials=3)
    assert from_json(TuneOptions, to_json(options)) == options


def test_unknown_field_in_json_is_an_error():
    text = to_json(trial()).replace('"number"', '"nummer"')
    with pytest.raises(ValueError, match="nummer"):
        from_json(TrialConfig, text)
    with pytest.raises(ValueError, match="nummer"):
        trial_from_json(text)


def test_values_keep_their_type_and_trials_share_their_study():
    params = {"whole": 1, "real": 1.0, "switch": True, "word": "1", "large": 1e-12}
    first, second = (trial_from_json(to_json(trial(number, params=params))) for number in (0, 1))
    assert first.study is second.study
    assert {name: type(value) for name, value in first.params.items()} == {
        "whole": int,
        "real": float,
        "switch": bool,
        "word": str,
        "large": float,
    }
    assert to_json(first) == to_json(trial(0, params=params))


@pytest.mark.parametrize(
    "change",
    [{"epochs": 5}, {"seed": 1}, {"fixed": {"K": 3}}, {"objective": "oracle:P@1"}, {"threads": 2}],
)
def test_whatever_changes_a_result_changes_the_study_id(change):
    assert study(**change).study_id != study().study_id


def test_the_folder_of_a_weight_file_is_no_part_of_the_identity():
    here = study(weights="here/moco.pth", weights_digest="d")
    there = study(weights="there/moco.pth", weights_digest="d")
    assert here.study_id == there.study_id
    assert dataclasses.replace(there, weights_digest="e").study_id != here.study_id


def test_content_hash_does_not_depend_on_the_order_of_a_dict():
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})


@pytest.mark.parametrize("value", ["false", "true"])
def test_a_file_of_an_earlier_run_may_say_that_it_had_no_warm_start(tmp_path, value):
    path = tmp_path / "run.json"
    path.write_text(f'{{"warm_start": {value}, "trials": 3}}')
    if value == "false":
        assert read_config_file(TuneOptions, path) == {"trials": 3}
        return
    with pytest.raises(UsageError, match="leave 'warm_start' out"):
        read_config_file(TuneOptions, path)


@pytest.mark.parametrize("method", ["ucdir", "my.own", "a-b"])
@pytest.mark.parametrize("rest", ["a-b.0012", "a-b.0012.seed1", "v1.0-b.0000"])
def test_the_study_of_a_trial_is_read_from_its_id(method, rest):
    """A dot in a method's name, which early plug-ins could have, does not cut the id short."""
    assert study_id_of(f"{method}-0123abcd.{rest}") == f"{method}-0123abcd"


def test_a_study_of_the_version_before_keeps_its_id_and_says_if_it_had_warm_starts():
    fields = json.loads(to_json(trial()))
    del fields["study"]["legacy_id"]
    cold, warm = (
        trial_from_json(json.dumps(fields | {"study": fields["study"] | {"warm_start": warm}}))
        for warm in (False, True)
    )
    assert cold.study.identity == study().identity
    assert warm.study.identity != study().identity
    assert warm.study.study_id != cold.study.study_id != study().study_id
    assert trial_from_json(to_json(warm)) == warm
