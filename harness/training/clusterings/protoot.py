"""Prototypes that live on from step to step under transport with modified marginals (ProtoOT)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.errors import UsageError
from harness.training.clusterings.contract import PairClusterings, register_clustering
from harness.training.kmeans import kmeans
from losses.contract import Clustering
from losses.parts.marginal_sinkhorn import cluster_marginal, matched_marginal, protoot_step

LEAST_IMAGES = 1.0
"""Images an empty cluster counts for, so that its prototype keeps a share (``fixed``)."""


@register_clustering("protoot")
@dataclass(frozen=True, kw_only=True)
class ProtoOTPrototypes:
    """ProtoOT's prototypes (Li et al., AAAI 2024, code ``ebe94d7``).

    K-means runs on the bank every epoch, but its centroids become the prototypes only at first;
    afterwards it gives the marginals alone, and every step replaces the prototypes.

    Attributes:
        k: prototypes per domain.
        beta_mode: ``fixed`` lays each new marginal on the prototype its centroid is matched with
            and lets an empty cluster count for one image; ``official`` lays them on in the order
            of the new clusters, whose numbers mean nothing, as the authors' code.
        epsilon: strength of the entropic regularisation.
        sinkhorn_iterations: Sinkhorn iterations of a step.
        iterations: of Lloyd's algorithm.
        restarts: the best of them is kept.
    """

    k: int
    beta_mode: Literal["fixed", "official"] = "fixed"
    epsilon: float = 0.05
    sinkhorn_iterations: int = 3
    iterations: int = 50
    restarts: int = 20

    def __post_init__(self) -> None:
        if self.beta_mode not in ("fixed", "official"):
            raise UsageError(f"beta_mode is fixed or official, not '{self.beta_mode}'.")

    def per_epoch(
        self,
        a_ND: Tensor,
        b_ND: Tensor,
        generators: tuple[torch.Generator, torch.Generator],
        previous: PairClusterings,
    ) -> PairClusterings:
        """One clustering per domain: the prototypes in force with fresh marginals."""
        return (
            (self._of_domain(a_ND, generators[0], previous[0]),),
            (self._of_domain(b_ND, generators[1], previous[1]),),
        )

    def per_step(
        self, clusterings: PairClusterings, bank_a_ND: Tensor, bank_b_ND: Tensor
    ) -> PairClusterings:
        """Per domain the clustering before the step's update and the one after it."""
        return (
            self._step(bank_a_ND, clusterings[0]),
            self._step(bank_b_ND, clusterings[1]),
        )

    def _of_domain(
        self, bank_ND: Tensor, generator: torch.Generator, previous: tuple[Clustering, ...]
    ) -> Clustering:
        found = kmeans(
            bank_ND,
            self.k,
            generator=generator,
            iterations=self.iterations,
            restarts=self.restarts,
        )
        fixed = self.beta_mode == "fixed"
        floor = LEAST_IMAGES if fixed else 0.0
        marginal_K = cluster_marginal(found.assign_N, self.k, floor)
        if not previous:
            return Clustering(found.proto_KD, found.assign_N, marginal_K=marginal_K)
        in_force = previous[-1]
        proto_KD = in_force.proto_KD.to(bank_ND.device)
        if fixed:
            marginal_K = matched_marginal(found.centroid_KD, marginal_K, proto_KD)
        assign_N = in_force.assign_N.to(bank_ND.device)
        return Clustering(proto_KD, assign_N, marginal_K=marginal_K)

    def _step(self, bank_ND: Tensor, clusterings: tuple[Clustering, ...]) -> tuple[Clustering, ...]:
        return protoot_step(bank_ND, clusterings[-1], self.epsilon, self.sinkhorn_iterations)
