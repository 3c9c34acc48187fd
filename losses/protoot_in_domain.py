"""In-domain contrast of ProtoOT: three positives against the prototypes.

Shapes: B batch, N images of the domain, K prototypes, D embedding size.
"""

import math

from torch import Tensor

from harness.arguments import positive
from harness.errors import UsageError
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.zero_loss import zero_loss


def nearest_other_slot(key_BD: Tensor, bank_ND: Tensor, index_B: Tensor) -> Tensor:
    """The bank entry nearest to each key, its own slot left out (B, D)."""
    similarity_BN = (key_BD @ bank_ND.T).scatter(1, index_B[:, None], -math.inf)
    return bank_ND[similarity_BN.argmax(dim=1)]


def against_other_prototypes(
    positive_BD: Tensor, z_BD: Tensor, proto_KD: Tensor, own_B: Tensor, tau: float
) -> Tensor:
    """Cross-entropy of a positive against all prototypes but the image's own; mean over B."""
    positive_B = (z_BD * positive_BD).sum(1, keepdim=True)
    logits_BK = (z_BD @ proto_KD.T).scatter(1, own_B[:, None], positive_B) / tau
    return (logits_BK.logsumexp(1) - positive_B[:, 0] / tau).mean()


def protoot_in_domain_loss(
    z_BD: Tensor,
    key_BD: Tensor,
    bank_ND: Tensor,
    index_B: Tensor,
    clustering: Clustering,
    tau: float,
    neighbour_weight: float,
    prototype_weight: float,
) -> Tensor:
    """L_in of one domain; the clustering holds the prototypes before the step."""
    key_BD, bank_ND, proto_KD = key_BD.detach(), bank_ND.detach(), clustering.proto_KD.detach()
    own_B = clustering.assign_N[index_B]
    neighbour_BD = nearest_other_slot(key_BD, bank_ND, index_B)
    of_key = against_other_prototypes(key_BD, z_BD, proto_KD, own_B, tau)
    of_neighbour = against_other_prototypes(neighbour_BD, z_BD, proto_KD, own_B, tau)
    of_prototype = against_other_prototypes(proto_KD[own_B], z_BD, proto_KD, own_B, tau)
    return of_key + neighbour_weight * of_neighbour + prototype_weight * of_prototype


@register_loss("protoot_in_domain")
class ProtoOTInDomain(Loss):
    """ProtoOT's in-domain loss, sum of the two domains.

    Li et al. (AAAI 2024), as their code `ebe94d7`: the own key, the nearest other bank entry of
    the key and the own prototype are positives, each against the other prototypes. Reads the
    *first* clustering of a view, which is to hold the prototypes before the step and the
    assignment by the transport plan to them (``losses.parts.marginal_sinkhorn.protoot_step``). Zero
    before the first clustering.

    Args:
        tau: temperature.
        neighbour_weight: weight of the nearest other bank entry as positive.
        prototype_weight: weight of the own prototype as positive.
    """

    def __init__(
        self, tau: float = 0.2, neighbour_weight: float = 0.5, prototype_weight: float = 0.1
    ) -> None:
        super().__init__()
        self.tau = positive("tau", tau)
        self.neighbour_weight = float(neighbour_weight)
        self.prototype_weight = float(prototype_weight)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum over the two domains.

        Raises:
            UsageError: there is no momentum encoder.
        """
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        return self._of_domain(a) + self._of_domain(b)

    def _of_domain(self, view: DomainView) -> Tensor:
        if view.key_BD is None:
            raise UsageError("The loss 'protoot_in_domain' needs a method with a momentum encoder.")
        return protoot_in_domain_loss(
            view.z_BD,
            view.key_BD,
            view.bank_ND,
            view.index_B,
            view.clusterings[0],
            self.tau,
            self.neighbour_weight,
            self.prototype_weight,
        )
