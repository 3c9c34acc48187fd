"""Attaching to a Ray cluster: a real one, of two raylets on this machine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from image_trees import write_tree

from harness.cluster.connect import PACKAGES, connect, package_folder, refusal, shipped_code
from harness.cluster.nodes import NodeView, look, node_notes
from harness.datasets.frame_store import open_frames
from harness.datasets.registry import ensure_generated, open_dataset
from harness.errors import UsageError

PROJECT = Path(__file__).resolve().parents[1]
TOKEN = "0123456789abcdef" * 4
ATTACH = """
import sys
from harness.command_line import run
from harness.cluster.connect import connect
run(lambda arguments: 0 * connect(*arguments))
"""
# What a worker sees, and a search whose nodes share no storage.
DRIVER = """
import json, sys
from dataclasses import replace
from pathlib import Path

from harness.cluster.connect import connect  # before ray
import ray

from harness.options import TuneOptions
from harness.search.driver import SearchDriver
from harness.cluster.nodes import probe_nodes
from harness.cluster.tune_run import run_search
from harness.plan.samplers import describe_sampler
from harness.plan.studies import prepare_studies
from harness.cluster.trial_process import train_under_tune


def with_storage_of_its_node(config, data, run):
    node = ray.get_runtime_context().get_node_id()
    train_under_tune(config, data, replace(run, storage=run.storage / node))


address, tree, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
connect(address)
probed = [vars(view) for view in probe_nodes(out / "probed", tree)]


@ray.remote(num_cpus=0)
def origin():
    import harness

    return harness.__file__


prepared = prepare_studies(
    TuneOptions(
        dataset="folder", data_root=tree, backbone="test_resnet", image_size=32, epochs=2, out=out
    ),
    trials=2,
    sampler=describe_sampler("random"),
)
prepared.store.open_for_writing(prepared.data.index)
driver = SearchDriver(
    prepared.plans,
    prepared.pairs,
    prepared.data.index,
    prepared.store,
    prepared.storage,
    prepared.context,
)
notes = []
run_search(
    driver,
    prepared.data,
    prepared.storage,
    cpus_per_trial=1,
    gpus_per_trial=0,
    max_concurrent=None,
    address=address,
    on_note=notes.append,
    trainable=with_storage_of_its_node,
)
driver.finish()
prepared.store.close()
print(json.dumps({"probed": probed, "origin": ray.get(origin.remote()), "notes": notes}))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(folder: str) -> set[int]:
    """Everything alive that was started with this folder as Ray's: the cluster and its children."""
    mark = f"RAY_TMPDIR={folder}".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
        except (OSError, ProcessLookupError):
            continue
    return found


@dataclass(frozen=True)
class RunningCluster:
    address: str
    raylet: int
    dashboard: str
    environment: dict[str, str]
    tree: Path

    def run(self, *command, cwd=PROJECT, **changes):
        return subprocess.run(
            [str(part) for part in command],
            env=self.environment | changes,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def tune(self, out, *flags):
        return [
            *(sys.executable, "-m", "harness.tune", "--dataset", "folder"),
            *("--data-root", str(self.tree), "--out", str(out), "--backbone", "test_resnet"),
            *("--image-size", "32", *flags),
        ]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tempfile.mkdtemp(prefix="rc")  # short: it holds sockets
    home = tmp_path_factory.mktemp("home")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))} | {
        "HOME": str(home),
        "RAY_TMPDIR": folder,
        "RAY_AUTH_TOKEN_PATH": str(home / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "HARNESS_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
    }
    (home / "token").write_text(TOKEN)
    port = free_port()
    tree = write_tree(
        tmp_path_factory.mktemp("data") / "tree",
        ["Art/Bed", "Art/Cup", "Clip/Bed", "Clip/Cup"],
        images=8,
    )
    process = subprocess.Popen(
        [
            sys.executable,
            str(PROJECT / "tests" / "two_node_cluster.py"),
            str(port),
            str(free_port()),
        ],
        env=environment | {"RAY_AUTH_MODE": "token"},
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        started = json.loads(process.stdout.readline())
        yield RunningCluster(
            **started, dashboard=f"http://127.0.0.1:{port}", environment=environment, tree=tree
        )
    finally:
        deadline = time.monotonic() + 20
        while (left := processes_of(folder)) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.2)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        assert not left


def trial_files(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "tree" / "trials")


def ended_trials(out: Path) -> pd.DataFrame:
    """One row per trial; refuses an epoch that stands in the files twice."""
    rows = trial_files(out)
    assert not rows.duplicated(["trial_id", "query", "epoch"]).any()
    return rows.groupby("trial_id").agg(
        status=("status", "first"), attempts=("attempts", "max"), epoch=("epoch", "max")
    )


@pytest.mark.parametrize("mismatch", ["wrong_token", "no_token"])
def test_a_token_the_cluster_does_not_know_is_one_sentence_and_exit_2(cluster, tmp_path, mismatch):
    if mismatch == "wrong_token":
        (tmp_path / "token").write_text("f" * 64)
    changes = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    started = time.monotonic()
    done = cluster.run(sys.executable, "-c", ATTACH, cluster.address, **changes)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"error: The Ray cluster at {cluster.address} does not accept")
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert time.monotonic() - started < 45


def test_the_token_is_presented_to_an_address_without_ray_auth_mode(cluster):
    assert "RAY_AUTH_MODE" not in cluster.environment
    done = cluster.run(sys.executable, "-c", ATTACH, cluster.address)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_local_run_leaves_no_token_that_later_clusters_would_demand(cluster, tmp_path):
    with tempfile.TemporaryDirectory(prefix="rc", ignore_cleanup_errors=True) as folder:
        changes = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": "", "RAY_TMPDIR": folder}
        done = cluster.run(sys.executable, "-c", ATTACH, "local", **changes)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".ray" / "auth_token").exists()


def test_nodes_without_common_storage_run_the_shipped_code_and_say_what_is_lost(cluster, tmp_path):
    command = (sys.executable, "-c", DRIVER, cluster.address, cluster.tree, tmp_path)
    # Not from the checkout: Ray puts the driver's folder on the path of its workers.
    done = cluster.run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    host = socket.gethostname()
    assert said["probed"] == [{"host": host, "storage": "shared", "has_images": True}] * 2
    assert not list((tmp_path / "probed").iterdir())
    # Not the package that this interpreter has installed: what the driver shipped.
    assert "py_modules_files" in said["origin"]
    assert said["notes"] == []
    assert list(ended_trials(tmp_path)["status"]) == ["finished"] * 2
    assert not list((tmp_path / "tree" / "picks").glob("*.safetensors"))
    board = pd.read_parquet(tmp_path / "tree" / "leaderboard")
    assert set(board.loc[board["kind"] == "trained", "protocol"]) >= {"last", "oracle"}


def test_a_submitted_job_searches_on_the_cluster(cluster, tmp_path):
    done = cluster.run(
        *(Path(sys.executable).parent / "ray", "job", "submit", "--address", cluster.dashboard),
        *("--working-dir", ".", "--"),
        *cluster.tune(tmp_path, "--trials", "1", "--epochs", "2"),
        RAY_AUTH_MODE="token",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1/1" in done.stdout
    assert len(ended_trials(tmp_path)) == 1
    board = pd.read_parquet(tmp_path / "tree" / "leaderboard")
    assert set(board["query"]) == {"Art", "Clip"}


def test_a_node_that_dies_costs_its_trials_a_retry_and_nothing_else(cluster, tmp_path):
    epochs = 50
    search = subprocess.Popen(
        cluster.tune(
            *(tmp_path, "--trials", "2", "--epochs", str(epochs), "--address", cluster.address),
        ),
        env=cluster.environment,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    storage = tmp_path / "tree" / "storage"
    deadline = time.monotonic() + 200
    while len({path.parent for path in storage.glob("*/*.pt")}) < 2:
        assert search.poll() is None, search.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(cluster.raylet, signal.SIGKILL)
    said, _ = search.communicate(timeout=200)
    assert search.returncode == 0, said
    ended = ended_trials(tmp_path)
    assert len(ended) == 2
    assert sorted(ended["attempts"]) == [1, 2]
    assert set(ended["status"]) <= {"finished", "pruned"}
    assert (ended["status"] == "finished").any()
    rows = trial_files(tmp_path)
    for (trial_id, _), of_direction in rows.groupby(["trial_id", "query"]):
        assert list(of_direction["epoch"]) == list(range(ended.loc[trial_id, "epoch"] + 1))


def test_an_address_where_nothing_listens_is_refused_at_once():
    port = free_port()
    started = time.monotonic()
    with pytest.raises(UsageError, match=f"No Ray cluster answers at .*:{port}.*ray start --head"):
        connect(f"127.0.0.1:{port}")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("ray://head:10001", "ray job submit"), ("head", "none of local, auto and HOST:PORT")],
)
def test_an_address_that_is_none_is_refused(address, sentence):
    with pytest.raises(UsageError, match=sentence):
        connect(address)


def test_an_error_of_ray_becomes_one_sentence_with_its_reason():
    error = ConnectionError("Failed to connect")
    error.__cause__ = RuntimeError("Version mismatch:\n  the cluster has Ray 2.58.0")
    sentence = refusal("head:6379", error)
    assert "Version mismatch: the cluster has Ray 2.58.0" in sentence
    assert "\n" not in sentence


def test_only_the_packages_are_shipped():
    shipped = [Path(folder) for folder in shipped_code()["py_modules"]]
    assert [folder.name for folder in shipped] == list(PACKAGES)
    sizes = [
        path.stat().st_size
        for folder in shipped
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(sizes) < 5e6
    assert package_folder("harness") == PROJECT / "harness"


def test_notes_name_the_machines_and_what_is_lost():
    views = [
        NodeView("one", "shared", True),
        NodeView("two", "apart", True),
        NodeView("three", "apart", False),
        None,
    ]
    apart, missing, silent = node_notes(views, Path("/ckpt"), Path("/data"))
    assert "on three, two do" in apart
    assert "restart at epoch 0" in apart
    assert re.search("/data is missing on three:", missing)
    assert silent.startswith("1 of 4 nodes")
    assert node_notes(views[:1], Path("/ckpt"), Path("/data")) == []
    with pytest.raises(UsageError, match="cannot be written on four"):
        node_notes([NodeView("four", "unwritable", True)], Path("/ckpt"), Path("/data"))


def test_a_node_tells_the_drivers_storage_from_another_of_that_name(tmp_path):
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers" / "token").touch()
    assert look(tmp_path / "drivers", "token", tmp_path).storage == "shared"
    assert look(tmp_path / "own", "token", tmp_path).storage == "apart"
    (tmp_path / "file").touch()
    assert look(tmp_path / "file" / "below", "token", tmp_path).storage == "unwritable"
    assert not look(tmp_path / "own", "token", tmp_path / "nowhere").has_images


def test_a_machine_without_the_data_root_says_so_and_recovers_once_it_is_there(tmp_path):
    tree = write_tree(tmp_path / "tree", ["Art/Bed", "Clip/Bed"])
    index = open_dataset("folder", tree, tmp_path / "cache_of_driver")
    elsewhere = replace(index, root=tmp_path / "mounted_later")
    cache = tmp_path / "cache_of_node"
    with pytest.raises(UsageError, match=f"mounted_later is missing on {socket.gethostname()}"):
        open_frames(elsewhere, "Art", 32, cache)
    tree.rename(tmp_path / "mounted_later")
    assert len(open_frames(elsewhere, "Art", 32, cache)) == 2


def test_only_generated_images_are_drawn_where_they_are_missing(tmp_path):
    tree = write_tree(tmp_path / "tree", ["Art/Bed", "Clip/Bed"])
    index = open_dataset("folder", tree, tmp_path / "cache")
    ensure_generated(replace(index, root=tmp_path / "nowhere"), tmp_path / "cache")
    assert not (tmp_path / "nowhere").exists()
