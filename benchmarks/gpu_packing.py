r"""How many trials share a GPU with profit: trainings per hour by the number that run side by side.

    python benchmarks/gpu_packing.py --dataset folder --data-root DIR --pairs Noto-Twemoji \\
        --backbone resnet50 --image-size 224 --together 1 2 4

Each training runs in a process of its own, as under ``--gpus-per-trial 1/N``. Starting the
processes and the first two epochs are not counted.
"""

import argparse
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from harness.options import TrainOptions
from harness.plan.studies import prepare_studies
from harness.training.scored_trial import ScoredTrial

WARM_UP = 3

LONGEST = 900.0
"""Seconds after which the others give up on a process that has died."""


def _train(options: TrainOptions, together: Barrier) -> None:
    """Trains to the end; all processes begin and end the counted epochs together."""
    prepared = prepare_studies(options, trials=1, sampler="none")
    config = prepared.plans[0].first_trial(prepared.pairs[0])
    trial = ScoredTrial(config, prepared.data, torch.device(config.study.device_type))
    for _ in range(WARM_UP):
        trial.next_report()
    together.wait(LONGEST)
    while not trial.done:
        trial.next_report()
    together.wait(LONGEST)


def _seconds(options: TrainOptions, count: int) -> float:
    """Seconds in which ``count`` trainings side by side do their counted epochs."""
    context = get_context("spawn")
    together = context.Barrier(count + 1)
    processes = [context.Process(target=_train, args=(options, together)) for _ in range(count)]
    for process in processes:
        process.start()
    together.wait(LONGEST)
    started = time.perf_counter()
    together.wait(LONGEST)
    seconds = time.perf_counter() - started
    for process in processes:
        process.join()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="shapes")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--pairs", default="clipart-real")
    parser.add_argument("--method", default="ucdir")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--together", type=int, nargs="+", default=[1, 2, 4])
    flags = parser.parse_args()
    options = TrainOptions(
        dataset=flags.dataset,
        data_root=flags.data_root,
        pairs=flags.pairs,
        method=(flags.method,),
        backbone=flags.backbone,
        weights="random",
        image_size=flags.image_size,
        epochs=flags.epochs,
        cpus_per_trial=flags.threads,
    )
    prepare_studies(options, trials=1, sampler="none")
    counted = flags.epochs - WARM_UP + 1
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    table = Table(title=f"{flags.method}, {flags.backbone}, {flags.image_size} px, {device}")
    for name in ("side by side", "seconds an epoch of each", "epochs per hour", "ratio"):
        table.add_column(name, justify="right")
    first = 0.0
    for count in flags.together:
        seconds = _seconds(options, count)
        rate = 3600 * count * counted / seconds
        first = first or rate
        table.add_row(str(count), f"{seconds / counted:.3f}", f"{rate:,.0f}", f"{rate / first:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
