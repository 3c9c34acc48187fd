"""Ranges of UEM and of its ablations. The number of clusters is estimated, not searched."""

from collections.abc import Mapping

from optuna.distributions import FloatDistribution

from harness.config import ParameterValue
from search_spaces.contract import SearchSpace, Space, register_space

PAPER: Mapping[str, ParameterValue] = {
    "tau": 0.07,
    "sel_weight": 1.0,
    "adversarial_weight": 1.0,
    "match_weight": 1.0,
}
"""methods.md 4.5: one temperature and weights of 1 on every data set."""


def ranges() -> Space:
    """Tau and the weights around the paper's values, log-uniform."""
    return {
        "tau": FloatDistribution(0.03, 0.5, log=True),
        "sel_weight": FloatDistribution(0.05, 5.0, log=True),
        "adversarial_weight": FloatDistribution(0.01, 5.0, log=True),
        "match_weight": FloatDistribution(0.05, 5.0, log=True),
    }


def _register(method: str, without: tuple[str, ...] = ()) -> None:
    def space(n: int) -> Space:
        return {name: held for name, held in ranges().items() if name not in without}

    def paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
        return {name: value for name, value in PAPER.items() if name not in without}

    register_space(SearchSpace(method=method, space=space, paper=paper))


_register("uem")
_register("uem_no_merge")
_register("uem_no_sel", without=("sel_weight",))
_register("uem_no_spda")
_register("uem_no_sn2m", without=("match_weight",))
