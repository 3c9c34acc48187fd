"""What a retrieval metric sees, and the metrics by name.

Shapes: B queries of a block, R relevant images of a query (padded to the most in the block).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.registry import Registry

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Score = Callable[["HitRanks"], Floats]
Expected = Callable[[int, int], float]


@dataclass(frozen=True, eq=False)
class HitRanks:
    """Where the relevant images of each query stand in its ranking of the gallery.

    Attributes:
        rank_BR: their ranks from 1, ascending; infinite beyond a query's own number.
        count_B: how many a query has, at least 1.
        gallery: images that are ranked.
    """

    rank_BR: Floats
    count_B: Ints
    gallery: int

    @cached_property
    def precision_BR(self) -> Floats:
        """Precision at each relevant image; 0 beyond a query's own number."""
        precision_BR: Floats = (np.arange(self.rank_BR.shape[1]) + 1) / self.rank_BR
        return precision_BR

    def mean(self, value_BR: Floats, *, at_the_end: bool = False) -> Floats:
        """Mean over the relevant images of each query, without the padding.

        A query comes out alike, to the bit, in whatever block it is.

        Args:
            value_BR: a value for each relevant image.
            at_the_end: the values of a row stand at its end instead of its start.
        """
        start_B = np.arange(len(self.count_B)) * value_BR.shape[1]
        if at_the_end:
            start_B = start_B + value_BR.shape[1] - self.count_B
        stop_B = start_B + self.count_B
        bounds = np.stack([start_B, stop_B], axis=1).ravel()[:-1]  # the last ends by itself
        sum_B: Floats = np.add.reduceat(value_BR.ravel()[: stop_B[-1]], bounds)[::2]
        return sum_B / self.count_B


@dataclass(frozen=True)
class Metric:
    """A named figure of a ranking, beside P@k.

    Attributes:
        name: of its column.
        score: from the ranks of a block's queries to a value in [0, 1] each.
        averaged_over: mean over all valid ``queries``, or over the queries of a class and then
            over ``classes``.
        expected: its expectation under a random ranking, from the numbers of relevant and of all
            gallery images; None where it is to be estimated.
    """

    name: str
    score: Score
    averaged_over: Literal["queries", "classes"] = "queries"
    expected: Expected | None = None

    @property
    def defined_by(self) -> Score:
        """What the registry tells one metric from another by."""
        return self.score


METRICS: Registry[Metric] = Registry(
    "metric", accepts=re.compile(r"(?!P@|n_valid|open_|shared_)[A-Za-z][A-Za-z0-9_@.-]*")
)
"""Those that are not one per k; P@k is part of every data set's declaration."""


def register_metric(
    name: str,
    *,
    averaged_over: Literal["queries", "classes"] = "queries",
    expected: Expected | None = None,
) -> Callable[[Score], Metric]:
    """Decorator: makes a function of :class:`HitRanks` a metric, which every row then has.

    Args:
        name: of its column; see :class:`Metric` for the rest.
        averaged_over: queries or classes.
        expected: under a random ranking.

    Raises:
        UsageError: the name cannot be one, or another function has it.
    """
    if averaged_over not in ("queries", "classes"):
        raise UsageError(f"A metric is averaged over queries or classes, not '{averaged_over}'.")

    def register(score: Score) -> Metric:
        return METRICS.add(name, Metric(name, score, averaged_over, expected))

    return register
