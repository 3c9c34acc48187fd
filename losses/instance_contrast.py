"""Instance-wise contrast of an image with its own slot in the memory bank.

Shapes: B batch, N images of the domain, D embedding size.
"""

import torch.nn.functional as F
from torch import Tensor

from harness.arguments import positive
from losses.contract import DomainView, Loss, StepContext, register_loss


def instance_contrast_loss(
    z_BD: Tensor, key_BD: Tensor | None, bank_ND: Tensor, index_B: Tensor, tau: float
) -> Tensor:
    """Cross-entropy of each image over the whole bank of its domain; scalar, mean over B.

    The positive is the image's own key where there is one, else its slot of the bank. After the
    bank rule ``overwrite`` both are the same vector, except for an image that is there twice.
    """
    scaled_BD = z_BD / tau
    logits_BN = scaled_BD @ bank_ND.detach().T
    if key_BD is not None:
        positive_B1 = (scaled_BD * key_BD.detach()).sum(1, keepdim=True)
        logits_BN = logits_BN.scatter(1, index_B[:, None], positive_B1)
    return F.cross_entropy(logits_BN, index_B)


@register_loss("instance_contrast")
class InstanceContrast(Loss):
    """Instance-wise contrastive loss, mean of the two domains.

    UCDIR's L_IW (Hu & Lee, ECCV 2022), each domain against its own bank. Without a momentum
    encoder it is the instance discrimination of Wu et al. (CVPR 2018), also used by CDS.

    Args:
        tau: temperature.
    """

    def __init__(self, tau: float = 0.2) -> None:
        super().__init__()
        self.tau = positive("tau", tau)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns half the sum over the two domains."""
        loss_a = instance_contrast_loss(a.z_BD, a.key_BD, a.bank_ND, a.index_B, self.tau)
        loss_b = instance_contrast_loss(b.z_BD, b.key_BD, b.bank_ND, b.index_B, self.tau)
        return (loss_a + loss_b) / 2
