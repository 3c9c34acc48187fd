"""K-means of each domain at an estimated number of clusters, then translation and merging (UEM).

Shapes: N images of a domain, K clusters, C rows of a merged set, D embedding size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.training.clusterings.contract import PairClusterings, register_clustering
from harness.training.clusterings.merging import merge_prototypes
from harness.training.kmeans import KMeansResult, candidate_ks, kmeans, knee
from losses.contract import Clustering
from losses.parts.dissimilarity import squared_distances

BLOCK_IMAGES = 8192
ELBOW_ITERATIONS, ELBOW_RESTARTS = 10, 2

Generators = tuple[torch.Generator, torch.Generator]


def without_empty_clusters(found: KMeansResult) -> tuple[Tensor, Tensor]:
    """Raw centroids that own an image, and the assignment to them.

    Where fewer points are distinct than clusters were asked for, some centroids coincide and own
    nothing. Left in, they would make the smallest gap between two prototypes 0, and by eq. 9 no
    pair would ever merge.

    Returns:
        centroid_KD, and assign_N into it.
    """
    owns_K = torch.bincount(found.assign_N, minlength=len(found.centroid_KD)) > 0
    renumbered_K = owns_K.cumsum(0) - 1
    return found.centroid_KD[owns_K], renumbered_K[found.assign_N]


def inertia_on_sphere(points_ND: Tensor, proto_CD: Tensor) -> float:
    """Sum over the images, scaled to unit length, of the squared distance to the nearest row."""
    parts = [
        squared_distances(F.normalize(block_BD, dim=1), proto_CD).amin(dim=1).sum()
        for block_BD in points_ND.split(BLOCK_IMAGES)
    ]
    return float(torch.stack(parts).sum())


@register_clustering("elbow_merged")
@dataclass(frozen=True, kw_only=True)
class ElbowMerged:
    """UEM's prototypes (Wang, Du & Zhu, NeurIPS 2024, section 4.5.1 and eq. 8-9).

    Both domains are clustered at each candidate K and merged; the K of a domain is the knee of the
    inertia of its own images against the merged set that holds its prototypes. The candidates (at
    most 12, evenly spaced in the logarithm) come from the image count of the smaller domain.

    Attributes:
        clusters: clusters per domain; None for the elbow estimate.
        merge: False leaves the prototypes unmerged, and estimates K on the own ones alone.
        iterations: of Lloyd's algorithm at the K taken.
        restarts: the best of them is kept.
    """

    clusters: int | None = None
    merge: bool = True
    iterations: int = 20
    restarts: int = 5

    def per_epoch(
        self, a_ND: Tensor, b_ND: Tensor, generators: Generators, previous: PairClusterings
    ) -> PairClusterings:
        """One clustering per domain, with its merged set."""
        k_a, k_b = self.clusters, self.clusters
        if k_a is None or k_b is None:
            k_a, k_b = self._estimate(a_ND, b_ND, generators)
        centroid_a_KD, assign_a_N = self._cluster(a_ND, k_a, generators[0])
        centroid_b_KD, assign_b_N = self._cluster(b_ND, k_b, generators[1])
        merged_a, merged_b = merge_prototypes(
            centroid_a_KD, centroid_b_KD, a_ND, b_ND, merge=self.merge
        )
        return (
            (Clustering(F.normalize(centroid_a_KD, dim=1), assign_a_N, merged=merged_a),),
            (Clustering(F.normalize(centroid_b_KD, dim=1), assign_b_N, merged=merged_b),),
        )

    def per_step(
        self, clusterings: PairClusterings, bank_a_ND: Tensor, bank_b_ND: Tensor
    ) -> PairClusterings:
        """Unchanged within an epoch."""
        return clusterings

    def _cluster(
        self, points_ND: Tensor, k: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return without_empty_clusters(
            kmeans(
                points_ND,
                k,
                generator=generator,
                iterations=self.iterations,
                restarts=self.restarts,
            )
        )

    def _estimate(self, a_ND: Tensor, b_ND: Tensor, generators: Generators) -> tuple[int, int]:
        ks = candidate_ks(min(len(a_ND), len(b_ND)))
        inertias_a, inertias_b = [], []
        for k in ks:
            a_KD, b_KD = (
                without_empty_clusters(
                    kmeans(
                        points_ND,
                        k,
                        generator=generator,
                        iterations=ELBOW_ITERATIONS,
                        restarts=ELBOW_RESTARTS,
                    )
                )[0]
                for points_ND, generator in zip((a_ND, b_ND), generators, strict=True)
            )
            proto_a_CD, proto_b_CD = F.normalize(a_KD, dim=1), F.normalize(b_KD, dim=1)
            if self.merge:
                merged_a, merged_b = merge_prototypes(a_KD, b_KD, a_ND, b_ND)
                proto_a_CD, proto_b_CD = merged_a.proto_CD, merged_b.proto_CD
            inertias_a.append(inertia_on_sphere(a_ND, proto_a_CD))
            inertias_b.append(inertia_on_sphere(b_ND, proto_b_CD))
        return knee(ks, inertias_a), knee(ks, inertias_b)
