"""Every method in every scenario through ``harness.tune``, and whether its rows say so.

    python benchmarks/every_method_and_scenario.py --data-root DIR --pairs A-B

Per scenario one ``python -m harness.tune --epochs 2 --trials 1 --image-size 32`` with all methods,
so that Ray starts once, in a results folder of its own: in a common one the scenarios ``partial``
and ``open`` would share their trainings. A command that does not end with exit code 0 fails the
check, and so does a method without a row of the scenario that has a figure. Flags after ``--`` go
to ``harness.tune``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.datasets.scenario import SCENARIOS
from harness.methods import get_method, method_names

FIGURE = "mAP@All"


def tune_command(
    scenario: str, methods: Sequence[str], data: argparse.Namespace, out: Path
) -> list[str]:
    """The command line of one scenario."""
    return [
        *(sys.executable, "-m", "harness.tune", "--method", *methods, "--scenario", scenario),
        *("--dataset", data.dataset, "--data-root", str(data.data_root), "--pairs", data.pairs),
        *("--image-size", "32", "--epochs", "2", "--trials", "1", "--out", str(out)),
        *data.flags,
    ]


def missing_rows(board: pd.DataFrame, scenario: str, methods: Sequence[str]) -> list[str]:
    """A sentence per method whose rows are not as they should be."""
    said = []
    for method in methods:
        kind = "trained" if get_method(method).trains else "floor"
        rows = board[(board["method"] == method) & (board["scenario"] == scenario)]
        rows = rows[(rows["kind"] == kind) & rows[FIGURE].notna()]
        if rows.empty:
            said.append(f"{scenario}: no {kind} row of {method}")
        elif scenario == "open" and rows["open_acc"].isna().any():
            said.append(f"{scenario}: no open_acc in a row of {method}")
    return said


def seconds_by_method(trials: pd.DataFrame) -> pd.Series:
    """Mean wall time of a training, by method."""
    by_epoch = trials.drop_duplicates(["trial_id", "epoch"])
    of_trial = by_epoch.groupby(["method", "trial_id"])["seconds"].sum()
    return of_trial.groupby("method").mean()


def main() -> int:
    """Runs the scenarios and prints seconds per training; 0 if everything is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dataset", default="folder", metavar="NAME")
    parser.add_argument("--pairs", required=True, metavar="A-B")
    parser.add_argument("--scenarios", nargs="+", default=SCENARIOS, choices=SCENARIOS)
    parser.add_argument("--methods", nargs="+", default=method_names(), metavar="NAME")
    parser.add_argument("--out", type=Path, metavar="DIR", help="kept; a temporary folder without")
    parser.add_argument("flags", nargs="*", help="after --: more flags of harness.tune")
    data = parser.parse_args()
    problems, seconds = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        base = data.out or Path(temporary)
        for scenario in data.scenarios:
            out = base / scenario
            started = time.perf_counter()
            done = subprocess.run(
                tune_command(scenario, data.methods, data, out),
                capture_output=True,
                text=True,
                check=False,
            )
            took = time.perf_counter() - started
            print(f"{scenario}: exit code {done.returncode} after {took:.0f} s", flush=True)
            if done.returncode != 0:
                problems.append(f"{scenario}: exit code {done.returncode}")
                print(done.stdout[-4000:], done.stderr[-4000:], sep="\n")
            for folder in out.glob("*/leaderboard"):
                problems += missing_rows(pd.read_parquet(folder), scenario, data.methods)
                seconds[scenario] = seconds_by_method(pd.read_parquet(folder.parent / "trials"))
    print(pd.DataFrame(seconds).round(1).to_string(na_rep=""))
    print(
        "\n".join(problems) or f"{len(data.methods)} methods x {len(data.scenarios)} scenarios: ok"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
