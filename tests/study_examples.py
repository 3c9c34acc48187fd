"""Made-up studies, trials and data sets that several test files share."""

import math
from pathlib import Path

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from harness.config import StudyConfig, TrialConfig
from harness.datasets.contract import DatasetIndex, DomainIndex
from harness.datasets.shapes import SPEC
from harness.leaderboard.board import BoardContext
from harness.methods import get_method
from harness.plan.samplers import describe_sampler
from harness.records import EpochRecord, TrialRecord
from harness.search.proposer import StudyPlan

SPACE = {
    "K": IntDistribution(2, 50, log=True),
    "tau": FloatDistribution(0.05, 0.5, log=True),
}
PAPER = {"K": 12, "tau": 0.2}
CONTEXT = BoardContext(ks=(1, 5, 15), primary_metric="P@1", class_count=12)


def study(**changes) -> StudyConfig:
    held = {
        "dataset": "toy",
        "fingerprint": "f",
        "method": "cluster",
        "backbone": "test_resnet",
        "weights": "random",
        "image_size": 32,
        "epochs": 3,
        "batch_size": 16,
        "preset": "scratch",
        "objective": "mutual_nn",
        "sampler": describe_sampler("tpe"),
    }
    return StudyConfig(**(held | changes))


def plan(trials: int = 6, space=None, **changes) -> StudyPlan:
    return StudyPlan(
        config=study(**changes),
        method=get_method("cluster"),
        space=SPACE if space is None else space,
        paper=PAPER,
        fixed={},
        covers_paper=True,
        trials=trials,
    )


def epoch(number: int, objective: float, p1_ab: float, p1_ba: float) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        objective=objective,
        losses={"total": 1.0} if number else {},
        validators={"mutual_nn": objective},
        metrics={
            "ab": {"P@1": p1_ab, "mAP@All": p1_ab / 2, "n_valid_queries": 9},
            "ba": {"P@1": p1_ba, "mAP@All": math.nan, "n_valid_queries": 9},
        },
        pooled_metrics={} if number else {"ab": {"P@1": 1.0}, "ba": {"P@1": 2.0}},
        seconds=0.5,
    )


def record(number: int, *reports: EpochRecord, status="finished", **changes) -> TrialRecord:
    config = TrialConfig(
        study=study(),
        trial_id=f"{study().study_id}.a-b.{number:04d}",
        number=number,
        pair=("a", "b"),
        params=get_method("cluster").resolve("scratch", "toy", {"K": 5 + number, "tau": 0.1}),
        searched=("K", "tau"),
        **({"init_seed": 1, "seed": number} | changes),
    )
    return TrialRecord(
        config=config, status=status, epochs={report.epoch: report for report in reports}
    )


def toy_index(n: int = 6) -> DatasetIndex:
    """Two domains of two classes, without files."""
    domains = tuple(
        DomainIndex(
            name,
            tuple(f"{name}/{i}.png" for i in range(n)),
            tuple(f"{name}{i}" for i in range(n)),
            np.arange(n) % 2,
        )
        for name in ("a", "b")
    )
    return DatasetIndex("toy", SPEC, Path("nowhere"), ("x", "y"), domains, "f")
