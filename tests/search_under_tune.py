"""A search under Ray Tune whose trials report made-up figures: ``search_under_tune.py FOLDER``.

A process of its own, because Ray stays in the one that started it.
"""

import sys
from dataclasses import replace
from pathlib import Path

from driven_search import driver, report
from study_examples import plan, toy_index

from harness.cluster.tune_run import run_search, tune
from harness.plan.study_plan import HALVING
from harness.training.scored_trial import TrialData

EPOCHS, TRIALS = 9, 12


def objective(params, epoch: int) -> float:
    """Best at K = 20, and another value after every epoch."""
    return 1 / (1 + abs(params["K"] - 20)) + epoch / 1000


def made_up_trial(config, **shared) -> None:
    """Reports as the real one does, without training."""
    trial = config["trial"]
    for epoch in range(EPOCHS + 1):
        sent = report(trial, epoch, objective(trial.params, epoch))
        tune.report({"record": sent} | ({"done": True} if epoch == EPOCHS else {}))


def main(folder: Path) -> None:
    """Runs the search to its end."""
    search = driver(
        folder,
        *(plan(TRIALS, epochs=EPOCHS, early_stopping=HALVING, seed=seed) for seed in (0, 1)),
        pairs=(("a", "b"), ("b", "a")),
    )
    run_search(
        search,
        TrialData(replace(toy_index(), root=folder), folder / "cache"),
        folder / "storage",
        cpus_per_trial=1,
        gpus_per_trial=0,
        max_concurrent=1,
        trainable=made_up_trial,
    )
    search.finish()
    search.store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
