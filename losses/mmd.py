"""Maximum mean discrepancy between the features of the two domains.

Shapes: M, N images of two batches, X size of the features.
"""

import torch
from torch import Tensor

from harness.arguments import one_of
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.dissimilarity import squared_distances
from losses.parts.feature_choice import FEATURES, Features, features_of

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mean_discrepancy(x_MX: Tensor, y_NX: Tensor) -> Tensor:
    """Squared MMD (biased, never negative) under a sum of Gaussian kernels; scalar.

    The kernels are ``exp(-d^2 / (s w))`` with w the mean squared distance between two different
    images of the joint batch, taken as a constant, and s in ``BANDWIDTHS``.
    """
    joint_PX = torch.cat([x_MX, y_NX])
    joint_PX = joint_PX - joint_PX.mean(0).detach()
    squared_PP = squared_distances(joint_PX, joint_PX)
    pairs = len(joint_PX) * (len(joint_PX) - 1)
    width = (squared_PP.detach().sum() / pairs).clamp_min(1e-12)
    kernel_PP = torch.stack([torch.exp(-squared_PP / (s * width)) for s in BANDWIDTHS]).sum(0)
    m = len(x_MX)
    return kernel_PP[:m, :m].mean() + kernel_PP[m:, m:].mean() - 2 * kernel_PP[:m, m:].mean()


@register_loss("mmd")
class MaximumMeanDiscrepancy(Loss):
    """Squared maximum mean discrepancy between the batches of the two domains.

    The multi-kernel form of DAN (Long et al., ICML 2015): five Gaussians around the mean squared
    distance.

    Args:
        features: acts on ``pooled`` features or on the ``embedding``.
    """

    def __init__(self, features: Features = "pooled") -> None:
        super().__init__()
        one_of("features", features, FEATURES)
        self.features = features

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the squared discrepancy, at least 0."""
        return mean_discrepancy(features_of(a, self.features), features_of(b, self.features))
