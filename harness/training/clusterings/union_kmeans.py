"""K-means of each domain from common centroids, made once (CoDA)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.training.clusterings.contract import PairClusterings, register_clustering
from harness.training.kmeans import kmeans
from losses.contract import Clustering


@register_clustering("kmeans_once_union")
@dataclass(frozen=True, kw_only=True)
class UnionKMeans:
    """For each K the centroids of both domains together start K-means of each domain.

    So cluster k of one domain and cluster k of the other come from one place and belong together
    (Wang et al., AAAI 2023). Made once: later epochs keep it.

    Attributes:
        ks: numbers of clusters; none above the images of the smaller domain.
        iterations: of Lloyd's algorithm, on the union and on each domain.
        restarts: of K-means on the union; the best is kept.
    """

    ks: tuple[int, ...]
    iterations: int = 20
    restarts: int = 5

    def per_epoch(
        self,
        a_ND: Tensor,
        b_ND: Tensor,
        generators: tuple[torch.Generator, torch.Generator],
        previous: PairClusterings,
    ) -> PairClusterings:
        """One clustering per K and domain; those of the first call ever after."""
        if previous[0]:
            return previous
        union_MD = torch.cat([a_ND, b_ND])
        of_a, of_b = [], []
        for k in self.ks:
            common_KD = kmeans(
                union_MD,
                k,
                generator=generators[0],
                iterations=self.iterations,
                restarts=self.restarts,
            ).centroid_KD
            of_a.append(self._from(common_KD, a_ND, generators[0]))
            of_b.append(self._from(common_KD, b_ND, generators[1]))
        return tuple(of_a), tuple(of_b)

    def per_step(
        self, clusterings: PairClusterings, bank_a_ND: Tensor, bank_b_ND: Tensor
    ) -> PairClusterings:
        """Unchanged."""
        return clusterings

    def _from(self, common_KD: Tensor, points_ND: Tensor, generator: torch.Generator) -> Clustering:
        found = kmeans(
            points_ND,
            len(common_KD),
            generator=generator,
            iterations=self.iterations,
            init_KD=common_KD,
        )
        return Clustering(found.proto_KD, found.assign_N)
