"""Search spaces: the ranges of a method's parameters, and its numbers of clusters."""

import math
from collections.abc import Callable, Mapping

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from harness.config import ParameterValue

Space = dict[str, BaseDistribution]
Ranges = Callable[[int], Space]
"""From the image count of the smallest domain to the ranges."""


def log_range(low: float, high: float) -> FloatDistribution:
    """A number drawn log-uniformly."""
    return FloatDistribution(low, high, log=True)


def cluster_range(n: int) -> IntDistribution:
    """Range of K from the image count alone: 5 to ``min(N/4, 4 sqrt N)``, log-uniform."""
    high = max(2, min(n // 4, math.floor(4 * math.sqrt(n))))
    return IntDistribution(min(5, high), high, log=True)


def cluster_guess(n: int) -> int:
    """First K where no paper names one: ``sqrt(N)``, cut to the range."""
    clusters = cluster_range(n)
    return min(max(round(math.sqrt(n)), clusters.low), clusters.high)


def first_clusters(**of_paper: int) -> Callable[[str, int], Mapping[str, ParameterValue]]:
    """The first K of a search: what the paper has for a data set, else :func:`cluster_guess`.

    A data set that the paper does not cover takes its K from the image count, never from the
    number of class folders: that would be a label.

    Args:
        of_paper: K by data set.
    """
    return lambda dataset, n: {"K": of_paper.get(dataset) or cluster_guess(n)}
