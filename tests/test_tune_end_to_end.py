"""``python -m harness.tune`` and ``harness.train`` as a user runs them, on a miniature data set."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file

TIMING = ("seconds", "host", "git_commit", "versions", "device")


def write_tree(root: Path, per_class: int = 8) -> Path:
    """Three domains of three coloured shapes each."""
    rng = np.random.default_rng(0)
    for d, domain in enumerate(("Art", "Clip-Art", "Photo")):
        for c, name in enumerate(("red", "green", "blue")):
            folder = root / domain / name
            folder.mkdir(parents=True)
            for i in range(per_class):
                pixels = rng.integers(0, 60, (36, 36, 3)).astype(np.uint8)
                pixels[6 + d : 30, 8:28, c] = 190 + rng.integers(0, 60)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


class Project:
    """Runs the commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_tree(folder / "colours")

    def command(self, module: str, out: str, *arguments: str) -> list[str]:
        return [
            sys.executable, "-m", f"harness.{module}",
            "--dataset", "folder", "--data-root", str(self.data),
            "--cache-dir", str(self.folder / "cache"), "--out", str(self.folder / out),
            "--image-size", "32", "--batch-size", "8", *arguments,
        ]  # fmt: skip

    def run(self, module: str, out: str, *arguments: str, **options):
        return subprocess.run(
            self.command(module, out, *arguments),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=300,
            **options,
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


SEARCH = ("--pairs", "Art-Photo", "--epochs", "2", "--trials", "3", "--max-concurrent", "1")


@pytest.fixture(scope="module")
def searched(project):
    done = project.run("tune", "one", *SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def frame(project, out: str, kind: str) -> pd.DataFrame:
    return pd.read_parquet(project.folder / out / "colours" / kind)


def test_the_output_is_a_line_per_trial_and_the_boards(searched):
    lines = searched.stdout.splitlines()
    assert sum("finished" in line for line in lines) == 3
    assert sum(line.strip() in ("Art → Photo", "Photo → Art") for line in lines) == 2
    for noise in ("ray", "Traceback", "WARNING", "[I 20"):
        assert noise not in searched.stdout + searched.stderr


def test_boards_hold_metrics_in_percent_of_both_directions(project, searched):
    board = frame(project, "one", "leaderboard")
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
    trials = frame(project, "one", "trials")
    assert (trials.groupby("trial_id").size() == 6).all()
    assert set(trials["epoch"]) == {0, 1, 2}
    assert trials["validator.mutual_nn"].notna().all()
    trained = trials[trials["epoch"] > 0]
    assert trained["loss.instance_contrast"].notna().all()
    # The cluster-wise term has weight 0 in the first epoch.
    last = trials[trials["epoch"] == 2]
    assert last["loss.cluster_contrast.pass_rate"].between(0, 1).all()


def test_picks_keep_weights_and_embeddings(project, searched):
    board = frame(project, "one", "leaderboard")
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
            frame(project, out, kind).drop(columns=list(TIMING), errors="ignore").sort_values(keys)
            for out in ("one", "two")
        ]
        pd.testing.assert_frame_equal(
            frames[0].reset_index(drop=True), frames[1].reset_index(drop=True), check_exact=True
        )


def test_train_gives_the_numbers_of_the_same_trial_under_tune(project, searched):
    done = project.run("train", "single", "--pairs", "Art-Photo", "--epochs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    under_tune = frame(project, "one", "trials").query("number == 0")
    alone = frame(project, "single", "trials")
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


def test_a_killed_search_goes_on_and_counts_every_trial_once(project):
    arguments = (
        "--pairs", "all", "--epochs", "4", "--trials", "3", "--max-concurrent", "2",
    )  # fmt: skip
    trials = project.folder / "killed" / "colours" / "trials"
    for at_least in (1, 4):
        process = subprocess.Popen(
            project.command("tune", "killed", *arguments),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 120
        while len(list(trials.glob("*/*.parquet"))) < at_least:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = project.run("tune", "killed", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = frame(project, "killed", "trials").drop_duplicates("trial_id")
    counts = ended.groupby(ended["trial_id"].str.split(".").str[1]).size()
    assert (counts == 3).all()
    assert len(counts) == 3
    for _, group in ended.groupby(ended["trial_id"].str.split(".").str[1]):
        assert not group.duplicated(["K", "tau", "lambda_dd", "lambda_se"]).any()
    assert not list((project.folder / "killed" / "colours" / "in_flight").iterdir())
