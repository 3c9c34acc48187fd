"""Expected retrieval metrics of a ranking drawn uniformly at random: the chance row of a board.

Shapes: Q queries, V valid queries, G gallery images, C classes that a query can find.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.evaluation.retrieval import Labels

_DRAWS = 200  # random rankings behind each expected envelope
_SEED = 20101  # its own: the chance row of a pair is the same in every study


def chance_metrics(
    query_label_Q: Labels, gallery_label_G: Labels, ks: Sequence[int]
) -> dict[str, float]:
    """Expected metrics of independent, uniformly random rankings, under the usual keys.

    A random place is relevant with probability R / G, so P@k has a closed form (micro: weighted
    by min(k, R)), and so has average precision (``expected_ap``). The VOC-2010 envelope has none
    that is cheap; its expectation is a seeded Monte Carlo estimate (``expected_voc_ap``), good to
    a few thousandths of its value.

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
    ap_C = np.array([expected_ap(int(r), n_gallery) for r in relevant_C])
    metrics["mAP@All"] = mean(ap_C, query_count)
    sizes, size_of_C = np.unique(relevant_C, return_inverse=True)
    voc = np.array([expected_voc_ap(int(r), n_gallery) for r in sizes])
    metrics["mAP@All.voc_class_macro"] = mean(voc[size_of_C], np.ones_like(query_count))
    metrics["n_valid_queries"] = float(n_valid)
    return metrics


def expected_ap(n_relevant: int, n_gallery: int) -> float:
    """Expected non-interpolated average precision of a random ranking, exactly.

    Place i is relevant with probability R / G; given that, each of the i - 1 places before it is
    relevant with probability (R - 1) / (G - 1). Summed over places, with H the harmonic number of
    G: (H + (R - 1) / (G - 1) * (G - H)) / G.

    Args:
        n_relevant: relevant images R, from 1.
        n_gallery: images of the gallery G, at least R.

    Returns:
        A value in (0, 1].
    """
    if n_relevant == n_gallery:
        return 1.0
    harmonic = float((1 / np.arange(1, n_gallery + 1)).sum())
    before = (n_relevant - 1) / (n_gallery - 1)
    return (harmonic + before * (n_gallery - harmonic)) / n_gallery


@lru_cache(maxsize=1 << 16)
def expected_voc_ap(n_relevant: int, n_gallery: int, draws: int = _DRAWS) -> float:
    """Expected VOC-2010 average precision of a random ranking, by Monte Carlo with a fixed seed.

    Each draw contributes the gap between the envelope and the curve it covers; the curve's own
    mean is known (``expected_ap``), which leaves less to estimate.

    Args:
        n_relevant: relevant images R, from 1.
        n_gallery: images of the gallery G, at least R.
        draws: random rankings.

    Returns:
        A value in (0, 1].
    """
    if n_relevant == n_gallery:
        return 1.0
    generator = np.random.default_rng([_SEED, n_relevant, n_gallery])
    nth_R = np.arange(1, n_relevant + 1)
    gap = 0.0
    for _ in range(draws):
        place_R = np.sort(generator.choice(n_gallery, n_relevant, replace=False, shuffle=False))
        precision_R = nth_R / (place_R + 1)
        envelope_R = np.maximum.accumulate(precision_R[::-1])
        gap += float(envelope_R.mean() - precision_R.mean())
    return expected_ap(n_relevant, n_gallery) + gap / draws
