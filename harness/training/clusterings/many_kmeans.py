"""K-means of each domain at several K, with a concentration per cluster (PCL, PCS)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.training.clusterings.concentration import pcl_density, pcs_density
from harness.training.clusterings.contract import PairClusterings, register_clustering
from harness.training.kmeans import kmeans
from losses.contract import Clustering


@register_clustering("kmeans_many")
@dataclass(frozen=True, kw_only=True)
class ManyKMeans:
    """One clustering per entry of ``ks``, anew every epoch; a K may occur several times.

    Attributes:
        ks: numbers of clusters; none above the images of the smaller domain.
        density: ``pcl`` (Li et al., ICLR 2021; Euclidean K-means, mean ``tau``) or ``pcs`` (Yue et
            al., CVPR 2021; spherical K-means, at least 0.05).
        tau: mean of PCL's concentrations.
        iterations: of Lloyd's algorithm.
        restarts: the best of them is kept.
    """

    ks: tuple[int, ...]
    density: Literal["pcl", "pcs"]
    tau: float = 0.2
    iterations: int = 20
    restarts: int = 5

    def __post_init__(self) -> None:
        if self.density not in ("pcl", "pcs"):
            raise UsageError(f"The density of kmeans_many is pcl or pcs, not '{self.density}'.")

    def per_epoch(
        self,
        a_ND: Tensor,
        b_ND: Tensor,
        generators: tuple[torch.Generator, torch.Generator],
        previous: PairClusterings,
    ) -> PairClusterings:
        """One clustering per K and domain."""
        return (
            tuple(self._cluster(a_ND, k, generators[0]) for k in self.ks),
            tuple(self._cluster(b_ND, k, generators[1]) for k in self.ks),
        )

    def per_step(
        self, clusterings: PairClusterings, bank_a_ND: Tensor, bank_b_ND: Tensor
    ) -> PairClusterings:
        """Unchanged within an epoch."""
        return clusterings

    def _cluster(self, points_ND: Tensor, k: int, generator: torch.Generator) -> Clustering:
        found = kmeans(
            points_ND,
            k,
            generator=generator,
            iterations=self.iterations,
            restarts=self.restarts,
            spherical=self.density == "pcs",
        )
        if self.density == "pcs":
            density_K = pcs_density(points_ND, found.centroid_KD, found.assign_N)
        else:
            density_K = pcl_density(points_ND, found.centroid_KD, found.assign_N, self.tau)
        return Clustering(found.proto_KD, found.assign_N, density_K=density_K)
