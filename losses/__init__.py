"""The losses, one per file; importing this package registers them all."""

from losses import (  # noqa: F401  (imported to register)
    cluster_contrast,
    coda,
    coral,
    distance_of_distance,
    domain_adversarial,
    instance_contrast,
    mmd,
    neighbour_entropy,
    optimal_transport_distance,
    proto_nce,
    protoot_cross_domain,
    protoot_in_domain,
    self_entropy,
    semantic_enhanced,
    semantic_preserving,
    soft_centroid_contrast,
    switchable_neighbour,
    uem_instance,
    uem_prototype,
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
