"""Semantic-enhanced loss of UEM: expected distance to the prototypes.

Shapes: B batch, C prototypes of the set, D embedding size.
"""

import torch.nn.functional as F
from torch import Tensor

from harness.arguments import one_of, positive
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.dissimilarity import euclidean_distances
from losses.parts.merged_prototypes import PROTOTYPE_SETS, PrototypeSet, prototypes_of
from losses.parts.zero_loss import zero_loss


def semantic_enhanced_loss(z_BD: Tensor, proto_CD: Tensor, tau: float) -> Tensor:
    """Eq. 11 of UEM; scalar. The gradient flows through the softmax and the distances."""
    proto_CD = proto_CD.detach()
    share_BC = F.softmax(z_BD @ proto_CD.T / tau, dim=1)
    return (share_BC * euclidean_distances(z_BD, proto_CD)).sum(1).mean()


@register_loss("semantic_enhanced")
class SemanticEnhanced(Loss):
    """UEM's L_SEL, sum of the two domains.

    Wang et al. (NeurIPS 2024, eq. 11). Zero before the first clustering.

    Args:
        tau: temperature.
        prototypes: the ``merged`` set P', or the domain's ``own`` (the ablation without merging).
    """

    def __init__(self, tau: float = 0.07, prototypes: PrototypeSet = "merged") -> None:
        super().__init__()
        self.tau = positive("tau", tau)
        one_of("prototypes", prototypes, PROTOTYPE_SETS)
        self.prototypes = prototypes

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum over the two domains.

        Raises:
            UsageError: the merged set is wanted and the clustering rule does not merge.
        """
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        proto_a_CD, _ = prototypes_of(a, self.prototypes)
        proto_b_CD, _ = prototypes_of(b, self.prototypes)
        loss_a = semantic_enhanced_loss(a.z_BD, proto_a_CD, self.tau)
        return loss_a + semantic_enhanced_loss(b.z_BD, proto_b_CD, self.tau)
