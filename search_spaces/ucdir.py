"""Ranges of UCDIR and of its ablation ladder, and the authors' searched values."""

from collections.abc import Mapping

from optuna.distributions import FloatDistribution

from harness.config import ParameterValue
from search_spaces.contract import (
    SearchSpace,
    Space,
    cluster_guess,
    cluster_range,
    register_space,
)

PAPER: Mapping[str, Mapping[str, ParameterValue]] = {
    "officehome": {"K": 65, "tau": 0.2, "lambda_dd": 0.5, "lambda_se": 1.0},
    "domainnet7": {"K": 7, "tau": 0.2, "lambda_dd": 0.1, "lambda_se": 0.5},
}
"""methods.md 4.1.2. Other data sets start from Office-Home's values with a K of their own."""


def ranges(n: int) -> Space:
    """K from the image count; tau and the weights around the authors' values, log-uniform."""
    return {
        "K": cluster_range(n),
        "tau": FloatDistribution(0.05, 0.5, log=True),
        "lambda_dd": FloatDistribution(0.01, 2.0, log=True),
        "lambda_se": FloatDistribution(0.05, 4.0, log=True),
    }


def paper_point(dataset: str, n: int) -> dict[str, ParameterValue]:
    """The authors' values; see :data:`PAPER`."""
    point = dict(PAPER.get(dataset, PAPER["officehome"]))
    if dataset not in PAPER:
        point["K"] = cluster_guess(n)
    return point


def _register(method: str, names: tuple[str, ...]) -> None:
    def space(n: int) -> Space:
        return {name: held for name, held in ranges(n).items() if name in names}

    def paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
        return {name: value for name, value in paper_point(dataset, n).items() if name in names}

    register_space(SearchSpace(method=method, space=space, paper=paper))


_register("instance", ("tau",))
_register("cluster", ("K", "tau"))
_register("cluster_se", ("K", "tau", "lambda_se"))
_register("ucdir", ("K", "tau", "lambda_dd", "lambda_se"))
