"""What a clustering rule does, and the rules by name.

Shapes: N images of a domain, D embedding size. A rule is a frozen dataclass without state of its
own: what an epoch or a step hands on to the next is the clusterings themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from harness.registry import Registry
from losses.contract import Clustering

PairClusterings = tuple[tuple[Clustering, ...], tuple[Clustering, ...]]

NO_CLUSTERINGS: PairClusterings = ((), ())


class ClusteringRule(Protocol):
    """Makes the clusterings of both domains."""

    def per_epoch(
        self,
        a_ND: Tensor,
        b_ND: Tensor,
        generators: tuple[torch.Generator, torch.Generator],
        previous: PairClusterings,
    ) -> PairClusterings:
        """The clusterings of an epoch, from what the plan says is its source.

        Args:
            a_ND: features or bank of the first domain.
            b_ND: of the second.
            generators: the seeded generators of the two domains' draws (CPU).
            previous: those in force at the end of the epoch before; empty at first.
        """
        ...

    def per_step(
        self, clusterings: PairClusterings, bank_a_ND: Tensor, bank_b_ND: Tensor
    ) -> PairClusterings:
        """The clusterings of a step, called before its losses with the banks of that moment."""
        ...


RuleClass = TypeVar("RuleClass", bound=type[Any])

CLUSTERINGS: Registry[type[Any]] = Registry("clustering rule")


def register_clustering(name: str) -> Callable[[RuleClass], RuleClass]:
    """Class decorator: makes a rule known under ``name``.

    Raises:
        UsageError: the name cannot be one, or another class has it.
    """
    return CLUSTERINGS.decorator(name)


def create_clustering(name: str, arguments: Mapping[str, Any]) -> ClusteringRule:
    """Builds a rule; an unknown argument is an error.

    Raises:
        UsageError: unknown name.
    """
    rule: ClusteringRule = CLUSTERINGS[name](**arguments)
    return rule


CLUSTER_COUNTS = ("clusters.a", "clusters.b", "clusters.merged")
"""Names under which :func:`cluster_counts` is logged."""


def cluster_counts(clusterings: PairClusterings) -> dict[str, float]:
    """Prototypes of each domain and merged pairs, of the first clustering in force.

    Empty without a clustering; ``clusters.merged`` only where the rule merges.
    """
    counts = {
        name: float(len(of_domain[0].proto_KD))
        for name, of_domain in zip(CLUSTER_COUNTS, clusterings, strict=False)
        if of_domain
    }
    merged = clusterings[0][0].merged if clusterings[0] else None
    if merged is not None:
        counts[CLUSTER_COUNTS[2]] = float(merged.is_merged_C.sum())
    return counts
