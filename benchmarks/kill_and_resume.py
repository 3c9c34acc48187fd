"""Kills a search at a random moment, runs the same command again, and counts: ten times in a row.

    python benchmarks/kill_and_resume.py --rounds 10

Every round starts an empty results folder and sends SIGKILL to the driver's whole process group at
a random moment, told by the progress on disk so that it does not depend on the load of the machine:
the first sixth of a search is its start, the rest goes by trained epochs and a random part of the
next. The rounds share a search evenly among them, so that the start is among the moments. Then the
same command runs once more to its end, and there must be exactly ``--trials`` ended trials per
pair, none twice, all settings distinct, no epoch twice, nothing left in flight, and no trial
RUNNING in ``study.db``.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

PAIRS, TRIALS, EPOCHS = ("a-b", "a-c"), 4, 6
SETTINGS = ["K", "tau", "lambda_dd", "lambda_se"]
START_SHARE = 1 / 6


def write_images(root: Path) -> None:
    """Three domains of three coloured squares each."""
    rng = np.random.default_rng(0)
    for domain in ("a", "b", "c"):
        for channel in range(3):
            folder = root / domain / str(channel)
            folder.mkdir(parents=True)
            for number in range(10):
                pixels = rng.integers(0, 80, (36, 36, 3)).astype(np.uint8)
                pixels[6:30, 6:30, channel] = 200
                Image.fromarray(pixels).save(folder / f"{number}.png")


def command(root: Path, out: Path, cache: Path) -> list[str]:
    return [
        sys.executable, "-m", "harness.tune", "--dataset", "folder", "--data-root", str(root),
        "--pairs", ",".join(PAIRS), "--out", str(out), "--cache-dir", str(cache),
        "--image-size", "32", "--batch-size", "10", "--epochs", str(EPOCHS),
        "--trials", str(TRIALS), "--max-concurrent", "2",
    ]  # fmt: skip


def trained_epochs(results: Path) -> int:
    """Epochs behind a search by what lies on disk; an ended trial counts as all of its epochs."""
    ended = {path.stem for path in results.glob("trials/*/*.parquet")}
    reached: dict[str, int] = {}
    for path in results.glob("storage/*/*.pt"):
        epoch = int(path.name.partition(".")[0])
        reached[path.parent.name] = max(epoch, reached.get(path.parent.name, 0))
    running = sum(epoch for trial, epoch in reached.items() if trial not in ended)
    return len(ended) * EPOCHS + running


def states(results: Path) -> dict[str, int]:
    """How many trials of which state are in study.db."""
    if not (results / "study.db").exists():
        return {}
    with closing(sqlite3.connect(results / "study.db")) as connection:
        return dict(connection.execute("SELECT state, COUNT(*) FROM trials GROUP BY state"))


def problems(results: Path) -> list[str]:
    """What is wrong with the results; nothing, if all is well."""
    rows = pd.read_parquet(results / "trials")
    rows["pair"] = rows["trial_id"].str.split(".").str[1]
    ended = rows.drop_duplicates("trial_id")
    found = [
        f"{count} ended trials of {pair}"
        for pair, count in ended.groupby("pair").size().reindex(PAIRS, fill_value=0).items()
        if count != TRIALS
    ]
    if ended.duplicated(["pair", *SETTINGS]).any():
        found.append("a setting twice")
    if rows.duplicated(["trial_id", "query", "epoch"]).any():
        found.append("an epoch twice")
    if set(ended["status"]) - {"finished", "pruned"}:
        found.append(f"states {sorted(set(ended['status']))}")
    if list((results / "in_flight").iterdir()):
        found.append("trials in flight")
    held = states(results)
    if set(held) - {"COMPLETE", "PRUNED"} or sum(held.values()) != len(PAIRS) * TRIALS:
        found.append(f"study.db {held}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = Table(title="SIGKILL at a random moment, then the same command once more")
    for heading in ("round", "killed after", "epochs", "ended by then", "after the second run"):
        table.add_column(heading, justify="right")
    draw = random.Random(arguments.seed)
    bad = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "images", Path(folder) / "cache"
        write_images(root)
        start_seconds = _seconds_of_a_start(root, Path(folder) / "first", cache)
        for number in range(1, arguments.rounds + 1):
            out = Path(folder) / f"round{number}"
            results = out / "images"
            moment = (number - 1 + draw.random()) / arguments.rounds
            killed = _kill(command(root, out, cache), results, moment, draw, start_seconds)
            after_kill = states(results)
            done = subprocess.run(
                command(root, out, cache), capture_output=True, text=True, check=False
            )
            wrong = problems(results) if done.returncode == 0 else [done.stderr.strip()]
            if "RUNNING" in after_kill:
                wrong.append("RUNNING in study.db after the kill")
            bad += bool(wrong)
            table.add_row(str(number), *killed, ", ".join(wrong) or "all well")
            print(f"round {number}: {', '.join((*killed, *wrong))}", flush=True)
    console = Console()
    console.print(table)
    console.print(f"{bad} of {arguments.rounds} went wrong; {time.monotonic() - started:.0f} s")
    return 1 if bad else 0


def _start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _seconds_of_a_start(root: Path, out: Path, cache: Path) -> float:
    """Seconds until the first epoch is trained."""
    begun = time.monotonic()
    process = _start(command(root, out, cache))
    while trained_epochs(out / "images") == 0:
        if process.poll() is not None:
            raise RuntimeError("the search ended before it trained anything")
        time.sleep(0.01)
    seconds = time.monotonic() - begun
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return seconds


def _kill(
    arguments: list[str],
    results: Path,
    moment: float,
    draw: random.Random,
    start_seconds: float,
) -> tuple[str, str, str]:
    """Kills the command at a moment in [0, 1) of a search; when, and how far it had come."""
    begun = time.monotonic()
    process = _start(arguments)
    if moment < START_SHARE:
        time.sleep(moment / START_SHARE * start_seconds)
    else:
        share = (moment - START_SHARE) / (1 - START_SHARE)
        target = int(share * len(PAIRS) * TRIALS * EPOCHS)
        while trained_epochs(results) < target and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.2))
    if process.poll() is not None:
        return "ended before", "", ""
    os.killpg(process.pid, signal.SIGKILL)
    seconds = time.monotonic() - begun
    process.wait()
    ended = len(list(results.glob("trials/*/*.parquet")))
    return f"{seconds:.1f} s", str(trained_epochs(results)), str(ended)


if __name__ == "__main__":
    sys.exit(main())
