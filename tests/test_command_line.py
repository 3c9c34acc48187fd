import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.command_line import parse
from harness.config import TrainOptions, TuneOptions, plain
from harness.errors import UsageError


def read(*arguments: str) -> TuneOptions:
    return parse(TuneOptions, arguments, prog="tune", description="")[0]


def test_defaults_are_those_of_the_dataclass():
    assert read() == TuneOptions()


def test_every_field_has_a_flag_and_a_help_text(capsys):
    with pytest.raises(SystemExit) as stop:
        read("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in TuneOptions.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in text


def test_set_takes_several_values_and_may_be_repeated():
    options = read("--set", "K=3", "tau=0.1", "--set", "lambda_dd=0", "--method", "ucdir")
    assert options.set == ("K=3", "tau=0.1", "lambda_dd=0")
    assert options.method == ("ucdir",)


def test_types_come_from_the_annotations():
    options = read("--epochs", "3", "--out", "here", "--gpus-per-trial", "0.5")
    assert (options.epochs, options.out, options.gpus_per_trial) == (3, Path("here"), 0.5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--epoch", "3"], "There is no flag '--epoch'. Did you mean '--epochs'?"),
        (["--epochs", "many"], "--epochs"),
        (["--scenario", "closed"], "closed"),
        (["--seed"], "--seed"),
    ],
)
def test_wrong_flags_are_one_sentence(arguments, sentence):
    with pytest.raises(UsageError) as error:
        read(*arguments)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_flag_goes_before_the_file_of_config(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(plain(TuneOptions(epochs=7, trials=9, method=("instance",)))))
    options = read("--config", str(path), "--trials", "2")
    assert (options.epochs, options.trials, options.method) == (7, 2, ("instance",))


def test_train_reads_the_file_of_a_tune_run(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(plain(TuneOptions(epochs=7, trials=9))))
    options, _ = parse(TrainOptions, ["--config", str(path)], prog="train", description="")
    assert options.epochs == 7


@pytest.mark.parametrize("text", ["{", "[]", '{"epochs": 1', '"x"'])
def test_a_broken_file_of_config_is_named(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"run\.json"):
        read("--config", str(path))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--dataset", "officehom"], "Did you mean 'officehome'?"),
        (["--method", "ucdri"], "Did you mean 'ucdir'?"),
    ],
)
def test_a_usage_error_exits_with_2_and_one_line(tmp_path, arguments, sentence):
    done = subprocess.run(
        [sys.executable, "-m", "harness.tune", *arguments, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr
