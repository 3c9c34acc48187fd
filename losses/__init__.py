"""The losses, one per file; importing this package registers them all."""

from losses import (  # noqa: F401  (imported to register)
    cluster_contrast,
    distance_of_distance,
    instance_contrast,
    self_entropy,
)
from losses.contract import Clustering, DomainView, Loss, MergedPrototypes, StepContext
from losses.registry import create_loss, loss_class, loss_names, register_loss

__all__ = [
    "Clustering",
    "DomainView",
    "Loss",
    "MergedPrototypes",
    "StepContext",
    "create_loss",
    "loss_class",
    "loss_names",
    "register_loss",
]
