"""What a search space is: one file per method declares its ranges and the paper's point."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, IntDistribution

from harness.config import ParameterValue
from harness.errors import UsageError, nearest

Space = dict[str, BaseDistribution]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Ranges and first point of a method.

    Attributes:
        method: registered name of the method.
        space: from the image count of the smallest domain to the distributions.
        paper: from the data set's name and that count to the searched values of the paper.
            Where the paper does not cover the data set, K follows from the count, never from the
            number of class folders.
    """

    method: str
    space: Callable[[int], Space]
    paper: Callable[[str, int], Mapping[str, ParameterValue]]


_SPACES: dict[str, SearchSpace] = {}


def register_space(space: SearchSpace) -> SearchSpace:
    """Makes the space known under its method's name."""
    if space.method in _SPACES:
        raise ValueError(f"the method '{space.method}' has a search space already")
    _SPACES[space.method] = space
    return space


def search_space(method: str) -> SearchSpace:
    """The search space of a method.

    Raises:
        UsageError: none is registered.
    """
    if method not in _SPACES:
        raise UsageError(
            f"There is no search space for the method '{method}'. {nearest(method, _SPACES)}"
        )
    return _SPACES[method]


def cluster_range(n: int) -> IntDistribution:
    """Range of K from the image count alone: 5 to ``min(N/4, 4 sqrt N)``, log-uniform."""
    high = max(2, min(n // 4, math.floor(4 * math.sqrt(n))))
    return IntDistribution(min(5, high), high, log=True)


def cluster_guess(n: int) -> int:
    """First K where no paper names one: ``sqrt(N)``, cut to the range."""
    held = cluster_range(n)
    return min(max(round(math.sqrt(n)), held.low), held.high)
