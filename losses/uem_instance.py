"""Instance term of UEM: an image with its slot of the memory.

Shapes: B batch, N images of the domain, D embedding size.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.arguments import one_of, positive
from losses.contract import DomainView, Loss, StepContext, register_loss

Negatives = Literal["bank", "batch"]


def uem_instance_loss(
    z_BD: Tensor, bank_ND: Tensor, index_B: Tensor, tau: float, negatives: Negatives
) -> Tensor:
    """Eq. 6 of UEM as a mean over the batch; scalar."""
    bank_ND = bank_ND.detach()
    if negatives == "bank":
        return F.cross_entropy((z_BD / tau) @ bank_ND.T, index_B)
    slots_BD = bank_ND[index_B]
    own_B = torch.arange(len(z_BD), device=z_BD.device)
    return F.cross_entropy((z_BD / tau) @ slots_BD.T, own_B)


@register_loss("uem_instance")
class UemInstance(Loss):
    """UEM's instance term L_INCE, sum of the two domains, each a mean over its batch.

    Wang et al. (NeurIPS 2024, eq. 6). The text speaks of all other instances, the formula sums
    over the batch: ``bank`` and ``batch``.

    Args:
        tau: temperature.
        negatives: the whole ``bank`` of the domain, or the slots of the images in the ``batch``.
    """

    def __init__(self, tau: float = 0.07, negatives: Negatives = "bank") -> None:
        super().__init__()
        self.tau = positive("tau", tau)
        one_of("negatives", negatives, ("bank", "batch"))
        self.negatives = negatives

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum over the two domains."""
        loss_a = uem_instance_loss(a.z_BD, a.bank_ND, a.index_B, self.tau, self.negatives)
        loss_b = uem_instance_loss(b.z_BD, b.bank_ND, b.index_B, self.tau, self.negatives)
        return loss_a + loss_b
