"""Ranges of ``ucdir_ot``, and the values of the review that describes it."""

from collections.abc import Mapping

from optuna.distributions import FloatDistribution

from harness.config import ParameterValue
from search_spaces.contract import SearchSpace, Space, cluster_range, register_space
from search_spaces.ucdir import paper_point


def _space(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": FloatDistribution(0.03, 0.5, log=True),
        "lambda_dd": FloatDistribution(0.005, 2.0, log=True),
        "lambda_se": FloatDistribution(0.001, 1.0, log=True),
    }


def _paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
    return {"K": paper_point(dataset, n)["K"], "tau": 0.1, "lambda_dd": 0.1, "lambda_se": 0.01}


register_space(SearchSpace(method="ucdir_ot", space=_space, paper=_paper))
