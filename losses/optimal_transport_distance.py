"""Distances between matched centroids of the two domains (``ucdir_ot``).

Shapes: K, L prototypes of the two domains (K <= L), B batch, D embedding size.
"""

import torch
from torch import Tensor

from harness.arguments import positive
from harness.errors import UsageError
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.dissimilarity import euclidean_distances
from losses.parts.soft_centroids import centroid_momentum, soft_assignment, soft_centroids
from losses.parts.zero_loss import zero_loss


def matched_structure_distance(
    centroid_KD: Tensor, other_LD: Tensor, counterpart_K: Tensor
) -> Tensor:
    """Mean over pairs i != j of ``| |c_i - c_j| - |c'_m(i) - c'_m(j)| |``; scalar.

    Every centroid has a counterpart. With one centroid there is no pair, and the value is 0.
    """
    clusters = len(centroid_KD)
    matched_KD = other_LD[counterpart_K]
    distance_KK = euclidean_distances(centroid_KD, centroid_KD)
    other_distance_KK = euclidean_distances(matched_KD, matched_KD)
    return (distance_KK - other_distance_KK).abs().sum() / max(clusters * (clusters - 1), 1)


@register_loss("optimal_transport_distance")
class OptimalTransportDistance(Loss):
    """Distance-of-distance between centroids matched by optimal transport.

    Not the published distance-of-distance but the variant a review describes (``ucdir_ot`` in
    docs/methods.md). The match is a constant that the clustering rule makes once per clustering
    (``kmeans_matched``); the gradient flows through the soft centroids of both batches. A mean
    over the pairs instead of the sum. Zero before the first clustering; several clusterings are
    averaged.

    Args:
        temperature: of the soft assignment.
        momentum: share of the prototype in the soft centroid of an average cluster, in [0, 1).
    """

    def __init__(self, temperature: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.momentum = centroid_momentum(momentum)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the mean difference of matched distances.

        Raises:
            UsageError: the clustering rule does not match the prototypes.
        """
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        losses = []
        for of_a, of_b in zip(a.clusterings, b.clusterings, strict=True):
            centroids = [self._centroids(a.z_BD, of_a), self._centroids(b.z_BD, of_b)]
            fewer, more = (0, 1) if len(of_a.proto_KD) <= len(of_b.proto_KD) else (1, 0)
            counterpart_K = (of_a, of_b)[fewer].counterpart_K
            if counterpart_K is None:
                raise UsageError(
                    "The loss 'optimal_transport_distance' needs a clustering rule that matches "
                    "the prototypes of the two domains."
                )
            losses.append(
                matched_structure_distance(centroids[fewer], centroids[more], counterpart_K)
            )
        return torch.stack(losses).mean()

    def _centroids(self, z_BD: Tensor, clustering: Clustering) -> Tensor:
        share_BK = soft_assignment(z_BD, clustering.proto_KD, self.temperature)
        return soft_centroids(share_BK, z_BD, clustering.proto_KD, self.momentum)
