"""Contrast of an image with its own prototype against all prototypes of its domain.

Shapes: B batch, N images of the domain, K prototypes, D embedding size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.arguments import positive
from harness.errors import UsageError
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.zero_loss import zero_loss


def proto_nce_loss(
    z_BD: Tensor, index_B: Tensor, clusterings: Sequence[Clustering], tau: float | None
) -> Tensor:
    """Cross-entropy over the prototypes, mean over images and clusterings; scalar.

    The logit of each prototype is divided by its own density, or by ``tau`` where that is given.

    Raises:
        UsageError: ``tau`` is None and a clustering has no densities.
    """
    losses = []
    for clustering in clusterings:
        scale: Tensor | float
        if tau is not None:
            scale = tau
        elif clustering.density_K is not None:
            scale = clustering.density_K.detach()
        else:
            raise UsageError(
                "The loss 'proto_nce' needs a clustering rule that computes densities, or a tau."
            )
        logits_BK = z_BD @ clustering.proto_KD.detach().T / scale
        losses.append(F.cross_entropy(logits_BK, clustering.assign_N[index_B]))
    return torch.stack(losses).mean()


@register_loss("proto_nce")
class ProtoNCE(Loss):
    """Prototype part of ProtoNCE, mean of the two domains.

    PCL (Li et al., ICLR 2021) with all prototypes as negatives, and the in-domain term of PCS (Yue
    et al., CVPR 2021); they differ in the clustering rule's densities. PCL adds the instance term,
    which is ``instance_contrast``. Zero before the first clustering.

    Args:
        tau: one temperature for all prototypes; None takes the density of each.
    """

    def __init__(self, tau: float | None = None) -> None:
        super().__init__()
        self.tau = None if tau is None else positive("tau", tau)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns half the sum over the two domains.

        Raises:
            UsageError: ``tau`` is None and the clustering rule computes no densities.
        """
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        loss_a = proto_nce_loss(a.z_BD, a.index_B, a.clusterings, self.tau)
        loss_b = proto_nce_loss(b.z_BD, b.index_B, b.clusterings, self.tau)
        return (loss_a + loss_b) / 2
