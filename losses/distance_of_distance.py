"""Agreement of the two domains' prototypes on the distances between images.

Shapes: B batch, K prototypes, D embedding size.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.arguments import one_of, positive
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.zero_loss import zero_loss

Reduction = Literal["sum", "mean"]


def distances_over_prototypes(z_BD: Tensor, proto_KD: Tensor, temperature: float) -> Tensor:
    """1 - cosine between the prototype distributions of every two images of the batch (B, B)."""
    p_BK = F.normalize(F.softmax(z_BD @ proto_KD.detach().T / temperature, dim=1), dim=1)
    return 1.0 - p_BK @ p_BK.T


def distance_of_distance_loss(
    z_BD: Tensor, proto_a_KD: Tensor, proto_b_KD: Tensor, temperature: float, reduction: Reduction
) -> Tensor:
    """UCDIR's distance of distances for the images of one domain; scalar.

    The squared difference of the two distance matrices, averaged over i and summed over j
    (``sum``, the authors' form, which grows with B) or averaged over both (``mean``).
    """
    distances_a_BB = distances_over_prototypes(z_BD, proto_a_KD, temperature)
    distances_b_BB = distances_over_prototypes(z_BD, proto_b_KD, temperature)
    squared_BB = (distances_a_BB - distances_b_BB).square()
    return squared_BB.sum(1).mean() if reduction == "sum" else squared_BB.mean()


@register_loss("distance_of_distance")
class DistanceOfDistance(Loss):
    """Distance-of-distance, mean of the two feature domains.

    UCDIR's L_DD (Hu & Lee, ECCV 2022): distances between images are measured once in the
    probabilities over the prototypes of A and once over those of B. Nothing is matched, and the
    order of the prototypes plays no part. Zero before the first clustering; several clusterings
    are averaged.

    Args:
        temperature: temperature of the softmax over prototypes; the authors' is 0.01.
        reduction: ``sum`` over the second image of a pair as the authors (grows with the batch),
            or ``mean``.
    """

    def __init__(self, temperature: float = 0.01, reduction: Reduction = "sum") -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        one_of("reduction", reduction, ("sum", "mean"))
        self.reduction = reduction

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the mean over feature domains and clusterings."""
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        return torch.stack(
            [
                distance_of_distance_loss(
                    z_BD, of_a.proto_KD, of_b.proto_KD, self.temperature, self.reduction
                )
                for of_a, of_b in zip(a.clusterings, b.clusterings, strict=True)
                for z_BD in (a.z_BD, b.z_BD)
            ]
        ).mean()
