"""Samplers by name. Each is made anew for every proposal, from the proposal's own seed."""

from collections.abc import Callable
from typing import Literal

from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from harness.errors import UsageError, nearest

Direction = Literal["minimize", "maximize"]

_STARTUP = 5


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=True)


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _gp(seed: int) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=_STARTUP, deterministic_objective=False)


def _cmaes(seed: int) -> BaseSampler:
    return CmaEsSampler(seed=seed, n_startup_trials=_STARTUP, warn_independent_sampling=False)


def _nsga2(seed: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=20)


# A Sobol sequence of its own beside that of the start points; see harness.search.proposer.
_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    f"tpe(n_startup_trials={_STARTUP},multivariate,constant_liar)": _tpe,
    "random()": _random,
    "qmc(sobol,scrambled)": _random,
    f"gp(n_startup_trials={_STARTUP})": _gp,
    f"cmaes(n_startup_trials={_STARTUP})": _cmaes,
    "nsga2(population_size=20,objectives=objective+seconds)": _nsga2,
}


def sampler_names() -> tuple[str, ...]:
    """Names ``--sampler`` takes."""
    return tuple(name.partition("(")[0] for name in _SAMPLERS)


def describe_sampler(name: str) -> str:
    """Name and arguments of a sampler, as the rows record them.

    Raises:
        UsageError: there is none of that name.
    """
    for described in _SAMPLERS:
        if described.partition("(")[0] == name:
            return described
    raise UsageError(f"There is no sampler named '{name}'. {nearest(name, sampler_names())}")


def directions(described: str) -> list[Direction]:
    """Directions of the Optuna study: the objective up, and for ``nsga2`` the seconds down."""
    return ["maximize", "minimize"] if described.startswith("nsga2(") else ["maximize"]


def keeps_state(described: str) -> bool:
    """Whether a sampler leaves a state of its own in the trials that it proposes."""
    return described.partition("(")[0] in ("cmaes", "nsga2")


def make_sampler(described: str, seed: int) -> BaseSampler:
    """The sampler of :func:`describe_sampler`, seeded for one proposal (32 bits, as numpy asks)."""
    return _SAMPLERS[described](seed % 2**32)
