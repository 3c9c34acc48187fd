"""Ranges of the methods without training; ``floor`` and ``floor_centred`` have nothing to set."""

from collections.abc import Callable, Mapping

from optuna.distributions import FloatDistribution, IntDistribution

from harness.config import ParameterValue
from search_spaces.contract import SearchSpace, Space, register_space


def _register(
    method: str, space: Callable[[int], Space], first: Mapping[str, ParameterValue]
) -> None:
    register_space(SearchSpace(method=method, space=space, paper=lambda dataset, n: first))


_register("floor", lambda n: {}, {})
_register("floor_centred", lambda n: {}, {})
_register(
    "floor_whitened",
    lambda n: {"whitening_shrinkage": FloatDistribution(0.001, 1.0, log=True)},
    {"whitening_shrinkage": 0.1},
)
_register(
    "floor_csls",
    lambda n: {"csls_neighbours": IntDistribution(1, max(1, min(50, n // 2)), log=True)},
    {"csls_neighbours": 10},
)
