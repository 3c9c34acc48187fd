"""Round trips from one domain to the other and back.

Shapes: N images of domain A, M images of domain B, K reference clusters.
"""

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.reference_clustering import ReferenceClustering
from harness.validators.registry import register_validator


@register_validator("cycle_consistency", direction="max")
def cycle_consistency(embeddings: PairEmbeddings) -> float:
    """Whether the nearest neighbour's nearest neighbour lies in the cluster one started from.

    From each image to its nearest image of the other domain and from there to the nearest image
    of the first; agreement of start and end in the reference cluster, corrected for chance as
    Cohen's kappa, mean of A -> B -> A and B -> A -> B. At most 1; about 0 where round trips end
    anywhere, or all in the same place. Multiplied by the share of clusters that own an image.
    """
    of_a_N, of_b_M = embeddings.neighbours.of_a_N, embeddings.neighbours.of_b_M
    values = (
        _agreement(embeddings.clusters_a, of_b_M[of_a_N]),
        _agreement(embeddings.clusters_b, of_a_N[of_b_M]),
    )
    return sum(values) / 2


def _agreement(clusters: ReferenceClustering, end_N: Tensor) -> float:
    start_cluster_N, end_cluster_N = clusters.assign_N, clusters.assign_N[end_N]
    observed = (start_cluster_N == end_cluster_N).double().mean().item()
    start_K = clusters.count_K.double() / len(end_N)
    end_K = torch.bincount(end_cluster_N, minlength=len(start_K)).double() / len(end_N)
    chance = (start_K * end_K).sum().item()
    kappa = (observed - chance) / (1 - chance) if chance < 1 else 0.0
    return kappa * clusters.occupancy
