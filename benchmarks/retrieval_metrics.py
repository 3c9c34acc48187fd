"""Times the retrieval metrics against the plain way, and compares their figures and memory.

The plain way: the full similarity matrix, a full argsort, and one Python loop over the queries per
figure. Both score both directions and all four metrics, each in a process of its own.

    python benchmarks/retrieval_metrics.py                              # 20 000 x 20 000 x 128
    python benchmarks/retrieval_metrics.py --queries 4000 --classes 65 7
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

KS = (1, 5, 15)
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Metrics = dict[str, float]


def draw_pair(
    queries: int, gallery: int, classes: int, dimension: int
) -> tuple[Floats, Floats, Ints, Ints]:
    """Unit embeddings around class centres that the two domains share, and their labels."""
    generator = np.random.default_rng(0)
    centre_CD = 6 / dimension**0.5 * generator.standard_normal((classes, dimension))
    label_a, label_b = (generator.integers(classes, size=n) for n in (queries, gallery))

    def embed(label_N: Ints) -> Floats:
        z_ND = centre_CD[label_N] + generator.standard_normal((len(label_N), dimension))
        unit_ND = z_ND / np.linalg.norm(z_ND, axis=1, keepdims=True)
        return np.asarray(unit_ND, dtype=np.float32)

    return embed(label_a), embed(label_b), label_a, label_b


def plain_metrics(query_QD: Floats, gallery_GD: Floats, label_Q: Ints, label_G: Ints) -> Metrics:
    """The metrics as one would first write them down."""
    similarity_QG = query_QD @ gallery_GD.T
    order_QG = np.argsort(-similarity_QG, axis=1)
    correct_QG = label_G[order_QG] == label_Q[:, None]
    metrics: Metrics = {}
    for k in KS:
        hits = total = 0
        precisions = []
        for query in range(len(label_Q)):
            cut = min(k, int((label_G == label_Q[query]).sum()))
            hit = int(correct_QG[query, :cut].sum())
            hits, total = hits + hit, total + cut
            if cut:
                precisions.append(hit / cut)
        metrics[f"P@{k}"] = 100 * hits / total
        metrics[f"P@{k}.query_mean"] = 100 * float(np.mean(precisions))
    aps: list[float] = []
    envelopes: dict[int, list[float]] = {}
    for query in range(len(label_Q)):
        rank_R = np.flatnonzero(correct_QG[query]) + 1
        if len(rank_R):
            precision_R = np.arange(1, len(rank_R) + 1) / rank_R
            aps.append(float(precision_R.mean()))
            envelope = float(np.maximum.accumulate(precision_R[::-1]).mean())
            envelopes.setdefault(int(label_Q[query]), []).append(envelope)
    metrics["mAP@All"] = 100 * float(np.mean(aps))
    per_class = [np.mean(values) for values in envelopes.values()]
    metrics["mAP@All.voc_class_macro"] = 100 * float(np.mean(per_class))
    metrics["n_valid_queries"] = float(len(aps))
    return metrics


def score_plain(pair: tuple[Floats, Floats, Ints, Ints]) -> list[Metrics]:
    z_a, z_b, label_a, label_b = pair
    return [plain_metrics(z_a, z_b, label_a, label_b), plain_metrics(z_b, z_a, label_b, label_a)]


def score_ours(pair: tuple[Floats, Floats, Ints, Ints]) -> list[Metrics]:
    import torch

    from harness.evaluation.retrieval import retrieval_metrics_both

    z_a, z_b = (torch.from_numpy(z) for z in pair[:2])
    both = retrieval_metrics_both(z_a, z_b, pair[2], pair[3], KS)
    return [scores.metrics for scores in both]


WAYS = {"plain": score_plain, "harness": score_ours}


def peak_bytes() -> int:
    """High-water mark of this process's resident memory."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(options: argparse.Namespace) -> None:
    """Runs one way in this process and prints what it took as JSON."""
    import torch

    torch.set_num_threads(options.threads)
    score = WAYS[options.measure]
    score(draw_pair(50, 50, 5, 8))  # imports and first calls are not what is measured
    pair = draw_pair(options.queries, options.gallery, options.classes[0], options.dimension)
    before, seconds = peak_bytes(), float("inf")
    for _ in range(options.repeats):
        started = time.perf_counter()
        metrics = score(pair)
        seconds = min(seconds, time.perf_counter() - started)
    after = peak_bytes()
    print(json.dumps({"seconds": seconds, "extra": after - before, "peak": after, "m": metrics}))


def in_child(way: str, classes: int, options: argparse.Namespace) -> dict:
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    command = [sys.executable, __file__, "--measure", way, "--classes", str(classes)]
    for name in ("queries", "gallery", "dimension", "threads", "repeats"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Retrieval metrics against the plain way.")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--gallery", type=int, help="as many as queries by default")
    parser.add_argument("--classes", type=int, nargs="+", default=[65])
    parser.add_argument("--dimension", type=int, default=128, help="of an embedding")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest counts")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.gallery = options.gallery or options.queries
    return options


def main() -> None:
    options = read_options()
    if options.measure:
        measure(options)
        return
    table = Table(
        title=f"{options.queries} x {options.gallery} x {options.dimension}, both directions, "
        f"all metrics, {options.threads} threads"
    )
    for column in ("classes", "way", "seconds", "times faster", "extra MB", "peak MB", "largest"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for classes in options.classes:
        results = {way: in_child(way, classes, options) for way in WAYS}
        plain = results["plain"]
        for way, result in results.items():
            difference = max(
                abs(ours[name] - theirs[name])
                for ours, theirs in zip(result["m"], plain["m"], strict=True)
                for name in theirs
            )
            table.add_row(
                str(classes),
                way,
                f"{result['seconds']:.3f}",
                f"{plain['seconds'] / result['seconds']:.1f}",
                f"{result['extra'] / 1e6:.0f}",
                f"{result['peak'] / 1e6:.0f}",
                "" if way == "plain" else f"{difference:.1e}",
            )
    console = Console()
    console.print(table)
    console.print(
        "extra: peak memory above that before the call. "
        "largest: largest difference of a figure, in points of percent."
    )


if __name__ == "__main__":
    main()
