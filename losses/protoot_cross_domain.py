"""Cross-domain contrast of ProtoOT: an image with a prototype of the other domain.

Shapes: B batch, N images of the domain, K prototypes of the other domain, D embedding size.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from harness.arguments import one_of, positive
from harness.errors import UsageError
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.marginal_sinkhorn import prototype_plan
from losses.parts.zero_loss import zero_loss

BetaMode = Literal["fixed", "official"]


def protoot_cross_domain_loss(
    z_BD: Tensor, target_B: Tensor, proto_KD: Tensor, tau: float, rescaled_negatives: bool
) -> Tensor:
    """Cross-entropy of each image with its target among the other domain's prototypes; scalar.

    With ``rescaled_negatives`` the similarities to the other prototypes are L2-normalised over all
    prototypes while that to the target is not, as in the authors' code.
    """
    proto_KD = proto_KD.detach()
    similarity_BK = z_BD @ proto_KD.T
    if not rescaled_negatives:
        return F.cross_entropy(similarity_BK / tau, target_B)
    positive_B1 = similarity_BK.gather(1, target_B[:, None])
    logits_BK = F.normalize(similarity_BK, dim=1).scatter(1, target_B[:, None], positive_B1)
    return F.cross_entropy(logits_BK / tau, target_B)


@register_loss("protoot_cross_domain")
class ProtoOTCrossDomain(Loss):
    """ProtoOT's cross-domain loss, sum of the two domains.

    Li et al. (AAAI 2024). The bank is transported to the *other* domain's prototypes; an image's
    target is the prototype that takes most of it. Reads the *last* clustering of a view, which is
    to hold the prototypes after the step and their marginals
    (``losses.parts.marginal_sinkhorn.protoot_step``). Zero before the first clustering.

    ``official`` is the authors' code `ebe94d7`: the marginals of the image's own domain are laid
    on the other domain's prototypes, whose order has nothing to do with them (so both domains must
    have the same number), and the negatives are rescaled but the positive is not. ``fixed`` takes
    the prototypes' own marginals, and plain cosines throughout.

    Args:
        tau: temperature.
        epsilon: strength of the entropic regularisation.
        iterations: Sinkhorn iterations.
        beta_mode: ``fixed`` or ``official``.
    """

    def __init__(
        self,
        tau: float = 0.2,
        epsilon: float = 0.05,
        iterations: int = 3,
        beta_mode: BetaMode = "fixed",
    ) -> None:
        super().__init__()
        self.tau = positive("tau", tau)
        self.epsilon = positive("epsilon", epsilon)
        if iterations < 1:
            raise UsageError(f"iterations must be at least 1, not {iterations}.")
        self.iterations = int(iterations)
        one_of("beta_mode", beta_mode, ("fixed", "official"))
        self.beta_mode = beta_mode

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum over the two domains.

        Raises:
            UsageError: the clusterings have no marginals, or ``official`` meets domains with
                different numbers of prototypes.
        """
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        return self._of_domain(a, b) + self._of_domain(b, a)

    def _of_domain(self, view: DomainView, other: DomainView) -> Tensor:
        official = self.beta_mode == "official"
        prototypes = other.clusterings[-1]
        marginal_K = (view.clusterings[-1] if official else prototypes).marginal_K
        if marginal_K is None:
            raise UsageError(
                "The loss 'protoot_cross_domain' needs a clustering rule that computes marginals."
            )
        if len(marginal_K) != len(prototypes.proto_KD):
            raise UsageError(
                "beta_mode=official needs the same number of clusters in both domains; "
                "use beta_mode=fixed."
            )
        plan_NK = prototype_plan(
            view.bank_ND.detach(),
            prototypes.proto_KD.detach(),
            marginal_K.detach(),
            self.epsilon,
            self.iterations,
        )
        target_B = plan_NK[view.index_B].argmax(dim=1)
        return protoot_cross_domain_loss(
            view.z_BD, target_B, prototypes.proto_KD, self.tau, rescaled_negatives=official
        )
