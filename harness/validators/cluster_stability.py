"""Agreement of the reference clusterings of two consecutive epochs.

Shapes: N images of the domain, K and L clusters of the two clusterings.
"""

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.registry import register_validator


@register_validator("cluster_stability", direction="max")
def cluster_stability(embeddings: PairEmbeddings) -> float:
    """Adjusted Rand index between this epoch's clusters and the last one's, mean of the domains.

    In about [0, 1]; NaN in the first epoch. The two clusterings start from different draws, so an
    embedding that merely stands still earns nothing: its clusters must be found again. Multiplied
    by the share of clusters that own an image, the smaller of the two epochs: a collapsed
    embedding always agrees with itself.
    """
    previous = embeddings.previous_clusters()
    if previous is None:
        return float("nan")
    values = [
        adjusted_rand_index(now.assign_N, before.assign_N)
        * min(now.occupancy, before.occupancy)
        for now, before in zip((embeddings.clusters_a, embeddings.clusters_b), previous, strict=True)
    ]
    return sum(values) / 2


def adjusted_rand_index(first_N: Tensor, second_N: Tensor) -> float:
    """Adjusted Rand index (Hubert & Arabie, 1985) of two partitions given as cluster ids.

    0 where it is undefined, because both partitions hold one cluster only or single images only.
    """
    k, l = int(first_N.max()) + 1, int(second_N.max()) + 1
    table_KL = torch.bincount(first_N * l + second_N, minlength=k * l).view(k, l).double()
    together = _pairs(table_KL).item()
    first, second = _pairs(table_KL.sum(1)).item(), _pairs(table_KL.sum(0)).item()
    n = len(first_N)
    expected = first * second / max(n * (n - 1) / 2, 1)
    scope = (first + second) / 2 - expected
    return (together - expected) / scope if scope > 0 else 0.0


def _pairs(count: Tensor) -> Tensor:
    return (count * (count - 1) / 2).sum()
