"""The process that trains, driven by hand as Tune does it, without Ray."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from miniature_pair import trial_config, write_pair

from harness.config import TrialConfig, from_json, to_json
from harness.datasets.frame_store import prepare
from harness.datasets.registry import open_dataset
from harness.search.trial_process import RunInfo, TrialProcess
from harness.training.checkpoint import trial_folder
from harness.training.report import EpochReport
from harness.training.scored_trial import TrialData
from harness.training.views import frame_size

EPOCHS = 3


def new_process(config, data, storage, token="run"):
    """A process on its first trial; the base class's constructor would ask for Ray."""
    process = TrialProcess.__new__(TrialProcess)
    process.setup({"trial": to_json(config)}, data, RunInfo(storage, token))
    return process


def to_the_end(process):
    """The trial's steps, as the driver receives them."""
    results = [process.step()]
    while not results[-1]["done"]:
        results.append(process.step())
    return results


def reports(results):
    """Every report without its seconds; after a restart the first step brings all so far."""
    texts = [text for result in results for text in json.loads(result["reports"])]
    return [replace(EpochReport.from_json(text), seconds=0.0).to_json() for text in texts]


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
    process = new_process(config, TrialData(index, folder / "cache"), folder / "fresh")
    (folder / "fresh.json").write_text(json.dumps(reports(to_the_end(process))))


def test_f11_a_trial_in_a_reused_process_is_that_of_a_fresh_one(tmp_path):
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
    process = new_process(other, TrialData(index, cache), tmp_path / "reused")
    to_the_end(process)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state that must not matter
    assert process.reset_config({"trial": to_json(config)})
    reused = reports(to_the_end(process))
    assert alone.wait(timeout=120) == 0
    assert reused == json.loads((tmp_path / "fresh.json").read_text())
    held = snapshots(tmp_path / "reused", config)
    assert len(held) >= 3
    assert held == snapshots(tmp_path / "fresh", config)


def test_f3_f12_another_process_goes_on_from_the_last_epoch_with_the_same_figures(tmp_path):
    """Whether Tune tries again (same run) or the command is given again (another run).

    The process that takes over sends all reports so far, because a driver that was killed has none.
    """
    index, cache = write_pair(tmp_path)
    config = trial_config("ucdir", index, "close", epochs=EPOCHS)
    data = TrialData(index, cache)
    whole = reports(to_the_end(new_process(config, data, tmp_path / "whole")))
    for token in ("run", "later"):
        storage = tmp_path / token
        first = new_process(config, data, storage)
        begun = reports([first.step(), first.step()])
        assert begun == whole[:2]
        results = to_the_end(new_process(config, data, storage, token))
        # Epoch 2 and 3 are left; the untrained state and epoch 1 come with the first of them.
        assert len(results) == 2
        assert reports(results) == whole
        assert snapshots(storage, config) == snapshots(tmp_path / "whole", config)


def test_f3_an_orphan_of_a_killed_run_does_not_touch_the_next_runs_checkpoints(tmp_path):
    """With one file name for both runs the orphan would set the next run back an epoch."""
    index, cache = write_pair(tmp_path)
    config = trial_config("ucdir", index, "close", epochs=EPOCHS)
    data = TrialData(index, cache)
    orphan = new_process(config, data, tmp_path / "storage", "killed")
    orphan.step()
    successor = new_process(config, data, tmp_path / "storage", "next")
    successor.step()
    successor.step()
    orphan.step()
    folder = trial_folder(tmp_path / "storage", config.trial_id)
    held = sorted(path.name for path in folder.glob("*.pt"))
    assert held == ["000001.killed.pt", "000002.next.pt"]
    assert to_the_end(successor)[-1]["done"]
