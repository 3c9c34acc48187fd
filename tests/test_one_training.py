"""One training without Ray: how it ends and what it leaves."""

import io
import math

import pandas as pd
import pytest
from in_process_search import write_domains
from rich.console import Console

from harness.command_line import DONE, TRIAL_FAILED
from harness.commands.train import run_train_command
from harness.options import TrainOptions
from harness.training import scored_trial


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("data") / "tree", domains=2)


def train(data, out):
    """Exit code, what was shown, and the rows of the trial's file."""
    options = TrainOptions(
        dataset="folder",
        data_root=data,
        cache_dir=data.parent / "cache",
        out=out,
        method=("instance",),
        backbone="test_resnet",
        image_size=32,
        batch_size=8,
        epochs=3,
    )
    shown = Console(file=io.StringIO(), width=200)
    code = run_train_command(options, shown)
    return code, shown.file.getvalue(), pd.read_parquet(out / "tree" / "trials")


def test_a_training_ends_as_finished_with_its_picks(data, tmp_path):
    code, _, rows = train(data, tmp_path)
    assert code == DONE
    assert set(rows["status"]) == {"finished"}
    assert set(rows["epoch"]) == {0, 1, 2, 3}
    assert list((tmp_path / "tree" / "picks").glob("*.safetensors"))


def test_an_objective_that_is_not_finite_ends_a_training_as_failed(data, tmp_path, monkeypatch):
    reported = iter([math.nan, 0.5, math.nan, 0.5])  # epoch 0 may be without one
    monkeypatch.setattr(scored_trial, "objective_value", lambda *arguments: next(reported))
    code, shown, rows = train(data, tmp_path)
    assert code == TRIAL_FAILED
    assert "NonFiniteObjective: mutual_nn is nan after epoch 2\n" in shown
    assert set(rows["status"]) == {"failed"}
    assert set(rows["epoch"]) == {0, 1, 2}
    assert set(rows["error_type"]) == {"NonFiniteObjective"}
    assert not list((tmp_path / "tree" / "picks").glob("*"))
    failures = pd.read_parquet(tmp_path / "tree" / "failures.parquet")
    assert list(failures["error_type"]) == ["NonFiniteObjective"]
