"""The selection protocols: which (trial, epoch) a row reports, and what that choice knew.

Each pick is one (trial, epoch) per training, shared by its directed rows; only finished trials
count, and only epochs after training began.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.records import EpochRecord, TrialRecord

ORACLE = "oracle"


@dataclass(frozen=True)
class Pick:
    """A row's choice.

    Attributes:
        protocol: as in the column.
        trial: the chosen trial.
        epoch: the chosen report.
        transfer_from: for ``transfer`` the pairs whose labels chose the settings.
    """

    protocol: str
    trial: TrialRecord
    epoch: EpochRecord
    transfer_from: str = ""


def is_oracle(objective: str) -> bool:
    """Whether an objective reads labels."""
    return objective.partition(":")[0] == ORACLE


def oracle_value(record: EpochRecord, metric: str) -> float:
    """Mean over the scored directions of a metric; NaN where a direction lacks it."""
    values = [metrics.get(metric, math.nan) for metrics in record.metrics.values()]
    return sum(values) / len(values) if values else math.nan


def best(
    candidates: Sequence[tuple[TrialRecord, EpochRecord]],
    value: Callable[[EpochRecord], float],
) -> tuple[TrialRecord, EpochRecord] | None:
    """The candidate of the largest finite value; of equal ones the first."""
    values = [(value(record), (trial, record)) for trial, record in candidates]
    finite = [scored for scored in values if math.isfinite(scored[0])]
    return max(finite, key=lambda scored: scored[0], default=(math.nan, None))[1]


def picks(
    trials: Sequence[TrialRecord],
    first_metric: str,
    chosen_among: Sequence[TrialRecord] | None = None,
) -> list[Pick]:
    """All picks of one study on one pair that can be computed; the others are absent.

    Args:
        trials: of one study on one pair, by number.
        first_metric: the data set's first P@k, which ``paper`` and ``oracle`` choose by.
        chosen_among: the trials that ``last`` and ``label_free`` may take: under ``--scope
            dataset`` the one of the setting that is best over all pairs; None for all.
    """
    finished = [trial for trial in trials if trial.status == "finished" and trial.last]
    if not finished:
        return []
    objective = finished[0].config.study.objective
    every = [(trial, record) for trial in finished for record in trial.trained]
    final = [(trial, trial.trained[-1]) for trial in finished]
    from_paper = [candidate for candidate in every if candidate[0].config.is_paper_point]

    free = every
    if chosen_among is not None:
        numbers = {trial.config.number for trial in chosen_among}
        final = [pair for pair in final if pair[0].config.number in numbers]
        free = [pair for pair in every if pair[0].config.number in numbers]

    def by_objective(record: EpochRecord) -> float:
        return record.objective

    def by_labels(record: EpochRecord) -> float:
        return oracle_value(record, first_metric)

    found: list[tuple[str, tuple[TrialRecord, EpochRecord] | None]] = []
    if not is_oracle(objective):
        found.append(("last", best(final, by_objective)))
        found.append((f"label_free:{objective}", best(free, by_objective)))
    found.append(("paper", best(from_paper, by_labels)))
    found.append((ORACLE, best(every, by_labels)))
    return [Pick(protocol, *chosen) for protocol, chosen in found if chosen is not None]
