"""What the driver costs: simulated trials over many pairs, a rebuild from files, reading boards.

    python benchmarks/driver_cost.py --trials 2000 --pairs 30

No Ray and no training: the driver is handed made-up reports. Everything it writes is real.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from optuna.distributions import FloatDistribution, IntDistribution
from rich.console import Console
from rich.table import Table

from harness.config import StudyConfig
from harness.datasets.contract import DatasetIndex, DomainIndex
from harness.datasets.shapes import SPEC
from harness.evaluation.vault import LabelVault
from harness.leaderboard.board import BoardContext
from harness.leaderboard.store import ResultsStore
from harness.methods import get_method
from harness.plan.samplers import describe_sampler
from harness.plan.study_plan import HALVING, StudyPlan
from harness.records import EpochRecord, TrialRecord
from harness.search.driver import SearchDriver
from harness.validators import validator_names

SPACE = {
    "K": IntDistribution(5, 200, log=True),
    "tau": FloatDistribution(0.05, 0.5, log=True),
    "lambda_dd": FloatDistribution(0.01, 2.0, log=True),
    "lambda_se": FloatDistribution(0.05, 4.0, log=True),
}
PAPER = {"K": 65, "tau": 0.2, "lambda_dd": 0.5, "lambda_se": 1.0}
EPOCHS = 10


def index(domains: int) -> DatasetIndex:
    """A data set of names and labels alone."""
    made = tuple(
        DomainIndex(f"d{i}", ("x",) * 8, ("y",) * 8, np.arange(8) % 2) for i in range(domains)
    )
    return DatasetIndex("simulated", SPEC, Path(), ("p", "q"), made, "f")


def driver(out: Path, data: DatasetIndex, pairs: list[tuple[str, str]], each: int) -> SearchDriver:
    """A driver over all pairs."""
    study = StudyConfig(
        dataset="simulated",
        fingerprint="f",
        method="ucdir",
        backbone="test_resnet",
        weights="random",
        image_size=32,
        epochs=EPOCHS,
        batch_size=16,
        preset="scratch",
        objective="mutual_nn",
        sampler=describe_sampler("tpe"),
        early_stopping=HALVING,
    )
    plan = StudyPlan(
        config=study,
        method=get_method("ucdir"),
        space=SPACE,
        paper=PAPER,
        fixed={},
        covers_paper=True,
        trials=each,
    )
    store = ResultsStore(out, "simulated", (1, 5, 15))
    store.open_for_writing(data)
    context = BoardContext(ks=(1, 5, 15), primary_metric="P@1", class_count=2)
    return SearchDriver([plan], pairs, data, store, out / "storage", context)


class Watch:
    """Seconds that passed, and seconds of the processor: they part where others compute too."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def cells(self, share: int = 1) -> tuple[str, str]:
        """Both so far, per one of ``share``, for the table."""
        wall = time.perf_counter() - self._wall
        processor = time.process_time() - self._processor
        return f"{wall / share:.3f}", f"{processor / share:.3f}"


def simulate(search: SearchDriver) -> int:
    """Runs every trial; the number of trials."""
    sealed = LabelVault([0, 1, 0], [1, 0, 1], (1, 5, 15)).chance()
    validators = dict.fromkeys(validator_names(), 0.5)
    count = 0
    while (config := search.next_trial()) is not None:
        count += 1
        top = -abs(float(config.params["K"]) - 60) / 100 - abs(float(config.params["tau"]) - 0.1)
        for epoch in range(EPOCHS + 1):
            record = EpochRecord(
                epoch=epoch,
                objective=top * EPOCHS / (epoch + 1),
                losses={"total": 1.0, "instance_contrast": 1.0},
                validators=validators,
                sealed=sealed,
                seconds=1.0,
            )
            report = TrialRecord(config=config, epochs={epoch: record}, host="h", device="cpu")
            if search.report(report):
                break
        search.end(config)
    search.finish()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=30)
    arguments = parser.parse_args()
    data = index(arguments.pairs + 1)
    pairs = [("d0", f"d{i}") for i in range(1, arguments.pairs + 1)]
    each = arguments.trials // arguments.pairs
    table = Table(title=f"{each * arguments.pairs} simulated trials over {arguments.pairs} pairs")
    for heading in ("what", "seconds", "of the processor", "bound"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        search = driver(out, data, pairs, each)
        watch = Watch()
        count = simulate(search)
        table.add_row("driver, per trial", *watch.cells(count), "0.05")
        search.store.close()
        watch = Watch()
        search = driver(out, data, pairs, each)
        search.finish()
        table.add_row("rebuild from the trial files", *watch.cells(), "10")
        search.store.close()
        watch = Watch()
        pd.read_parquet(out / "simulated" / "leaderboard")
        table.add_row("all boards in pandas", *watch.cells(), "0.5")
    Console().print(table)


if __name__ == "__main__":
    main()
