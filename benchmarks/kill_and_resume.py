"""Kills a search at a random moment, runs the same command again, and counts: ten times in a row.

    python benchmarks/kill_and_resume.py --rounds 10

Every round starts an empty results folder, sends SIGKILL to the driver's whole process group at a
random moment of its run, runs the same command once more to its end, and then demands exactly
``--trials`` ended trials per pair, none twice, all settings distinct, nothing left in flight.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

TRIALS = 4
SETTINGS = ["K", "tau", "lambda_dd", "lambda_se"]


def write_images(root: Path) -> None:
    """Two domains of three coloured squares each."""
    rng = np.random.default_rng(0)
    for domain in ("a", "b"):
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
        "--out", str(out), "--cache-dir", str(cache), "--image-size", "32", "--batch-size", "10",
        "--epochs", "6", "--trials", str(TRIALS),
    ]  # fmt: skip


def problems(out: Path) -> list[str]:
    """What is wrong with the results; nothing, if all is well."""
    frame = pd.read_parquet(out / "images" / "trials").drop_duplicates("trial_id")
    found = []
    if len(frame) != TRIALS:
        found.append(f"{len(frame)} ended trials")
    if frame.duplicated(SETTINGS).any():
        found.append("a setting twice")
    if set(frame["status"]) - {"finished", "pruned"}:
        found.append(f"states {sorted(set(frame['status']))}")
    if list((out / "images" / "in_flight").glob("*")):
        found.append("trials in flight")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = Table(title="SIGKILL at a random moment, then the same command once more")
    for heading in ("round", "killed after", "ended trials by then", "after the second run"):
        table.add_column(heading, justify="right")
    draw = random.Random(arguments.seed)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "images", Path(folder) / "cache"
        write_images(root)
        whole = _seconds_of_a_whole_run(root, Path(folder) / "whole", cache)
        for number in range(1, arguments.rounds + 1):
            out = Path(folder) / f"round{number}"
            seconds = draw.uniform(0.2, 1.0) * whole
            by_then = _kill_after(seconds, command(root, out, cache), out)
            done = subprocess.run(
                command(root, out, cache), capture_output=True, text=True, check=False
            )
            wrong = problems(out) if done.returncode == 0 else [done.stderr.strip()]
            bad += bool(wrong)
            table.add_row(
                str(number), f"{seconds:.1f} s", str(by_then), ", ".join(wrong) or "all well"
            )
    Console().print(table)
    return 1 if bad else 0


def _seconds_of_a_whole_run(root: Path, out: Path, cache: Path) -> float:
    started = time.monotonic()
    subprocess.run(command(root, out, cache), capture_output=True, check=True)
    return time.monotonic() - started


def _kill_after(seconds: float, arguments: list[str], out: Path) -> int:
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(list((out / "images" / "trials").glob("*/*.parquet")))


if __name__ == "__main__":
    sys.exit(main())
