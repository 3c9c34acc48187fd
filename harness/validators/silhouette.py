"""Silhouette of the reference clusterings.

Shapes: N images of the domain, K reference clusters, D embedding size.
"""

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.domain_embeddings import DomainEmbeddings
from harness.validators.reference_clustering import ReferenceClustering
from harness.validators.registry import register_validator


@register_validator("silhouette", direction="max")
def silhouette(embeddings: PairEmbeddings) -> float:
    """Mean silhouette (Rousseeuw, 1987) under the cosine distance, mean of the two domains.

    In [-1, 1]. A domain with silhouette s enters as ``r s - (1 - o)`` with its share r of resolved
    clusters and the share o of clusters that own an image: a few points or a line have a high
    silhouette, one point has none. Exact over all images: the mean cosine of an image to a cluster
    is its dot product with the cluster's mean.
    """
    return (_corrected(embeddings.a) + _corrected(embeddings.b)) / 2


def _corrected(domain: DomainEmbeddings) -> float:
    value = mean_silhouette(domain.z_ND, domain.clusters).item()
    return domain.resolved * value - (1 - domain.clusters.occupancy)


def mean_silhouette(z_ND: Tensor, clusters: ReferenceClustering) -> Tensor:
    """Mean silhouette of L2-normalised embeddings; images alone in their cluster count as 0.

    0 where fewer than two clusters own an image.
    """
    count_K, assign_N1 = clusters.count_K, clusters.assign_N[:, None]
    sum_KD = torch.zeros_like(clusters.proto_KD).index_add_(0, clusters.assign_N, z_ND)
    cosine_sum_NK = z_ND @ sum_KD.T
    own_count_N1 = count_K[clusters.assign_N][:, None]
    # The image itself, at distance zero, is in the sum but not in the mean.
    within_N1 = own_count_N1 - cosine_sum_NK.gather(1, assign_N1)
    within_N1 = within_N1.clamp(min=0) / (own_count_N1 - 1).clamp(min=1)
    distance_NK = (1 - cosine_sum_NK / count_K.clamp(min=1)).clamp(min=0)
    distance_NK = distance_NK.masked_fill(count_K == 0, torch.inf)
    nearest_N1 = distance_NK.scatter(1, assign_N1, torch.inf).amin(1, keepdim=True)
    larger_N1 = torch.maximum(within_N1, nearest_N1)
    defined_N1 = (own_count_N1 > 1) & (larger_N1 > 0) & nearest_N1.isfinite()
    value_N1 = (nearest_N1 - within_N1) / larger_N1
    return torch.where(defined_N1, value_N1, torch.zeros_like(value_N1)).mean()
