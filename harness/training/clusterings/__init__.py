"""Clustering rules; importing this package registers them."""

from harness.training.clusterings import per_domain_kmeans as per_domain_kmeans
from harness.training.clusterings.contract import (
    NO_CLUSTERINGS,
    ClusteringRule,
    PairClusterings,
    create_clustering,
    register_clustering,
)

__all__ = [
    "NO_CLUSTERINGS",
    "ClusteringRule",
    "PairClusterings",
    "create_clustering",
    "register_clustering",
]
