"""All methods with the same fixed budget on the same pairs, as a Markdown table.

    python benchmarks/method_table.py --data-root DIR --folder-pair A-B --write docs/methods.md

Every method trains at its first setting (the paper's searched values in the preset of the weights)
for the same number of epochs from the same initial weights, once per seed, and is scored after the
last epoch; nothing is chosen. mAP@All is the mean over both directions, then mean and deviation
over the seeds. Without Ray.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console

from harness.evaluation.oracle import mean_over_directions
from harness.methods import get_method, method_names
from harness.options import TrainOptions
from harness.plan.studies import prepare_studies
from harness.training.scored_trial import ScoredTrial

METRIC = "mAP@All"
MOST_SECONDS = 30.0
MARKS = ("<!-- method table: begin -->", "<!-- method table: end -->")


@dataclass
class Row:
    """Figures of a method on a pair.

    Attributes:
        method: its name.
        start: mAP@All of the untrained state, per seed.
        values: mAP@All after the last epoch, per seed.
        seconds: of a training with its evaluations, per seed.
    """

    method: str
    start: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Deviation over the seeds; 0 for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def measure(options: Sequence[TrainOptions], processes: int, console: Console) -> list[Row]:
    """Trains once per entry of ``options``, each of which names one method and one seed."""
    rows: dict[str, Row] = {}
    with get_context("spawn").Pool(processes) as pool:
        for held, figures in zip(options, pool.imap(_train, options), strict=True):
            row = rows.setdefault(held.method[0], Row(held.method[0]))
            for column, value in zip((row.start, row.values, row.seconds), figures, strict=True):
                column.append(value)
            console.print(
                f"{held.pairs}  {held.method[0]}  seed {held.seed}  "
                f"{METRIC} {figures[0]:.1f} -> {figures[1]:.1f}  {figures[2]:.1f} s"
            )
    return list(rows.values())


def _train(options: TrainOptions) -> tuple[float, float, float]:
    """The metric before and after one training, and its seconds."""
    prepared = prepare_studies(options, trials=1, sampler="none", both_ways=False)
    config = prepared.plans[0].first_trial(prepared.pairs[0])
    started = time.perf_counter()
    trial = ScoredTrial(config, prepared.data, torch.device(config.study.device_type))
    while not trial.done:
        trial.next_report()
    seconds = time.perf_counter() - started
    first, last = (mean_over_directions(trial.history[i].sealed, METRIC) for i in (0, -1))
    return first, last, seconds


def table(title: str, rows: Sequence[Row]) -> str:
    """The rows as Markdown, best first; methods without training carry no rank."""
    lines = [
        f"### {title}",
        "",
        f"| rank | method | {METRIC} mean | deviation | before training | seconds |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    rank = 0
    for row in sorted(rows, key=lambda row: (-row.mean, row.method)):
        trains = get_method(row.method).trains
        rank += trains
        late = " (over the limit)" if max(row.seconds) > MOST_SECONDS else ""
        lines.append(
            f"| {rank if trains else ''} | `{row.method}` | {row.mean:.1f} | {row.deviation:.1f} "
            f"| {statistics.fmean(row.start):.1f} | {statistics.fmean(row.seconds):.1f}{late} |"
        )
    return "\n".join(lines) + "\n"


def write(text: str, path: Path) -> None:
    """Puts the tables between the two marks of a Markdown file.

    Raises:
        ValueError: the file lacks the marks.
    """
    begin, end = MARKS
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path} lacks the lines {begin} and {end}.")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(method_names()), metavar="NAME")
    parser.add_argument("--shapes-pair", default="clipart-real", metavar="A-B")
    parser.add_argument("--data-root", type=Path, help="also a folder data set", metavar="DIR")
    parser.add_argument("--folder-pair", help="the pair of it; the first by default", metavar="A-B")
    parser.add_argument("--cpus", type=int, default=1, help="threads of a training")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time")
    parser.add_argument("--write", type=Path, help="Markdown file to put it into", metavar="FILE")
    flags = parser.parse_args()
    console = Console()
    data = [("shapes", None, flags.shapes_pair)]
    if flags.data_root is not None:
        data.append(("folder", flags.data_root, flags.folder_pair))
    parts = []
    for dataset, root, pair in data:
        options = [
            TrainOptions(
                dataset=dataset,
                data_root=root,
                pairs=pair,
                method=(method,),
                epochs=flags.epochs,
                cpus_per_trial=flags.cpus,
                seed=seed,
            )
            for method in flags.methods
            for seed in range(flags.seeds)
        ]
        # What all trainings share is made once, before they run side by side.
        prepare_studies(options[0], trials=1, sampler="none", both_ways=False)
        shown = f"{dataset if root is None else root.name} {pair or 'first pair'}"
        title = (
            f"{shown}, {flags.epochs} epochs, {flags.seeds} seeds, "
            f"{flags.processes} trainings at a time on {flags.cpus} thread each"
        )
        parts.append(table(title, measure(options, flags.processes, console)))
    text = "\n".join(parts)
    console.print(text, markup=False, soft_wrap=True)
    if flags.write is not None:
        write(text, flags.write)


if __name__ == "__main__":
    main()
