"""Switchable nearest-neighbour match of UEM: an image with a prototype of the other domain, and
with its neighbour there where the two agree.

Shapes: B batch, N images of the other domain, K own prototypes, C merged prototypes in the other
domain, D embedding size.
"""

import math

import torch
from torch import Tensor

from harness.arguments import positive
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.dissimilarity import dissimilarity
from losses.parts.merged_prototypes import merged_of
from losses.parts.zero_loss import zero_loss


def switchable_neighbour_loss(
    z_BD: Tensor, own_KD: Tensor, other_bank_ND: Tensor, other: Clustering, tau: float
) -> tuple[Tensor, Tensor]:
    """L_SN2M of one domain (eq. 15-17 of UEM).

    An image's own prototype is the least dissimilar of ``own_KD`` (eq. 15); its row in the set
    merged in the other domain is its positive. Its neighbour is the least dissimilar entry of the
    other bank (eq. 16), and counts as a second positive where the neighbour's cluster has the
    same row: an index comparison, not one of distances.

    Returns:
        The loss, and the share of images whose neighbour counts; both scalars.

    Raises:
        UsageError: the clustering rule does not merge.
    """
    merged = merged_of(other)
    proto_CD, other_bank_ND = merged.proto_CD.detach(), other_bank_ND.detach()
    own_B = dissimilarity(z_BD, own_KD).argmin(dim=1)
    neighbour_B = dissimilarity(z_BD, other_bank_ND).argmin(dim=1)
    target_B = merged.other_to_merged_K[own_B]
    agrees_B = merged.own_to_merged_K[other.assign_N[neighbour_B]] == target_B

    scaled_BD = z_BD / tau
    proto_logits_BC = scaled_BD @ proto_CD.T
    bank_logits_BN = scaled_BD @ other_bank_ND.T
    by_prototype_B = proto_logits_BC.gather(1, target_B[:, None])[:, 0]
    by_neighbour_B = bank_logits_BN.gather(1, neighbour_B[:, None])[:, 0]
    by_neighbour_B = by_neighbour_B.masked_fill(~agrees_B, -math.inf)
    positive_B = torch.stack([by_prototype_B, by_neighbour_B], dim=1).logsumexp(dim=1)
    all_B = torch.cat([proto_logits_BC, bank_logits_BN], dim=1).logsumexp(dim=1)
    return (all_B - positive_B).mean(), agrees_B.float().mean()


@register_loss("switchable_neighbour")
class SwitchableNeighbour(Loss):
    """UEM's L_SN2M, sum of the two domains, each a mean over its batch.

    Wang et al. (NeurIPS 2024, eq. 15-17), over the whole bank of the other domain. Logs the share
    of images that switch to prototype and neighbour as ``switchable_neighbour.agreement``. Zero
    before the first clustering.

    Args:
        tau: temperature.
    """

    recorded = ("switchable_neighbour.agreement",)

    def __init__(self, tau: float = 0.07) -> None:
        super().__init__()
        self.tau = positive("tau", tau)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum over the two domains.

        Raises:
            UsageError: the clustering rule does not merge.
        """
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        of_a, of_b = a.clusterings[0], b.clusterings[0]
        loss_a, agree_a = switchable_neighbour_loss(
            a.z_BD, of_a.proto_KD, b.bank_ND, of_b, self.tau
        )
        loss_b, agree_b = switchable_neighbour_loss(
            b.z_BD, of_b.proto_KD, a.bank_ND, of_a, self.tau
        )
        step.record("switchable_neighbour.agreement", (agree_a + agree_b) / 2)
        return loss_a + loss_b
