"""A search under Ray Tune whose trials report made-up figures: ``search_under_tune.py FOLDER``.

A process of its own, because Ray stays in the one that started it.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from study_examples import toy_index
from test_search_driver import SEALED, driver, plan

from harness.config import TrialConfig, from_json
from harness.search.early_stopping import DESCRIPTION
from harness.cluster.tune_run import run_search, tune
from harness.training.report import EpochReport
from harness.training.scored_trial import TrialData

EPOCHS, TRIALS = 9, 12


def objective(params, epoch: int) -> float:
    """Best at K = 20, and another value after every epoch."""
    return 1 / (1 + abs(params["K"] - 20)) + epoch / 1000


class MadeUpTrial(tune.Trainable):
    """A report per step, as the real one sends it, without training."""

    def setup(self, config, **shared) -> None:
        self.reset_config(config)

    def reset_config(self, new_config) -> bool:
        self._config = from_json(TrialConfig, new_config["trial"])
        self._epoch = -1
        return True

    def step(self):
        self._epoch += 1
        value = objective(self._config.params, self._epoch)
        report = EpochReport(epoch=self._epoch, objective=value, sealed=SEALED, seconds=0.1)
        return {
            "done": self._epoch == EPOCHS,
            "objective": value,
            "reports": json.dumps([report.to_json()]),
            "about": json.dumps({"host": "h", "device": "cpu", "batch_size": 16, "notes": []}),
        }


def main(folder: Path) -> None:
    """Runs the search to its end."""
    search = driver(
        folder,
        *(plan(TRIALS, epochs=EPOCHS, early_stopping=DESCRIPTION, seed=seed) for seed in (0, 1)),
        pairs=(("a", "b"), ("b", "a")),
    )
    run_search(
        search,
        TrialData(replace(toy_index(), root=folder), folder / "cache"),
        folder / "storage",
        cpus_per_trial=1,
        gpus_per_trial=0,
        max_concurrent=1,
        trainable=MadeUpTrial,
    )
    search.finish()
    search.store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
