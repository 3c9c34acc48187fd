"""Search strategies replayed on recorded trials, without training: seconds instead of hours.

    python benchmarks/recorded_search.py --out results --dataset shapes
    python benchmarks/recorded_search.py --out results --dataset shapes --save shapes.json
    python benchmarks/recorded_search.py --table shapes.json --seeds 20

The finished trials of one study are the table: searched values and the label-free objective at the
last epoch, per pair. Between them the objective is the distance-weighted mean of the nearest
recorded trials, so that any setting has a value. On this table the project's own search runs as it
would with real trials (start points, sampler), over many seeds. Counted are the trials until the
objective is 80 % and 95 % of the way from a random setting's expectation to the best of the
surface; a search that does not get there counts as one trial more than it has, so that ratios are
underestimates.

The finer the table (``--sampler random --trials 60`` and more per pair), the less the surface
between its points is made up.
"""

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, json_to_distribution
from rich.console import Console
from rich.table import Table
from scipy.stats import qmc

from harness.config import Pair, ParameterValue, StudyConfig, from_json, plain
from harness.leaderboard.mirror import frozen_trial
from harness.leaderboard.store import ResultsStore
from harness.methods import Space, get_method
from harness.plan.samplers import describe_sampler
from harness.plan.start_points import at_unit, start_count
from harness.plan.study_plan import StudyPlan
from harness.records import EpochRecord, TrialRecord
from harness.search.proposer import Proposer

Searched = Mapping[str, ParameterValue]

NEIGHBOURS = 5
SMOOTHING = 0.1
"""Share of a range below which distances hardly differ, so that one trial's luck is no peak."""

GOALS = (0.8, 0.95)
SAMPLERS = ("random", "tpe")


@dataclasses.dataclass(frozen=True)
class RecordedTable:
    """Finished trials of one study.

    Attributes:
        study: its configuration.
        paper: searched values of the paper's point.
        trials: by pair the searched values and the objective at the last epoch.
    """

    study: StudyConfig
    paper: Searched
    trials: Mapping[Pair, Sequence[tuple[Searched, float]]]

    @property
    def space(self) -> Space:
        """The study's search space."""
        return {name: json_to_distribution(text) for name, text in self.study.space.items()}

    def save(self, path: Path) -> None:
        """Writes the table as JSON."""
        rows = [
            {"pair": pair, "searched": dict(searched), "value": value}
            for pair, trials in self.trials.items()
            for searched, value in trials
        ]
        held = {"study": plain(self.study), "paper": dict(self.paper), "trials": rows}
        path.write_text(json.dumps(held, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "RecordedTable":
        """The table of :meth:`save`."""
        held = json.loads(path.read_text())
        trials: dict[Pair, list[tuple[Searched, float]]] = {}
        for row in held["trials"]:
            trials.setdefault(tuple(row["pair"]), []).append((row["searched"], row["value"]))
        return cls(from_json(StudyConfig, json.dumps(held["study"])), held["paper"], trials)

    @classmethod
    def record(cls, out: Path, dataset: str, study_id: str | None) -> "RecordedTable":
        """The table of a results folder; of the study with most finished trials by default."""
        by_study: dict[str, list[TrialRecord]] = {}
        for record in ResultsStore(out, dataset, (1, 5, 15)).read_trials():
            if record.status == "finished" and record.config.searched and record.last:
                by_study.setdefault(record.config.study.study_id, []).append(record)
        if not by_study or (study_id and study_id not in by_study):
            raise SystemExit(f"{out / dataset} has no finished trials of {study_id or 'a search'}.")
        records = by_study[study_id or max(by_study, key=lambda key: len(by_study[key]))]
        trials: dict[Pair, list[tuple[Searched, float]]] = {}
        for record in records:
            value = record.last.objective if record.last else math.nan
            if math.isfinite(value):
                trials.setdefault(record.config.pair, []).append((_searched(record), value))
        points = [_searched(record) for record in records if record.config.is_paper_point]
        if not points:
            raise SystemExit("The study lacks the trial of the paper's point.")
        return cls(records[0].config.study, points[0], trials)


def _searched(record: TrialRecord) -> Searched:
    return {name: record.config.params[name] for name in record.config.searched}


class Surface:
    """The objective of a pair at any setting.

    Shapes: T recorded trials, P searched parameters, S settings.

    Attributes:
        expected: mean over the space.
        best: maximum over the space.
    """

    def __init__(self, space: Space, trials: Sequence[tuple[Searched, float]]) -> None:
        self._space = space
        self._unit_TP = np.array([self._unit(searched) for searched, _ in trials])
        self._value_T = np.array([value for _, value in trials])
        unit_SP = qmc.Sobol(len(space), rng=np.random.default_rng(0)).random(2048)
        names = sorted(space)
        sampled_S = [
            self({name: at_unit(u, space[name]) for name, u in zip(names, unit_P, strict=True)})
            for unit_P in unit_SP.tolist()
        ]
        recorded_T = [self(searched) for searched, _ in trials]
        self.expected = float(np.mean(sampled_S))
        self.best = max(*sampled_S, *recorded_T)

    def share(self, value: float) -> float:
        """How far a value is on the way from ``expected`` (0) to ``best`` (1)."""
        return (value - self.expected) / (self.best - self.expected)

    def __call__(self, searched: Searched) -> float:
        """Mean of the nearest recorded values, weighted by the inverse squared distance."""
        distance_T = ((self._unit_TP - self._unit(searched)) ** 2).sum(1)
        nearest = np.argsort(distance_T, kind="stable")[:NEIGHBOURS]
        return float(
            np.average(self._value_T[nearest], weights=1 / (distance_T[nearest] + SMOOTHING**2))
        )

    def _unit(self, searched: Searched) -> NDArray[np.float64]:
        """Share of the way through every range, on its own scale."""
        shares = []
        for name, held in sorted(self._space.items()):
            if isinstance(held, CategoricalDistribution):
                shares.append(held.choices.index(searched[name]) / max(1, len(held.choices) - 1))
                continue
            scale = math.log if held.log else float
            low, high = scale(held.low), scale(held.high)
            shares.append((scale(searched[name]) - low) / (high - low) if high > low else 0.0)
        return np.array(shares)


def replay(
    table: RecordedTable,
    surfaces: Mapping[Pair, Surface],
    *,
    sampler: str,
    seed: int,
    trials: int,
) -> NDArray[np.float64]:
    """Best share so far after every trial, ``(P, T)``. P pairs, T trials."""
    study = dataclasses.replace(table.study, seed=seed, sampler=describe_sampler(sampler))
    plan = StudyPlan(
        config=study,
        method=get_method(study.method),
        space=table.space,
        paper=table.paper,
        fixed=study.fixed,
        covers_paper=True,
        trials=trials,
    )
    best_PT = np.zeros((len(surfaces), trials))
    for (pair, surface), best_T in zip(surfaces.items(), best_PT, strict=True):
        search = Proposer(plan, pair)
        for _ in range(trials):
            config = search.propose(pair)
            if config is None:
                break
            record = TrialRecord(config=config, status="finished")
            value = surface(config.searched_values)
            record.epochs[study.epochs] = EpochRecord(epoch=study.epochs, objective=value)
            search.learn(config, frozen_trial(record, plan.space))
            best_T[config.number] = surface.share(value)
    return np.maximum.accumulate(best_PT, axis=1)


def needed(best_SPT: NDArray[np.float64], goal: float) -> NDArray[np.float64]:
    """Trials until the goal, ``(S, P)``; one more than there are where it is not reached."""
    reached_SPT = best_SPT >= goal
    count_SP = np.where(reached_SPT.any(-1), reached_SPT.argmax(-1), best_SPT.shape[-1])
    return count_SP + 1.0


def ratio_interval(
    left_SP: NDArray[np.float64], right_SP: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Ratio of the means, and its 95 % bootstrap interval over seeds (S seeds, P pairs)."""
    draws = np.random.default_rng(0).integers(0, len(left_SP), (2000, len(left_SP)))
    ratios = left_SP[draws].mean((1, 2)) / right_SP[draws].mean((1, 2))
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(left_SP.mean() / right_SP.mean()), float(low), float(high)


def show(table: RecordedTable, seeds: int, trials: int, console: Console) -> None:
    """Replays all arms and prints the trials they need, and the ratios of these."""
    surfaces = {pair: Surface(table.space, held) for pair, held in table.trials.items()}
    recorded = sum(len(held) for held in table.trials.values())
    shown = Table(
        title=f"{table.study.study_id}: {recorded} recorded trials, {len(surfaces)} pairs, "
        f"{seeds} seeds, {trials} trials per pair of which {start_count(trials)} common start"
    )
    goals = [f"trials to {goal:.0%}" for goal in GOALS]
    reached = [f"reached {goal:.0%}" for goal in GOALS]
    for heading in ("sampler", *goals, *reached, "best after half", "ms per trial"):
        shown.add_column(heading, justify="right")
    curves: dict[str, NDArray[np.float64]] = {}
    for sampler in SAMPLERS:
        begun = time.perf_counter()
        best_SPT = np.stack(
            [
                replay(table, surfaces, sampler=sampler, seed=seed, trials=trials)
                for seed in range(seeds)
            ]
        )
        spent = (time.perf_counter() - begun) / (seeds * len(surfaces) * trials)
        curves[sampler] = best_SPT
        counts = [needed(best_SPT, goal) for goal in GOALS]
        shown.add_row(
            sampler,
            *(f"{count_SP.mean():.1f}" for count_SP in counts),
            *(f"{(count_SP <= trials).mean():.0%}" for count_SP in counts),
            f"{best_SPT[..., trials // 2 - 1].mean():.0%}",
            f"{1000 * spent:.1f}",
        )
    console.print(shown)
    for goal in GOALS:
        counts = [needed(curves[sampler], goal) for sampler in SAMPLERS]
        ratio, low, high = ratio_interval(*counts)
        console.print(
            f"{' / '.join(SAMPLERS)}, to {goal:.0%}: {ratio:.2f} ({low:.2f} to {high:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--dataset", default="shapes", help="data set under it")
    parser.add_argument("--study", help="study id; the one with most finished trials by default")
    parser.add_argument("--table", type=Path, help="a table that --save wrote, instead of --out")
    parser.add_argument("--save", type=Path, help="write the table and stop")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30, help="per pair")
    arguments = parser.parse_args()
    if arguments.table is not None:
        table = RecordedTable.load(arguments.table)
    else:
        table = RecordedTable.record(arguments.out, arguments.dataset, arguments.study)
    if arguments.save is not None:
        table.save(arguments.save)
        return
    show(table, arguments.seeds, arguments.trials, Console())


if __name__ == "__main__":
    main()
