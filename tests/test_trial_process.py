"""One way to run a trial: reused processes, resumed runs and orphans give the same figures."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature_pair import trial_config, write_pair

from harness.config import TrialConfig, from_json, to_json
from harness.datasets.frame_store import prepare
from harness.datasets.registry import open_dataset
from harness.training.checkpoint import TrialFiles, trial_folder
from harness.training.run_trial import run_trial
from harness.training.scored_trial import TrialData
from harness.training.views import frame_size

EPOCHS = 3


class Killed(BaseException):
    """Ends a process between two epochs."""


def files(storage, config, token="run"):
    return TrialFiles(trial_folder(storage, config.trial_id), token)


def to_the_end(config, data, storage, token="run"):
    """Every report without its seconds, and how often the trial reported."""
    calls = []
    record = run_trial(config, data, lambda r: calls.append(0), files(storage, config, token))
    assert record.status == "finished"
    return told(record), len(calls)


def told(record):
    return [replace(report, seconds=0.0).to_json() for report in record.epochs.values()]


def killed_after(epoch, config, data, storage, token="run"):
    """Runs a trial until its process dies, after the report of an epoch."""
    seen = []

    def die(record):
        seen[:] = told(record)
        if max(record.epochs) == epoch:
            raise Killed

    with pytest.raises(Killed):
        run_trial(config, data, die, files(storage, config, token))
    return seen


def snapshots(storage, config):
    """Bytes of the weights and embeddings that a trial hands over."""
    folder = trial_folder(storage, config.trial_id)
    names = {".safetensors", ".npy"}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in names}


def fresh(folder: Path) -> None:
    """What a fresh process makes of the trial in ``config.json``; leaves ``fresh.json``."""
    index = open_dataset("folder", folder / "tiny", folder / "cache")
    names = [domain.name for domain in index.domains]
    index = prepare(index, names, frame_size(32), folder / "cache")
    config = from_json(TrialConfig, (folder / "config.json").read_text())
    reports, _ = to_the_end(config, TrialData(index, folder / "cache"), folder / "fresh")
    (folder / "fresh.json").write_text(json.dumps(reports))


def test_a_trial_in_a_reused_process_is_that_of_a_fresh_one(tmp_path):
    """Draws from a global generator, cached modules or leftover threads would tell them apart."""
    index, cache = write_pair(tmp_path)
    config = trial_config("ucdir", index, "close", epochs=EPOCHS)
    other = replace(
        config,
        trial_id=f"{config.trial_id}x",
        seed=config.seed + 1,
        params={**config.params, "K": 2, "lr": 0.1},
    )
    (tmp_path / "config.json").write_text(to_json(config))
    script = f"import test_trial_process as t; t.fresh(t.Path({str(tmp_path)!r}))"
    alone = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parent)
    to_the_end(other, TrialData(index, cache), tmp_path / "reused")
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state that must not matter
    reused, _ = to_the_end(config, TrialData(index, cache), tmp_path / "reused")
    assert alone.wait(timeout=120) == 0
    assert reused == json.loads((tmp_path / "fresh.json").read_text())
    kept = snapshots(tmp_path / "reused", config)
    assert len(kept) >= 3
    assert kept == snapshots(tmp_path / "fresh", config)


def test_another_process_goes_on_from_the_last_epoch_with_the_same_figures(tmp_path):
    """Whether Tune tries again (same run) or the command is given again (another run).

    The process that takes over reports all epochs so far, because a driver that was killed has
    none of them.
    """
    index, cache = write_pair(tmp_path)
    config = trial_config("ucdir", index, "close", epochs=EPOCHS)
    data = TrialData(index, cache)
    whole, calls = to_the_end(config, data, tmp_path / "whole")
    assert calls == EPOCHS + 1
    for token in ("run", "later"):
        storage = tmp_path / token
        assert killed_after(1, config, data, storage) == whole[:2]
        reports, calls = to_the_end(config, data, storage, token)
        # Epoch 2 and 3 are left; the untrained state and epoch 1 come with the first of them.
        assert calls == 2
        assert reports == whole
        assert snapshots(storage, config) == snapshots(tmp_path / "whole", config)


def test_an_orphan_of_a_killed_run_does_not_touch_the_next_runs_checkpoints(tmp_path):
    """With one file name for both runs the orphan would set the next run back an epoch."""
    index, cache = write_pair(tmp_path)
    config = trial_config("ucdir", index, "close", epochs=EPOCHS)
    data = TrialData(index, cache)
    storage = tmp_path / "storage"

    def orphan(record):
        """The killed run's process, which lives on after its first report."""
        if max(record.epochs) == 0:
            killed_after(1, config, data, storage, "next")

    def stop_early(record):
        orphan(record)
        return max(record.epochs) == 1

    run_trial(config, data, stop_early, files(storage, config, "killed"))
    folder = trial_folder(storage, config.trial_id)
    kept = sorted(path.name for path in folder.glob("*.pt"))
    assert kept == ["000001.killed.pt", "000001.next.pt"]
    _, calls = to_the_end(config, data, storage, "next")
    assert calls == 2


def test_whatever_stops_a_training_is_what_became_of_it(tmp_path):
    index, cache = write_pair(tmp_path)
    config = trial_config("ucdir", index, "close")
    config = replace(config, params={**config.params, "nonsense": 1})
    record = run_trial(config, TrialData(index, cache))
    assert record.status == "failed"
    assert record.error_type
    assert record.error_frame.startswith("harness/")
    assert not record.epochs


def test_a_true_answer_stops_a_trial_early(tmp_path):
    index, cache = write_pair(tmp_path)
    config = trial_config("ucdir", index, "close", epochs=EPOCHS)
    record = run_trial(config, TrialData(index, cache), lambda r: max(r.epochs) == 1)
    assert (record.status, sorted(record.epochs)) == ("pruned", [0, 1])
