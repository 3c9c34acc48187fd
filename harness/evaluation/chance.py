"""Expected retrieval metrics of a ranking drawn uniformly at random: the chance row of a board.

Shapes: Q queries, V valid queries, G gallery images, C classes that a query can find.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.evaluation.metrics import METRICS, HitRanks, Metric
from harness.evaluation.retrieval import Labels

_DRAWS = 200  # random rankings behind each estimate
_SEED = 20101  # its own: the chance row of a pair is the same in every study


def chance_metrics(
    query_label_Q: Labels, gallery_label_G: Labels, ks: Sequence[int]
) -> dict[str, float]:
    """Expected metrics of independent, uniformly random rankings, under the usual keys.

    A random place is relevant with probability R / G, so P@k has a closed form (micro: weighted
    by min(k, R)). The other metrics say what they expect, or are estimated over random rankings
    drawn with a fixed seed, which is good to a few hundredths of the value.

    Args:
        query_label_Q: integer class ids.
        gallery_label_G: integer class ids of the same class list.
        ks: the k of P@k.

    Returns:
        The keys of ``RetrievalScores.metrics``, in percent; NaN where no query is valid.

    Raises:
        UsageError: a k below 1.
    """
    if any(k < 1 for k in ks):
        raise UsageError(f"The k of P@k must be 1 or more, got {', '.join(map(str, ks))}.")
    query_Q = torch.as_tensor(query_label_Q).cpu().numpy()
    gallery_G = torch.as_tensor(gallery_label_G).cpu().numpy()
    classes, gallery_count = np.unique(gallery_G, return_counts=True)
    present, query_count = np.unique(query_Q[np.isin(query_Q, classes)], return_counts=True)
    relevant_C = gallery_count[np.searchsorted(classes, present)]
    n_gallery, n_valid = len(gallery_G), int(query_count.sum())

    def mean(value_C: NDArray[np.float64], weight_C: NDArray[np.int64]) -> float:
        total = weight_C.sum()
        return float(100 * (value_C * weight_C).sum() / total) if total else float("nan")

    share_C = relevant_C / max(1, n_gallery)
    metrics: dict[str, float] = {}
    for k in ks:
        metrics[f"P@{k}"] = mean(share_C, query_count * np.minimum(k, relevant_C))
        metrics[f"P@{k}.query_mean"] = mean(share_C, query_count)
    sizes, size_of_C = np.unique(relevant_C, return_inverse=True)
    for name in METRICS.names():
        metric = METRICS[name]
        expected = metric.expected or partial(estimated, metric)
        value = np.array([expected(int(size), n_gallery) for size in sizes])
        by_query = metric.averaged_over == "queries"
        metrics[name] = mean(
            value[size_of_C], query_count if by_query else np.ones_like(query_count)
        )
    metrics["n_valid_queries"] = float(n_valid)
    return metrics


@lru_cache(maxsize=1 << 16)
def estimated(metric: Metric, n_relevant: int, n_gallery: int) -> float:
    """Mean of a metric over random rankings drawn with a fixed seed, a value in [0, 1]."""
    generator = np.random.default_rng([_SEED, n_relevant, n_gallery])
    rank_DR = 1.0 + np.sort(
        [
            generator.choice(n_gallery, n_relevant, replace=False, shuffle=False)
            for _ in range(_DRAWS)
        ]
    )
    return float(metric.score(HitRanks(rank_DR, np.full(_DRAWS, n_relevant), n_gallery)).mean())
