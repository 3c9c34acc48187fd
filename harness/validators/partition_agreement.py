"""Agreement of two ways to put the same images into clusters, corrected for chance.

Shapes: N images, K and L clusters of the two partitions.
"""

import torch
from torch import Tensor


def adjusted_rand_index(first_N: Tensor, second_N: Tensor) -> float:
    """Adjusted Rand index (Hubert & Arabie, 1985): agreement whatever the clusters are called.

    At most 1, about 0 for unrelated partitions. 0 where it is undefined: both partitions hold a
    single cluster, or single images only.

    Args:
        first_N: cluster ids from 0 (int64).
        second_N: cluster ids of the other partition.
    """
    table_KL = _contingency(first_N, second_N, square=False)
    together = _pairs(table_KL).item()
    first, second = _pairs(table_KL.sum(1)).item(), _pairs(table_KL.sum(0)).item()
    n = len(first_N)
    expected = first * second / max(n * (n - 1) / 2, 1)
    scope = (first + second) / 2 - expected
    return (together - expected) / scope if scope > 0 else 0.0


def cohen_kappa(first_N: Tensor, second_N: Tensor) -> float:
    """Cohen's kappa (1960): agreement of partitions whose clusters have the same ids.

    At most 1, about 0 for unrelated partitions. 0 where it is undefined: both partitions hold the
    same single cluster.

    Args:
        first_N: cluster ids from 0 (int64).
        second_N: cluster ids of the other partition.
    """
    share_KK = _contingency(first_N, second_N, square=True) / len(first_N)
    observed = share_KK.trace().item()
    chance = (share_KK.sum(1) @ share_KK.sum(0)).item()
    return (observed - chance) / (1 - chance) if chance < 1 else 0.0


def _contingency(first_N: Tensor, second_N: Tensor, square: bool) -> Tensor:
    """Counts of images by their cluster in each partition, float64."""
    rows, columns = int(first_N.max()) + 1, int(second_N.max()) + 1
    if square:
        rows = columns = max(rows, columns)
    flat = torch.bincount(first_N * columns + second_N, minlength=rows * columns)
    return flat.view(rows, columns).double()


def _pairs(count: Tensor) -> Tensor:
    return (count * (count - 1) / 2).sum()
