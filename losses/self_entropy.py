"""Entropy of an image over the prototypes of both domains.

Shapes: B batch, K prototypes, D embedding size.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.arguments import one_of, positive
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.zero_loss import zero_loss

PrototypeDomain = Literal["both", "own", "other"]


def prototype_entropy(z_BD: Tensor, proto_KD: Tensor, temperature: float) -> Tensor:
    """Mean entropy (nats) of the softmax of each image over the prototypes; scalar."""
    logp_BK = F.log_softmax(z_BD @ proto_KD.detach().T / temperature, dim=1)
    return -(logp_BK.exp() * logp_BK).sum(1).mean()


def _mean_entropy(z_BD: Tensor, clusterings: Sequence[Clustering], temperature: float) -> Tensor:
    return torch.stack(
        [prototype_entropy(z_BD, item.proto_KD, temperature) for item in clusterings]
    ).mean()


@register_loss("self_entropy")
class SelfEntropy(Loss):
    """Self-entropy, mean over the combinations of feature domain and prototype domain.

    UCDIR's L_SE (Hu & Lee, ECCV 2022) with the prototypes of ``both`` domains; the cross-domain
    instance-to-prototype entropy of PCS (I2C; Yue et al., CVPR 2021) with those of the ``other``.
    Zero before the first clustering; several clusterings are averaged.

    Args:
        temperature: temperature of the softmax; UCDIR's is 0.1 (DomainNet) or 0.01 (Office-Home).
        prototypes: whose prototypes an image is compared with: ``both``, ``own`` or ``other``.
    """

    def __init__(self, temperature: float = 0.1, prototypes: PrototypeDomain = "both") -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        one_of("prototypes", prototypes, ("both", "own", "other"))
        self.prototypes = prototypes

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the mean entropy in nats."""
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        same_domain, across = [(a, a), (b, b)], [(a, b), (b, a)]
        pairs = {"both": same_domain + across, "own": same_domain, "other": across}[self.prototypes]
        return torch.stack(
            [
                _mean_entropy(image.z_BD, prototype.clusterings, self.temperature)
                for image, prototype in pairs
            ]
        ).mean()
