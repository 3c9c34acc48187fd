"""Prototype term of UEM: an image with its prototype, after merging.

Shapes: B batch, C prototypes of the set, D embedding size.
"""

import torch.nn.functional as F
from torch import Tensor

from harness.arguments import one_of, positive
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.merged_prototypes import PROTOTYPE_SETS, PrototypeSet, prototypes_of
from losses.parts.zero_loss import zero_loss


def uem_prototype_loss(z_BD: Tensor, proto_CD: Tensor, own_B: Tensor, tau: float) -> Tensor:
    """Eq. 7 of UEM as a mean over the batch; scalar."""
    return F.cross_entropy(z_BD @ proto_CD.detach().T / tau, own_B)


@register_loss("uem_prototype")
class UemPrototype(Loss):
    """UEM's prototype term L_PNCE, sum of the two domains, each a mean over its batch.

    Wang et al. (NeurIPS 2024, eq. 7). Zero before the first clustering.

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
        loss_a = uem_prototype_loss(a.z_BD, *prototypes_of(a, self.prototypes), self.tau)
        loss_b = uem_prototype_loss(b.z_BD, *prototypes_of(b, self.prototypes), self.tau)
        return loss_a + loss_b
