"""K-means of each domain by itself, anew every epoch (UCDIR)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.training.clusterings.contract import PairClusterings, register_clustering
from harness.training.kmeans import kmeans
from losses.contract import Clustering


@register_clustering("kmeans")
@dataclass(frozen=True, kw_only=True)
class PerDomainKMeans:
    """K-means with raw centroids for the assignment, normalised afterwards.

    Attributes:
        k: clusters per domain.
        iterations: of Lloyd's algorithm.
        restarts: the best of them is kept.
    """

    k: int
    iterations: int = 20
    restarts: int = 5

    def per_epoch(
        self,
        a_ND: Tensor,
        b_ND: Tensor,
        generators: tuple[torch.Generator, torch.Generator],
        previous: PairClusterings,
    ) -> PairClusterings:
        """One clustering per domain."""
        return (self._cluster(a_ND, generators[0]),), (self._cluster(b_ND, generators[1]),)

    def per_step(
        self, clusterings: PairClusterings, bank_a_ND: Tensor, bank_b_ND: Tensor
    ) -> PairClusterings:
        """Unchanged within an epoch."""
        return clusterings

    def _cluster(self, points_ND: Tensor, generator: torch.Generator) -> Clustering:
        found = kmeans(
            points_ND,
            self.k,
            generator=generator,
            iterations=self.iterations,
            restarts=self.restarts,
        )
        proto_KD = torch.nn.functional.normalize(found.centroid_KD, dim=1)
        return Clustering(proto_KD=proto_KD, assign_N=found.assign_N)
