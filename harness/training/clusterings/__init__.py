"""Clustering rules, one per file; importing this package registers them."""

from importlib import import_module
from pkgutil import iter_modules

from harness.training.clusterings.contract import (
    CLUSTER_COUNTS,
    NO_CLUSTERINGS,
    ClusteringRule,
    PairClusterings,
    cluster_counts,
    create_clustering,
    register_clustering,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "CLUSTER_COUNTS",
    "NO_CLUSTERINGS",
    "ClusteringRule",
    "PairClusterings",
    "cluster_counts",
    "create_clustering",
    "register_clustering",
]
