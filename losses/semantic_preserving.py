"""Semantic preservation of UEM: the geometry of a batch stays that of the frozen copy.

Shapes: B batch, D embedding size.
"""

import torch.nn.functional as F
from torch import Tensor

from harness.errors import UsageError
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.dissimilarity import euclidean_distances


def semantic_preserving_loss(z_BD: Tensor, frozen_BD: Tensor) -> Tensor:
    """Eq. 14 of UEM: squared changes of the pairwise cosines and distances, mean over B^2."""
    frozen_BD = frozen_BD.detach()
    unit_BD, frozen_unit_BD = F.normalize(z_BD, dim=1), F.normalize(frozen_BD, dim=1)
    cosine_BB = unit_BD @ unit_BD.T - frozen_unit_BD @ frozen_unit_BD.T
    distance_BB = euclidean_distances(z_BD, z_BD) - euclidean_distances(frozen_BD, frozen_BD)
    return (cosine_BB.square() + distance_BB.square()).mean()


@register_loss("semantic_preserving")
class SemanticPreserving(Loss):
    """UEM's L_SPR against the frozen copy of the first stage, sum of the two domains.

    Wang et al. (NeurIPS 2024, eq. 14).
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum over the two domains.

        Raises:
            UsageError: the stage has no frozen copy.
        """
        if a.frozen_BD is None or b.frozen_BD is None:
            raise UsageError(
                "The loss 'semantic_preserving' needs a stage that starts with a frozen copy."
            )
        loss_a = semantic_preserving_loss(a.z_BD, a.frozen_BD)
        return loss_a + semantic_preserving_loss(b.z_BD, b.frozen_BD)
