"""Entropy of an image over the prototypes of both domains.

Shapes: B batch, K prototypes, D embedding size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from losses.arguments import positive
from losses.contract import DomainView, Loss, StepContext
from losses.registry import register_loss
from losses.zero_loss import zero_loss


def prototype_entropy(z_BD: Tensor, proto_KD: Tensor, temperature: float) -> Tensor:
    """Mean entropy (nats) of the softmax of each image over the prototypes; scalar."""
    logp_BK = F.log_softmax(z_BD @ proto_KD.detach().T / temperature, dim=1)
    return -(logp_BK.exp() * logp_BK).sum(1).mean()


@register_loss("self_entropy")
class SelfEntropy(Loss):
    """Self-entropy, mean of the four combinations of feature domain and prototype domain.

    UCDIR's L_SE (Hu & Lee, ECCV 2022). Zero before the first clustering; several clusterings are
    averaged.

    Args:
        temperature: temperature of the softmax; the authors' is 0.1 (DomainNet) or 0.01
            (Office-Home).
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the mean entropy in nats."""
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        by_prototype_domain = [
            torch.stack(
                [
                    prototype_entropy(z_BD, clustering.proto_KD, self.temperature)
                    for z_BD in (a.z_BD, b.z_BD)
                    for clustering in view.clusterings
                ]
            ).mean()
            for view in (a, b)
        ]
        return torch.stack(by_prototype_domain).mean()
