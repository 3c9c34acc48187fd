"""Entropy of an image over its nearest images in the other domain.

Shapes: B batch, N images of the other domain, M neighbours, D embedding size.
"""

import torch.nn.functional as F
from torch import Tensor

from harness.arguments import positive
from harness.errors import UsageError
from losses.contract import DomainView, Loss, StepContext, register_loss


def neighbour_entropy(z_BD: Tensor, other_ND: Tensor, neighbours: int, tau: float) -> Tensor:
    """Mean entropy (nats) of the softmax over the nearest bank entries of the other domain.

    Images that are not among the ``neighbours`` nearest of all N (or of fewer, where the domain
    is smaller) have probability 0.
    """
    logits_BN = (z_BD / tau) @ other_ND.detach().T
    nearest_BM = logits_BN.topk(min(neighbours, len(other_ND)), dim=1, sorted=False).values
    logp_BM = F.log_softmax(nearest_BM, dim=1)
    return -(logp_BM.exp() * logp_BM).sum(1).mean()


@register_loss("neighbour_entropy")
class NeighbourEntropy(Loss):
    """Cross-domain matching of CDS: entropy over the top similarities to the other domain's bank.

    Kim et al. (ICCV 2021). The two directions are added without a half, as in the authors' code.

    Args:
        tau: temperature.
        neighbours: how many nearest images of the other domain take part; cut to its size.
    """

    def __init__(self, tau: float = 0.1, neighbours: int = 700) -> None:
        super().__init__()
        self.tau = positive("tau", tau)
        if neighbours < 1:
            raise UsageError(f"neighbours must be at least 1, not {neighbours}.")
        self.neighbours = int(neighbours)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum of both directions, in nats."""
        a_to_b = neighbour_entropy(a.z_BD, b.bank_ND, self.neighbours, self.tau)
        b_to_a = neighbour_entropy(b.z_BD, a.bank_ND, self.neighbours, self.tau)
        return a_to_b + b_to_a
