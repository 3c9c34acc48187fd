"""Ranges of ProtoOT, and the authors' searched values."""

from collections.abc import Mapping

from optuna.distributions import FloatDistribution

from harness.config import ParameterValue
from search_spaces.contract import SearchSpace, Space, cluster_range, register_space
from search_spaces.ucdir import paper_point


def _space(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": FloatDistribution(0.05, 0.5, log=True),
        "epsilon": FloatDistribution(0.02, 0.5, log=True),
        "cross_weight": FloatDistribution(0.001, 1.0, log=True),
    }


def _paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
    return {
        "K": paper_point(dataset, n)["K"],
        "tau": 0.2,
        "epsilon": 0.05,
        "cross_weight": 0.01,
    }


register_space(SearchSpace(method="protoot", space=_space, paper=_paper))
