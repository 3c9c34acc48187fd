"""Sinkhorn with modified marginals, and the prototypes it makes (ProtoOT).

Li et al. (AAAI 2024), as their code `ebe94d7`. Shapes: N images of the domain, K prototypes, D
embedding size.
"""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from harness.errors import UsageError
from losses.contract import Clustering


@torch.no_grad()
def marginal_sinkhorn(
    score_NK: Tensor, marginal_K: Tensor, epsilon: float, iterations: int
) -> Tensor:
    """Transport plan of the images to the prototypes, scaled so that each row sums to 1 (N, K).

    Each iteration gives every prototype its share ``marginal_K`` of the mass and then every image
    the same mass. The authors take three iterations, so the plan need not have converged and the
    columns hold their shares only nearly. No value is read back to the host.
    """
    plan_NK = torch.exp((score_NK - score_NK.max()) / epsilon)
    tiny = torch.finfo(plan_NK.dtype).tiny
    for _ in range(iterations):
        plan_NK = plan_NK * (marginal_K / plan_NK.sum(0).clamp_min(tiny))
        plan_NK = plan_NK / (plan_NK.sum(1, keepdim=True).clamp_min(tiny) * len(plan_NK))
    return plan_NK * len(plan_NK)


@torch.no_grad()
def prototype_plan(
    bank_ND: Tensor, proto_KD: Tensor, marginal_K: Tensor, epsilon: float, iterations: int
) -> Tensor:
    """Plan of a bank to prototypes on row-wise L2-normalised similarities (N, K)."""
    score_NK = F.normalize(bank_ND @ proto_KD.T, dim=1)
    return marginal_sinkhorn(score_NK, marginal_K, epsilon, iterations)


@torch.no_grad()
def protoot_step(
    bank_ND: Tensor, current: Clustering, epsilon: float = 0.05, iterations: int = 3
) -> tuple[Clustering, Clustering]:
    """One step of ProtoOT's prototypes of one domain.

    Args:
        bank_ND: the bank of this moment.
        current: prototypes and marginals in force; its assignment is not read.
        epsilon: strength of the entropic regularisation.
        iterations: Sinkhorn iterations.

    Returns:
        Before and after: the prototypes in force with the assignment by the plan to them (what
        the in-domain loss reads), and the prototypes that replace them (what the cross-domain
        loss and the next step read). Both carry the same assignment and marginals.

    Raises:
        UsageError: ``current`` has no marginals.
    """
    if current.marginal_K is None:
        raise UsageError("ProtoOT needs a clustering with marginals.")
    plan_NK = prototype_plan(bank_ND, current.proto_KD, current.marginal_K, epsilon, iterations)
    assign_N = plan_NK.argmax(dim=1)
    after_KD = F.normalize(plan_NK.T @ bank_ND, dim=1)
    before = Clustering(current.proto_KD, assign_N, marginal_K=current.marginal_K)
    return before, Clustering(after_KD, assign_N, marginal_K=current.marginal_K)


@torch.no_grad()
def cluster_marginal(assign_N: Tensor, clusters: int, floor: float = 0.0) -> Tensor:
    """Share of the images per cluster (K,), sums to 1.

    Args:
        assign_N: cluster of each image.
        clusters: K; a cluster without images counts.
        floor: images that an empty cluster counts for at least, so that its prototype lives on.
    """
    count_K = torch.bincount(assign_N, minlength=clusters).to(torch.float32).clamp_min(floor)
    return count_K / count_K.sum()


@torch.no_grad()
def matched_marginal(centroid_KD: Tensor, marginal_K: Tensor, proto_KD: Tensor) -> Tensor:
    """The marginals in the order of the prototypes instead of the new centroids (K,).

    K-means numbers its clusters anew every time while the prototypes keep their numbers; the
    centroids are matched to the prototypes by the Hungarian method on the Euclidean distance.
    Runs on the CPU, once per clustering.
    """
    cost_KK = torch.cdist(proto_KD.cpu(), F.normalize(centroid_KD.cpu(), dim=1)).numpy()
    _, column_K = linear_sum_assignment(cost_KK)
    return marginal_K[torch.from_numpy(column_K).to(marginal_K.device)]
