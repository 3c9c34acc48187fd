r"""Where the time of an epoch goes: augmentation, network passes, losses, k-means, evaluation.

    python benchmarks/epoch_time.py --dataset folder --data-root DIR --pairs Noto-Twemoji \\
        --backbone resnet18 --image-size 64 --threads 2

Every part runs in the real loop; the profiler's ranges of the loop are added up: seconds of the
processor, or on a GPU those of its kernels. The epoch measured is one in which every loss of the
method acts.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from harness.options import TrainOptions
from harness.plan.studies import prepare_studies
from harness.records import TrialRecord
from harness.training.scored_trial import ScoredTrial

NETWORK = {
    "harness.query_forward": "query encoder, forward",
    "harness.backward": "backward and optimiser",
    "harness.key_encoder": "key encoder",
    "harness.embed": "feature extraction",
}
REST = {
    "harness.views": "augmentation",
    "harness.losses": "losses, forward",
    "harness.clustering": "k-means",
    "harness.validators": "validators",
    "harness.retrieval": "retrieval metrics",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="shapes")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--pairs", default="clipart-real")
    parser.add_argument("--method", default="ucdir")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3, help="measured, after a warm-up of two")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        trial = _trial(arguments, Path(out))
        for _ in range(3):
            trial.next_report()
        wall, parts = _measure(trial, arguments.epochs)
    _show(arguments, trial, wall, parts)


def _trial(arguments: argparse.Namespace, out: Path) -> ScoredTrial:
    # All losses act from half of the epochs on.
    epochs = 4 + 2 * arguments.epochs
    prepared = prepare_studies(
        TrainOptions(
            dataset=arguments.dataset,
            data_root=arguments.data_root,
            pairs=arguments.pairs,
            method=(arguments.method,),
            backbone=arguments.backbone,
            weights="random",
            image_size=arguments.image_size,
            batch_size=arguments.batch_size,
            epochs=epochs,
            cpus_per_trial=arguments.threads,
            out=out,
        ),
        trials=1,
        sampler="none",
    )
    config = prepared.plans[0].first_trial(prepared.pairs[0])
    trial = ScoredTrial(config, prepared.data, torch.device(config.study.device_type))
    for _ in range(1 + epochs - arguments.epochs - 3):
        trial.next_report()
    return trial


def _measure(trial: ScoredTrial, epochs: int) -> tuple[float, dict[str, float]]:
    """Seconds per epoch without the profiler, and the share of each part with it."""
    wall, parts = [], dict.fromkeys([*NETWORK, *REST], 0.0)
    state = trial.state_dict()
    for _ in range(min(epochs, trial.config.study.epochs - trial.training.epoch)):
        started = time.perf_counter()
        trial.next_report()
        wall.append(time.perf_counter() - started)
    trial.load_state_dict(state)
    on_gpu = trial.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        trial.next_report()
    busy = 0.0
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU:
            busy += 0.0 if event.is_user_annotation else event.self_device_time_total / 1e6
        elif event.key in parts:
            time_total = event.device_time_total if on_gpu else event.cpu_time_total
            parts[event.key] = time_total / 1e6
    if on_gpu:
        # Kernels of the backward pass are launched by another thread, outside of its range.
        parts["harness.backward"] += busy - sum(parts.values())
    return sum(wall) / len(wall), parts


def _show(
    arguments: argparse.Namespace, trial: ScoredTrial, wall: float, parts: dict[str, float]
) -> None:
    total = sum(parts.values())
    record = TrialRecord(config=trial.config)
    trial.describe(record)
    table = Table(
        title=f"{arguments.method} on {'-'.join(trial.config.pair)}, {arguments.backbone}, "
        f"{arguments.image_size} px, batch {record.batch_size} per domain, "
        f"{arguments.threads} threads, {trial.config.study.precision}, {record.device}"
    )
    table.add_column("part")
    table.add_column("seconds", justify="right")
    table.add_column("share", justify="right")
    for names in (NETWORK, REST):
        for key, label in names.items():
            table.add_row(label, f"{parts[key]:.3f}", f"{100 * parts[key] / total:.1f} %")
        table.add_section()
    rest = sum(parts[key] for key in REST)
    table.add_row("all but network passes", f"{rest:.3f}", f"{100 * rest / total:.1f} %")
    table.add_row("an epoch, wall, without the profiler", f"{wall:.3f}", "")
    if trial.device.type == "cuda":
        table.add_row("GPU busy", f"{total:.3f}", f"{100 * total / wall:.1f} % of the wall")
    Console().print(table)


if __name__ == "__main__":
    main()
