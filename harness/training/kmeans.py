"""K-means in torch, and an elbow estimate of the number of clusters.

Shapes: N points, D dimensions, K clusters, R restarts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_CANDIDATES = 12
LARGEST_CANDIDATE = 200
FEWEST_POINTS = 5
"""Points per cluster, on average, below which the elbow does not look."""

CPU_SCORES, GPU_SCORES = 1 << 16, 1 << 24
"""Scores of point against centroid held at a time: what fits a cache, and what fills a GPU."""


@dataclass(frozen=True)
class KMeansResult:
    """The best of the restarts.

    Attributes:
        centroid_KD: raw centroids (float32); of unit length only if ``spherical``.
        assign_N: nearest centroid of each point (int64). A centroid may own no point.
        inertia: sum over the points of the squared distance to their centroid.
    """

    centroid_KD: Tensor
    assign_N: Tensor
    inertia: float

    @property
    def proto_KD(self) -> Tensor:
        """The centroids scaled to unit length, as prototypes are."""
        return F.normalize(self.centroid_KD, dim=1)


@torch.no_grad()
def kmeans(
    x_ND: Tensor,
    k: int,
    *,
    generator: torch.Generator,
    iterations: int = 20,
    restarts: int = 5,
    spherical: bool = False,
    init_KD: Tensor | None = None,
) -> KMeansResult:
    """Lloyd's algorithm from random points; the restart with the least inertia wins.

    The defaults are those of UCDIR's clustering (20 iterations, 5 restarts, Euclidean). Restarts
    run as one computation. They end early once no point changes its cluster. A cluster that has
    lost all its points is put on the point farthest from its own centroid (the second empty one
    on the second farthest, and so on), so NaN cannot arise; where fewer than ``k`` points
    are distinct, some centroids coincide and own nothing. Ties go to the lower centroid.

    Args:
        x_ND: points, on any device, of any floating type.
        k: number of clusters.
        generator: a CPU generator, the only source of randomness.
        iterations: most updates of the centroids.
        restarts: independent starts; 1 where ``init_KD`` is given.
        spherical: keep the centroids at unit length (spherical k-means, for unit points).
        init_KD: centroids to start from instead of random points.

    Raises:
        ValueError: ``k`` below 1 or above N, points that are not finite, or ``init_KD`` of another
            shape than (k, D).
    """
    count, dims = x_ND.shape
    if not 1 <= k <= count:
        raise ValueError(
            f"k-means needs 1 <= K <= number of points, got K = {k} of {count} points."
        )
    if init_KD is not None and init_KD.shape != (k, dims):
        raise ValueError(f"init_KD must be {(k, dims)}, got {tuple(init_KD.shape)}.")
    points_ND = x_ND.float()
    if not bool(points_ND.isfinite().all()):
        raise ValueError("k-means got points that are NaN or infinite.")
    with torch.autocast(x_ND.device.type, enabled=False):
        # Distances do not change with the origin, and near it they lose fewer digits.
        origin_D = torch.zeros_like(points_ND[0]) if spherical else points_ND.mean(0)
        points_ND = points_ND - origin_D
        if init_KD is None:
            start_RK = torch.stack(
                [torch.randperm(count, generator=generator)[:k] for _ in range(restarts)]
            )
            centroid_RKD = points_ND[start_RK.to(points_ND.device)]
        else:
            centroid_RKD = (init_KD.to(points_ND) - origin_D)[None]
        centroid_RKD = _lloyd(points_ND, centroid_RKD, iterations, spherical)
        assign_RN, _ = _nearest(points_ND, centroid_RKD)
        inertia_R = _inertia(points_ND, centroid_RKD, assign_RN)
        best = int(inertia_R.argmin())
    assign_N = assign_RN[best].contiguous()
    return KMeansResult(centroid_RKD[best] + origin_D, assign_N, float(inertia_R[best]))


def _lloyd(points_ND: Tensor, centroid_RKD: Tensor, iterations: int, spherical: bool) -> Tensor:
    k = centroid_RKD.shape[1]
    square_N = points_ND.square().sum(1)
    before_RN = None
    if spherical:
        centroid_RKD = F.normalize(centroid_RKD, dim=2)
    for _ in range(iterations):
        assign_RN, score_RN = _nearest(points_ND, centroid_RKD)
        if before_RN is not None and torch.equal(assign_RN, before_RN):
            break
        before_RN = assign_RN
        sum_RKD, size_RK = _cluster_sums(points_ND, assign_RN, k)
        centroid_RKD = sum_RKD / size_RK.clamp(min=1)[:, :, None]
        empty_RK = size_RK == 0
        if bool(empty_RK.any()):
            farthest_RK = (square_N - 2.0 * score_RN).topk(k, dim=1).indices
            turn_RK = (empty_RK.cumsum(1) - 1).clamp(min=0)
            moved_RKD = points_ND[farthest_RK.gather(1, turn_RK)]
            centroid_RKD = torch.where(empty_RK[:, :, None], moved_RKD, centroid_RKD)
        if spherical:
            centroid_RKD = F.normalize(centroid_RKD, dim=2)
    return centroid_RKD


def _nearest(points_ND: Tensor, centroid_RKD: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centroid of every restart, and ``x . c - |c|^2 / 2``, largest for the nearest."""
    restarts, k, dims = centroid_RKD.shape
    flat_CD = centroid_RKD.reshape(restarts * k, dims)
    half_square_C = flat_CD.square().sum(1) / -2.0
    scores = CPU_SCORES if points_ND.device.type == "cpu" else GPU_SCORES
    rows = max(1, scores // len(flat_CD))
    assign, score = [], []
    for block_ND in points_ND.split(rows):
        score_NC = torch.addmm(half_square_C, block_ND, flat_CD.T)
        best = score_NC.view(len(block_ND), restarts, k).max(2)
        assign.append(best.indices)
        score.append(best.values)
    return torch.cat(assign).T, torch.cat(score).T


def _cluster_sums(points_ND: Tensor, assign_RN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Sum and number of the points of each cluster."""
    restarts = len(assign_RN)
    sum_RKD = points_ND.new_zeros(restarts, k, points_ND.shape[1])
    size_RK = torch.stack([assign_N.bincount(minlength=k) for assign_N in assign_RN])
    for sum_KD, assign_N in zip(sum_RKD, assign_RN, strict=True):
        if points_ND.device.type == "cpu":
            sum_KD.index_add_(0, assign_N, points_ND)
        else:
            # index_add_ adds in any order there, and the same seed would not give the same sums.
            member_KN = (assign_N == torch.arange(k, device=assign_N.device)[:, None]).float()
            torch.mm(member_KN, points_ND, out=sum_KD)
    return sum_RKD, size_RK


def _inertia(points_ND: Tensor, centroid_RKD: Tensor, assign_RN: Tensor) -> Tensor:
    """Summed from differences: expanded squares lose the digits that tell restarts apart."""
    return torch.stack(
        [
            (points_ND - centroid_KD[assign_N]).square_().sum(dtype=torch.float64)
            for centroid_KD, assign_N in zip(centroid_RKD, assign_RN, strict=True)
        ]
    )


def candidate_ks(n: int) -> tuple[int, ...]:
    """The numbers of clusters that :func:`elbow` should try for ``n`` points.

    At most 12, evenly spaced in the logarithm from 2 to ``n / 5`` or 200, whichever is less: the
    range comes from the number of points, never from the number of classes.
    """
    smallest = min(2, n)
    largest = min(LARGEST_CANDIDATE, max(n // FEWEST_POINTS, smallest))
    ratio = largest / smallest
    steps = MOST_CANDIDATES - 1
    return tuple(
        sorted({round(smallest * ratio ** (step / steps)) for step in range(MOST_CANDIDATES)})
    )


def knee(ks: Sequence[int], inertias: Sequence[float]) -> int:
    """The K at which a curve of inertia over log K bends most.

    That is where the curve lies farthest below the chord from its first to its last point, both
    axes scaled to [0, 1]. Inertia that rises with K is the fault of the search and is replaced by
    the least so far. A curve that does not bend yields the smallest K.

    Args:
        ks: numbers of clusters, rising.
        inertias: inertia at each.

    Raises:
        ValueError: no K, another number of inertias, or K that do not rise.
    """
    if not ks or len(ks) != len(inertias) or any(b <= a for a, b in pairwise(ks)):
        raise ValueError(f"knee needs rising K and one inertia each, got {ks} and {inertias}.")
    least = torch.tensor(inertias, dtype=torch.float64).cummin(0).values
    span = float(least[0] - least[-1])
    if span <= 0:
        return ks[0]
    drop = (least[0] - least) / span
    along = torch.tensor([math.log(k / ks[0]) for k in ks]) / math.log(ks[-1] / ks[0])
    return ks[int((drop - along).argmax())]


def elbow(
    x_ND: Tensor,
    ks: Sequence[int],
    generator: torch.Generator,
    *,
    iterations: int = 10,
    restarts: int = 2,
) -> int:
    """Estimates the number of clusters: the :func:`knee` of k-means' inertia (UEM section 4.5.1).

    Args:
        x_ND: points.
        ks: numbers to try, rising, none above N; see :func:`candidate_ks`.
        generator: a CPU generator, the only source of randomness.
        iterations: as in :func:`kmeans`.
        restarts: as in :func:`kmeans`.

    Raises:
        ValueError: as :func:`kmeans` and :func:`knee`.
    """
    inertias = [
        kmeans(x_ND, k, generator=generator, iterations=iterations, restarts=restarts).inertia
        for k in ks
    ]
    return knee(ks, inertias)
