"""Ranges of ``dann``, ``mmd`` and ``coral``."""

from collections.abc import Mapping

from optuna.distributions import FloatDistribution

from harness.config import ParameterValue
from search_spaces.contract import SearchSpace, Space, register_space


def _register(method: str, low: float, high: float) -> None:
    def space(n: int) -> Space:
        return {
            "tau": FloatDistribution(0.05, 0.5, log=True),
            "alignment_weight": FloatDistribution(low, high, log=True),
        }

    def paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
        return {"tau": 0.2, "alignment_weight": 1.0}

    register_space(SearchSpace(method=method, space=space, paper=paper))


_register("dann", 0.01, 5.0)
_register("mmd", 0.05, 50.0)
# The distance of covariances is over 4 X^2 for X features, and small beside the instance term.
_register("coral", 0.1, 1000.0)
