"""Bad input: exit code 2 and one sentence that says what to do, before anything is trained."""

import json
import shutil
import sys

import pytest
import torch
from command_runs import write_tree

from harness import compare, train, tune
from harness.command_line import USAGE, run


@pytest.fixture
def data(tmp_path):
    return write_tree(tmp_path / "colours", per_class=3)


@pytest.fixture
def refused(tmp_path, data, monkeypatch, capsys):
    """Calls a command and gives the sentence it refuses with; nothing may have been written."""
    monkeypatch.delenv("HARNESS_DATA_ROOT", raising=False)

    def call(*arguments, command=tune, dataset="folder", root=True, listed=0):
        given = ["--dataset", dataset, "--image-size", "32", "--epochs", "1"]
        given += ["--cache-dir", str(tmp_path / "cache")]
        if "--out" not in arguments:
            given += ["--out", str(tmp_path / "out")]
        if root:
            given += ["--data-root", str(data)]
        monkeypatch.setattr(sys, "argv", ["harness", *given, *arguments])
        with pytest.raises(SystemExit) as stop:
            run(command.main)
        assert stop.value.code == USAGE
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out
        assert shown.err.startswith("error: ")
        sentence = shown.err.removeprefix("error: ").removesuffix("\n")
        assert sentence.count("\n") == listed
        assert sentence[-1] in ".?" or listed
        assert not (tmp_path / "out" / "colours" / "trials").exists()
        return sentence

    return call


def test_missing_data_root(refused, tmp_path):
    sentence = refused("--data-root", str(tmp_path / "nowhere"), root=False)
    assert "nowhere" in sentence
    assert "--data-root" in sentence


def test_a_named_data_set_without_data_says_which_folders_to_bring_and_both_ways(refused):
    sentence = refused(dataset="officehome", root=False)
    for part in ("--data-root", "HARNESS_DATA_ROOT", "Art", "Clipart", "Product", "Real"):
        assert part in sentence


def test_one_domain_only(refused, data):
    shutil.rmtree(data / "Photo")
    shutil.rmtree(data / "Clip-Art")
    assert "at least two domain folders" in refused()


def test_a_domain_without_images(refused, data):
    for image in (data / "Photo").rglob("*.png"):
        image.unlink()
    assert "Photo" in refused()


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("--method", "ucdirr"), "'ucdir'"),
        (("--pairs", "Art-Foto"), "Photo"),
        (("--objective", "mutual_n"), "'mutual_nn'"),
        (("--objective", "oracle:P@2"), "P@5"),
        (("--set", "lambda_d=1"), "'lambda_dd'"),
        (("--set", "K"), "NAME=VALUE"),
        (("--set", "K=two"), "int"),
        (("--backbone", "resnet81"), "resnet18"),
        (("--sampler", "tpee"), "'tpe'"),
        (("--scenario", "closed"), "'partial'"),
        (("--scope", "pairs"), "'dataset'"),
        (("--trial", "3"), "'--trials'"),
        (("--pairs", "Art"), "Art"),
        (("--pairs", "Art-Art"), "Art"),
        (("--gpus-per-trial", "0"), "--gpus-per-trial must be > 0, not 0.0"),
        (("--space", "K=5"), "LOW:HIGH"),
        (("--space", "Kk=2:5"), "'K'"),
        (("--time-budget", "soon"), "30m"),
        (("--epochs", "0"), "--epochs must be >= 1, not 0"),
        (("--batch-size", "-5"), "--batch-size must be >= 2, not -5"),
        (("--cpus-per-trial", "0"), "--cpus-per-trial must be >= 1, not 0"),
        (("--max-concurrent", "0"), "--max-concurrent must be >= 1, not 0"),
        (("--image-size", "0"), "--image-size must be >= 1, not 0"),
        (("--batch-size", "1"), "--batch-size must be >= 2, not 1"),
        (("--confirm", "-1"), "--confirm must be >= 0, not -1"),
        (("--gpus-per-trial", "nan"), "--gpus-per-trial must be < inf, not nan"),
        (("--epochs", "2.5"), "'2.5' is no whole number"),
        (("--trials", "0"), "--trials must be >= 1, not 0"),
        (("--set", "K=-3"), "K must be at least 1"),
        (("--set", "tau=nan"), "finite"),
        (("--space", "K=-5:3"), "begins at 1"),
        (("--space", "K=0:3"), "K begins at 1 or above, not at 0"),
        (("--space", "tau=nan:0.2"), "tau takes finite bounds"),
        (("--space", "tau=0.05:nan"), "tau takes finite bounds"),
        (("--space", "tau=0.05:inf"), "tau takes finite bounds"),
        (("--space", "tau=0.05:inf:log"), "tau takes finite bounds"),
        (("--space", "tau=-1:1"), "tau begins at 0 or above, not at -1.0"),
        (("--space", "tau=0:1"), "tau begins above 0, not at 0.0"),
        (("--space", "tau=0:1:log"), "tau is logarithmic and begins above 0"),
        (("--space", "tau=0.5:0.1"), "from 0.5 down to 0.1"),
        (("--space", "lr=0:0.1"), "lr begins above 0"),
        (("--space", "lambda_dd=-1:1"), "lambda_dd begins at 0 or above, not at -1.0"),
        (("--space", "optimiser=1:2"), "with numbers, not 'optimiser=1:2'"),
        (("--space", "tau=0.05:0.2:log:extra"), "NAME=LOW:HIGH or NAME=LOW:HIGH:log"),
        (("--space", "tau=0.05:0.2:lin"), "not in ':lin'"),
        (("--space", "tau=0.05:0.2", "--space", "tau=0.1:0.3"), "--space gives tau twice"),
        (("--space", "tau=0.05:0.2", "--set", "tau=0.1"), "--set fixes tau and --space"),
        (("--objective", "oracle:open_acc"), "Only --scenario open yields 'open_acc'; close"),
        (
            ("--objective", "oracle:mAP@All.shared", "--scenario", "partial"),
            "partial yields P@1, P@5, P@15, mAP@All",
        ),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_valid_one(refused, arguments, near):
    assert near in refused(*arguments)


def test_an_unknown_data_set(refused):
    assert "'officehome'" in refused(dataset="office-home")


def test_more_clusters_than_the_smaller_domain_has_images(refused):
    sentence = refused("--set", "K=10")
    assert "K=10" in sentence
    assert "9" in sentence


def test_a_range_of_k_above_the_smaller_domain(refused):
    assert "9 images" in refused("--space", "K=2:50")


def test_a_corrupt_image_is_named_with_its_reason(refused, data):
    (data / "Photo" / "red" / "0.png").write_bytes(b"\x89PNG not really")
    sentence = refused(listed=1)
    assert "\n  Photo/red/0.png: " in sentence
    assert "--skip-unreadable" in sentence


def test_a_missing_weight_file(refused, tmp_path):
    sentence = refused("--weights", str(tmp_path / "moco.pth.tar"))
    assert "moco.pth.tar" in sentence


def test_weights_of_another_architecture(refused, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"layer.weight": torch.zeros(3, 3)}}, path)
    sentence = refused("--weights", str(path))
    assert "test_resnet" in sentence


def test_an_output_folder_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--out" in refused("--out", str(tmp_path / "file"))


def test_train_wants_one_pair(refused):
    assert "--pairs" in refused("--pairs", "all", command=train)


def test_a_comparison_takes_two_methods(refused):
    assert "two methods" in refused("--methods", "ucdir", command=compare)


def test_config_that_is_missing(refused, tmp_path):
    assert "none.json" in refused("--config", str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("{", "Expecting property name"),
        ("[]", "no object"),
        ({"epoch": 3}, "unknown key 'epoch'. Did you mean 'epochs'?"),
        ({"trials": "three"}, "'trials' should be a valid integer, not \"three\""),
        ({"trials": 2.5}, "'trials' should be a valid integer, not 2.5"),
        ({"trials": True}, "'trials' should be a valid integer, not true"),
        ({"seed": None}, "'seed' should be a valid integer, not null"),
        ({"method": "ucdir"}, "'method' should be a valid array, not \"ucdir\""),
        ({"set": ["K=3", 5]}, "'set' should be a valid string, not 5"),
        ({"retry_failed": 1}, "'retry_failed' should be a valid boolean, not 1"),
        ({"storage": 3}, "'storage' "),
        (
            {"scenario": "closed"},
            "'scenario' should be 'close', 'partial' or 'open', not \"closed\"",
        ),
        ({"trials": 0}, "--trials must be >= 1, not 0"),
    ],
)
def test_a_bad_config_is_never_taken_in_part(refused, tmp_path, flags, sentence):
    path = tmp_path / "run.json"
    path.write_text(flags if isinstance(flags, str) else json.dumps(flags))
    assert sentence in refused("--config", str(path))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("epochs = ", "cannot be read"),
        ("epoch = 3", "unknown key 'epoch'. Did you mean 'epochs'?"),
        ("trials = 2020-01-01", "'trials' should be a valid integer, not \"2020-01-01\""),
        ("gpus_per_trial = nan", "--gpus-per-trial must be < inf, not nan"),
        ("[data]\ndataset = 'shapes'", "unknown key 'data'"),
    ],
)
def test_a_bad_toml_config_is_refused_as_a_json_one_is(refused, tmp_path, line, sentence):
    path = tmp_path / "run.TOML"
    path.write_text(line)
    assert sentence in refused("--config", str(path))


def test_other_images_under_the_name_of_a_data_set(refused, data, tmp_path):
    results = tmp_path / "out" / "colours"
    results.mkdir(parents=True)
    earlier = {"fingerprint": "0" * 64, "domains": {"Art": [7, "digest"]}}
    (results / "dataset.json").write_text(json.dumps(earlier))
    sentence = refused()
    assert "Art (7 images then, 9 now)" in sentence
    assert "--out" in sentence
