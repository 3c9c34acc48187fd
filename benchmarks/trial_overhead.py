"""Wall time that the harness adds to a trial: no-op trials under Tune, with and without reuse.

    python benchmarks/trial_overhead.py --trials 100

A no-op trial reports epoch 0 and one more epoch with made-up figures; everything else is real:
Tune, the proposals, the trial's Parquet file, study.db, the leaderboard.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from harness.cluster.tune_run import run_search, tune
from harness.evaluation.vault import LabelVault
from harness.options import TrainOptions
from harness.plan.samplers import describe_sampler
from harness.plan.studies import prepare_studies
from harness.records import EpochRecord, TrialRecord
from harness.search.driver import SearchDriver
from harness.seeds import derive_seed

PAIRS = "clipart-real,quickdraw-sketch"


def no_op(config: dict[str, Any], **shared: Any) -> None:
    """All reports of a trial at once, trained for nothing."""
    trial = config["trial"]
    sealed = LabelVault([0, 1], [1, 0], (1, 5, 15)).chance()
    objective = derive_seed(trial.seed) / 2**63
    epochs = {
        epoch: EpochRecord(epoch=epoch, objective=objective, sealed=sealed)
        for epoch in range(trial.study.epochs + 1)
    }
    record = TrialRecord(config=trial, epochs=epochs, host="here", device="cpu", batch_size=2)
    tune.report({"record": record, "done": True})


def measure(trials: int, reuse: bool) -> float:
    """Seconds per no-op trial; the start of Ray and of the first process is left out."""
    ended: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare_studies(
            TrainOptions(epochs=1, pairs=PAIRS, out=Path(folder)),
            trials=trials // 2,
            sampler=describe_sampler("tpe"),
        )
        prepared.store.open_for_writing(prepared.data.index)
        driver = SearchDriver(
            prepared.plans,
            prepared.pairs,
            prepared.data.index,
            prepared.store,
            prepared.storage,
            prepared.context,
            on_end=lambda record: ended.append(time.perf_counter()),
        )
        run_search(
            driver,
            prepared.data,
            prepared.storage,
            cpus_per_trial=1,
            gpus_per_trial=0,
            max_concurrent=None,
            trainable=no_op,
            reuse_processes=reuse,
        )
        driver.write_boards()
        prepared.store.close()
    steady = ended[len(ended) // 4 :]
    return float(np.mean(np.diff(steady)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100, help="with reused processes")
    parser.add_argument("--trials-without", type=int, default=8, help="with fresh processes")
    arguments = parser.parse_args()
    table = Table(title="No-op trials under Tune")
    for heading in ("processes", "trials", "seconds per trial", "ratio"):
        table.add_column(heading, justify="right")
    reused = measure(arguments.trials, reuse=True)
    fresh = measure(arguments.trials_without, reuse=False)
    table.add_row("reused", str(arguments.trials), f"{reused:.3f}", "1.0")
    table.add_row("fresh", str(arguments.trials_without), f"{fresh:.3f}", f"{fresh / reused:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
