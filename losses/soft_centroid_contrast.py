"""Contrast of an image with the soft centroid it is nearest to.

Shapes: B batch, K prototypes, D embedding size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.arguments import positive
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.soft_centroids import centroid_momentum, soft_assignment, soft_centroids
from losses.parts.zero_loss import zero_loss


def soft_centroid_contrast_loss(
    z_BD: Tensor, proto_KD: Tensor, temperature: float, momentum: float
) -> Tensor:
    """Cross-entropy over the cosines to the soft centroids, mean over B; scalar.

    The target of an image is its nearest prototype.
    """
    share_BK = soft_assignment(z_BD, proto_KD, temperature)
    centroid_KD = F.normalize(soft_centroids(share_BK, z_BD, proto_KD, momentum), dim=1)
    return F.cross_entropy(z_BD @ centroid_KD.T / temperature, share_BK.argmax(dim=1))


@register_loss("soft_centroid_contrast")
class SoftCentroidContrast(Loss):
    """Cluster term of ``ucdir_ot``, mean of the two domains and of the clusterings.

    The softmax over soft centroids that a review describes in place of UCDIR's L_CW (see
    docs/methods.md); a mean over the batch instead of its sum. Zero before the first clustering.

    Args:
        temperature: of the soft assignment and of the contrast.
        momentum: share of the prototype in the soft centroid of an average cluster, in [0, 1).
    """

    def __init__(self, temperature: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.momentum = centroid_momentum(momentum)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns half the sum over the two domains."""
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        return (self._of_domain(a.z_BD, a.clusterings) + self._of_domain(b.z_BD, b.clusterings)) / 2

    def _of_domain(self, z_BD: Tensor, clusterings: tuple[Clustering, ...]) -> Tensor:
        settings = (self.temperature, self.momentum)
        return torch.stack(
            [soft_centroid_contrast_loss(z_BD, item.proto_KD, *settings) for item in clusterings]
        ).mean()
