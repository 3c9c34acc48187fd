"""K-means of each domain, with the clusters of the two domains matched by transport."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.training.clusterings.contract import PairClusterings, register_clustering
from harness.training.clusterings.per_domain_kmeans import PerDomainKMeans
from harness.training.clusterings.transport_matching import match_prototypes


@register_clustering("kmeans_matched")
@dataclass(frozen=True, kw_only=True)
class MatchedKMeans(PerDomainKMeans):
    """UCDIR's K-means with a counterpart in the other domain for every cluster (``ucdir_ot``).

    Attributes:
        epsilon: strength of the entropic regularisation, on costs between 0 and 4.
        sinkhorn_iterations: Sinkhorn iterations of the match.
    """

    epsilon: float = 0.05
    sinkhorn_iterations: int = 100

    def per_epoch(
        self,
        a_ND: Tensor,
        b_ND: Tensor,
        generators: tuple[torch.Generator, torch.Generator],
        previous: PairClusterings,
    ) -> PairClusterings:
        """One clustering per domain, matched with the other domain's once per epoch."""
        (of_a,), (of_b,) = super().per_epoch(a_ND, b_ND, generators, previous)
        counterpart_a_K, counterpart_b_K = match_prototypes(
            of_a.proto_KD, of_b.proto_KD, self.epsilon, self.sinkhorn_iterations
        )
        return (
            (replace(of_a, counterpart_K=counterpart_a_K),),
            (replace(of_b, counterpart_K=counterpart_b_K),),
        )
