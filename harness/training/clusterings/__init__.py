"""Clustering rules; importing this package registers them."""

from harness.training.clusterings import (  # noqa: F401  (imported to register)
    elbow_merged,
    many_kmeans,
    matched_kmeans,
    per_domain_kmeans,
    protoot,
    union_kmeans,
)
from harness.training.clusterings.contract import (
    CLUSTER_COUNTS,
    NO_CLUSTERINGS,
    ClusteringRule,
    PairClusterings,
    cluster_counts,
    create_clustering,
    register_clustering,
)

__all__ = [
    "CLUSTER_COUNTS",
    "NO_CLUSTERINGS",
    "ClusteringRule",
    "PairClusterings",
    "cluster_counts",
    "create_clustering",
    "register_clustering",
]
