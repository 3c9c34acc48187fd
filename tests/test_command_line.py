import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.command_line import parse
from harness.config import plain
from harness.errors import UsageError
from harness.lists import Lists
from harness.options import CompareOptions, TrainOptions, TuneOptions


def read(*arguments: str) -> TuneOptions:
    return parse(TuneOptions, Lists, arguments, prog="tune", description="")[0]


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
        (["--seed", "2.0"], "'2.0' is no whole number"),
        (["--set"], "--set requires at least 1"),
        (["--method", "--trials", "3"], "--method requires at least 1"),
        (["--skip-unreadable", "yes"], "'yes' belongs to no flag"),
        (["--no-skip-unreadable"], "Did you mean '--skip-unreadable'?"),
        (["--helb"], "Did you mean '--help'?"),
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
    options, _ = parse(TrainOptions, Lists, ["--config", str(path)], prog="train", description="")
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


def test_help_is_grouped_and_says_what_the_data_sets_decide():
    done = subprocess.run(
        [sys.executable, "-m", "harness.tune", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0
    groups = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("╭")]
    assert groups == ["Data", "Method", "Search", "Machine", "Output"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    decided = next(line for line in done.stdout.splitlines() if line.startswith("  officehome"))
    assert decided.split() == ["officehome", "resnet50", "timm", "224", "64", "200", "20", "all"]
    for words in ("--set NAME=VALUE...", "[default: by data set]", "[default: tpe]"):
        assert words in done.stdout
    assert "[default: ]" not in done.stdout
    assert "Examples:" in done.stdout


def test_a_reader_of_the_help_may_leave_early():
    command = f"set -o pipefail; {sys.executable} -m harness.tune --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_and_wrong_flags_need_neither_torch_nor_ray():
    script = (
        "import sys\nfrom harness.tune import main\n"
        "try:\n    main([sys.argv[1]])\nexcept (SystemExit, Exception):\n    pass\n"
        "print([name for name in ('torch', 'ray', 'optuna') if name in sys.modules])"
    )
    for flag in ("--help", "--no-such-flag"):
        done = subprocess.run(
            [sys.executable, "-c", script, flag], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


def test_a_toml_file_reads_as_a_json_file_does(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('epochs = 7\nmethod = ["instance"]\nskip_unreadable = true\nout = "there"\n')
    options = read("--config", str(path), "--trials", "2")
    assert (options.epochs, options.method, options.trials) == (7, ("instance",), 2)
    assert (options.skip_unreadable, options.out) == (True, Path("there"))
    path.write_text("epochs = 7\nepochz = 3\n")
    with pytest.raises(UsageError, match=r"unknown key 'epochz'\. Did you mean 'epochs'"):
        read("--config", str(path))


def test_values_that_look_like_flags_or_markup_are_values():
    options = read("--out", "x[/b]", "--set", "a=-0.5", "b=100%", "--seed", "-3", "--pairs=A-B")
    assert options.out == Path("x[/b]")
    assert (options.set, options.seed, options.pairs) == (("a=-0.5", "b=100%"), -3, "A-B")


def test_what_a_run_has_written_reads_back_equal(tmp_path):
    arguments = ["--epochs", "3", "--set", "K=3", "tau=0.1", "--data-root", "d", "--retry-failed"]
    arguments += ["--methods", "uem,ucdir", "--seed", "-4", "--gpus-per-trial", "1"]
    given, _ = parse(CompareOptions, Lists, arguments, prog="compare", description="")
    path = tmp_path / "run.json"
    path.write_text(json.dumps(plain(given)))
    arguments = ["--config", str(path)]
    again, _ = parse(CompareOptions, Lists, arguments, prog="compare", description="")
    assert again == dataclasses.replace(given, config=path)


def test_the_file_of_a_run_of_the_version_before_is_read():
    path = Path(__file__).parent / "golden/results_v1/shapes/config/ucdir-ed14b27b.json"
    options = read("--config", str(path))
    written = json.loads(path.read_text())
    assert written.pop("warm_start") is False
    assert plain(options) == {**written, "config": str(path)}


def test_several_values_of_a_flag_replace_those_of_the_file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"set": ["K=3", "tau=0.1"], "space": ["lr=0.1:1"], "skip_unreadable": false}')
    options = read("--config", str(path), "--set", "K=5", "--skip-unreadable")
    assert (options.set, options.space) == (("K=5",), ("lr=0.1:1",))
    assert options.skip_unreadable


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (UsageError("Bring data."), 2, "error: Bring data.\n"),
        (KeyboardInterrupt(), 130, "Interrupted. "),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_the_exit_code_says_how_a_command_ended(outcome, code, said):
    script = (
        "import sys\nfrom harness.command_line import run\nfrom harness.errors import UsageError\n"
        f"def main(arguments):\n    raise {outcome!r}\nrun(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


def test_of_a_single_value_given_twice_the_last_one_counts():
    options = read("--epochs", "2", "--set", "K=3", "--epochs", "5", "--set", "tau=0.1")
    assert (options.epochs, options.set) == (5, ("K=3", "tau=0.1"))
