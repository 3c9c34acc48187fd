"""Distance between the covariances of the two domains.

Shapes: B batch, X size of the features.
"""

from torch import Tensor

from harness.arguments import one_of
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.feature_choice import FEATURES, Features, features_of


def covariance(x_BX: Tensor) -> Tensor:
    """Covariance of a batch (X, X), with divisor B - 1."""
    centred_BX = x_BX - x_BX.mean(0)
    return centred_BX.T @ centred_BX / max(len(x_BX) - 1, 1)


@register_loss("coral")
class Coral(Loss):
    """Squared Frobenius distance between the covariances, over 4 X^2.

    Deep CORAL (Sun & Saenko, ECCV Workshops 2016). On L2-normalised embeddings the value is at
    most about 1 / (4 X^2), so its weight must be larger by that much.

    Args:
        features: acts on ``pooled`` features or on the ``embedding``.
    """

    def __init__(self, features: Features = "pooled") -> None:
        super().__init__()
        one_of("features", features, FEATURES)
        self.features = features

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the distance between the two batches' covariances."""
        difference_XX = covariance(features_of(a, self.features)) - covariance(
            features_of(b, self.features)
        )
        return difference_XX.square().sum() / (4 * len(difference_XX) ** 2)
