"""Adversarial alignment of the two domains.

Shapes: B batch, X size of the features acted on.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.arguments import one_of
from harness.errors import UsageError
from losses.contract import DomainView, Loss, StepContext, register_loss
from losses.parts.feature_choice import FEATURES, Features, features_of


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def reverse_gradient(x: Tensor) -> Tensor:
    """The identity whose gradient has the opposite sign (Ganin & Lempitsky, ICML 2015)."""
    reversed_x: Tensor = _ReverseGradient.apply(x)
    return reversed_x


@register_loss("domain_adversarial")
class DomainAdversarial(Loss):
    """Binary cross-entropy of a domain classifier behind a gradient-reversal layer.

    DANN (Ganin & Lempitsky, ICML 2015), and L_DAL of UEM (Wang et al., NeurIPS 2024, eq. 13) as a
    mean: images of a domain are averaged, then the two domains. The classifier (two fully
    connected layers, ReLU between) learns to tell the domains apart, the encoder to prevent it.
    Logs the classifier's ``accuracy``: 0.5 means it cannot.

    Args:
        pooled_size: number of pooled features; the harness fills it in.
        embedding_size: size of the embeddings; the harness fills it in.
        features: the classifier sees ``pooled`` features or the ``embedding``.
        hidden_size: width of the hidden layer; None takes the size of its input.
    """

    recorded = ("domain_adversarial.accuracy",)

    def __init__(
        self,
        pooled_size: int,
        embedding_size: int,
        features: Features = "pooled",
        hidden_size: int | None = None,
    ) -> None:
        super().__init__()
        one_of("features", features, FEATURES)
        self.features = features
        size = pooled_size if features == "pooled" else embedding_size
        hidden = size if hidden_size is None else hidden_size
        if hidden < 1:
            raise UsageError(f"hidden_size must be at least 1, not {hidden}.")
        self.classifier = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the classifier's cross-entropy in nats; log 2 means the domains are mixed."""
        logit_a_B = self._logits(a)
        logit_b_B = self._logits(b)
        right = (logit_a_B > 0).float().mean() + (logit_b_B <= 0).float().mean()
        step.record("domain_adversarial.accuracy", right / 2)
        return (F.softplus(-logit_a_B).mean() + F.softplus(logit_b_B).mean()) / 2

    def _logits(self, view: DomainView) -> Tensor:
        logits: Tensor = self.classifier(reverse_gradient(features_of(view, self.features)))
        return logits[:, 0]
