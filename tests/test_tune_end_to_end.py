"""``python -m harness.tune`` and ``harness.train`` as a user runs them, on a miniature data set."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_runs import Project
from safetensors.torch import load_file

from harness.datasets.frame_store import pair_frames
from harness.datasets.registry import open_dataset
from harness.training.views import evaluation_view, frame_size

TIMING = ("seconds", "host", "git_commit", "command_line", "versions", "device")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


SEARCH = ("--pairs", "Art-Photo", "--epochs", "2", "--trials", "3", "--max-concurrent", "1")


@pytest.fixture(scope="module")
def searched(project):
    done = project.run("tune", "one", *SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


LEFT = (
    r"\.driver\.lock",
    r"config/ucdir-\w{8}\.json",
    r"dataset\.json",
    r"failures\.parquet",
    r"leaderboard/(Art-Photo|Photo-Art)\.parquet",
    r"picks/ucdir-\w{8}\.Art-Photo\.000[0-2]@[12]\.(a\.npy|b\.npy|safetensors)",
    r"study\.db",
    r"trials/Art-Photo/ucdir-\w{8}\.Art-Photo\.000[0-2]\.parquet",
    r"validators\.parquet",
)
"""Every file that a finished search leaves, below ``<out>/<dataset>``."""


def test_the_output_is_a_line_per_trial_and_the_boards(searched):
    """Tune by itself prints two boxes a trial and, even when silenced, whole tracebacks."""
    lines = searched.stdout.splitlines()
    assert sum("finished" in line for line in lines) == 3
    assert sum(line.strip() in ("Art → Photo", "Photo → Art") for line in lines) == 2
    assert searched.stderr == ""
    for noise in ("ray", "Traceback", "WARNING", "[I 20", "╭"):
        assert noise not in searched.stdout


def test_a_finished_search_leaves_its_results_and_nothing_else(project, searched):
    """Tune by itself leaves five files a trial, tuner.pkl, experiment_state-*.json and more."""
    root = project.results("one")
    files = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    assert [name for name in files if not any(re.fullmatch(held, name) for held in LEFT)] == []
    assert all(any(re.fullmatch(held, name) for name in files) for held in LEFT)
    assert [path.name for path in (project.folder / "one").iterdir()] == ["colours"]
    assert list((root / "storage").iterdir()) == []
    assert [path.name for path in project.home.iterdir() if path.name != ".cache"] == []


def test_boards_hold_metrics_in_percent_of_both_directions(project, searched):
    board = project.frame("one", "leaderboard")
    assert set(zip(board["query"], board["gallery"], strict=True)) == {
        ("Art", "Photo"),
        ("Photo", "Art"),
    }
    assert {"last", "label_free:mutual_nn", "paper", "oracle", "floor", "chance"} <= set(
        board["protocol"]
    )
    for name in (n for n in board if n.startswith(("P@", "mAP")) and not n.endswith(".std")):
        assert board[name].dropna().between(0, 100).all()
    assert board.loc[board["kind"] == "trained", "config_json"].map(json.loads).notna().all()


def test_trial_files_hold_every_epoch_in_both_directions(project, searched):
    trials = project.frame("one", "trials")
    assert (trials.groupby("trial_id").size() == 6).all()
    assert set(trials["epoch"]) == {0, 1, 2}
    assert trials["validator.mutual_nn"].notna().all()
    trained = trials[trials["epoch"] > 0]
    assert trained["loss.instance_contrast"].notna().all()
    # The cluster-wise term has weight 0 in the first epoch.
    last = trials[trials["epoch"] == 2]
    assert last["loss.cluster_contrast.pass_rate"].between(0, 1).all()


def test_picks_keep_weights_and_embeddings(project, searched):
    board = project.frame("one", "leaderboard")
    row = board[board["protocol"] == "last"].iloc[0]
    stem = project.folder / "one" / "colours" / "picks" / f"{row['trial_id']}@{row['epoch']}"
    weights = load_file(f"{stem}.safetensors")
    assert any(name.startswith("backbone.") for name in weights)
    z_ND = np.load(f"{stem}.a.npy")
    assert z_ND.shape == (24, 128)
    assert np.allclose(np.linalg.norm(z_ND, axis=1), 1, atol=1e-5)
    held = {path.name.partition("@")[0] for path in stem.parent.iterdir()}
    assert held <= set(board["trial_id"].dropna())


def test_the_same_seed_gives_the_same_boards_bit_for_bit(project, searched):
    again = project.run("tune", "two", *SEARCH)
    assert again.returncode == 0, again.stderr
    for kind, keys in (
        ("leaderboard", ["query", "gallery", "protocol", "study_id"]),
        ("trials", ["trial_id", "epoch", "query"]),
    ):
        frames = [
            project.frame(out, kind).drop(columns=list(TIMING), errors="ignore").sort_values(keys)
            for out in ("one", "two")
        ]
        pd.testing.assert_frame_equal(
            frames[0].reset_index(drop=True), frames[1].reset_index(drop=True), check_exact=True
        )


def test_train_gives_the_numbers_of_the_same_trial_under_tune(project, searched):
    done = project.run("train", "single", "--pairs", "Art-Photo", "--epochs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    under_tune = project.frame("one", "trials").query("number == 0")
    alone = project.frame("single", "trials")
    columns = [
        name
        for name in alone
        if name.startswith(("P@", "mAP", "validator.", "loss.")) or name == "epoch"
    ]
    keys = ["epoch", "query"]
    pd.testing.assert_frame_equal(
        alone.sort_values(keys)[columns].reset_index(drop=True),
        under_tune.sort_values(keys)[columns].reset_index(drop=True),
        check_exact=True,
    )


def test_every_pick_is_taken_home_by_the_lines_of_the_docs(project, searched):
    """And embeds the study's own images as it did there."""
    root = project.folder / "one" / "colours"
    docs = (Path(__file__).parents[1] / "docs" / "weights.md").read_text()
    (lines,) = re.findall(r"```python\n(from models.encoder import load_encoder.*?)```", docs, re.S)
    board = pd.read_parquet(root / "leaderboard").query("kind == 'trained'")
    index = open_dataset("folder", project.data, project.folder / "cache")
    frames = pair_frames(
        index, ("Art", "Photo"), "close", 0, frame_size(32), project.folder / "cache"
    )
    for row in board.drop_duplicates(["trial_id", "epoch"]).itertuples():
        stem = f"{row.trial_id}@{row.epoch}"
        taken = lines.replace("results/shapes/picks/TRIAL_ID@EPOCH", str(root / "picks" / stem))
        for side, domain in zip("ab", frames, strict=True):
            names = {"x_B3SS": evaluation_view(domain.frames_N3FF, domain.size_N2, 32)}
            with torch.inference_mode():
                exec(taken, names)
            stored_ND = np.load(root / "picks" / f"{stem}.{side}.npy")
            assert np.allclose(names["z_BD"].numpy(), stored_ND, atol=1e-5)
