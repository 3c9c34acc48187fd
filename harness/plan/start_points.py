"""The trials that every pair of a study begins with: the paper's point, then a quasi-random set.

They are never stopped early; ``transfer``, the judging of validators and tuning curves rest on
them.
"""

import math
from collections.abc import Mapping

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from scipy.stats import qmc

from harness.config import ParameterValue
from harness.methods import Space
from harness.seeds import derive_seed

START_SHARE = 1 / 3


def start_count(trials: int) -> int:
    """Number of common start trials out of ``trials`` per pair: about a third, at least one."""
    return max(1, math.ceil(trials * START_SHARE))


def start_point(
    position: int, space: Space, paper: Mapping[str, ParameterValue], seed: int
) -> dict[str, ParameterValue]:
    """The searched values of the start trial at ``position``, the same for all pairs.

    Position 0 is the paper's point; the others are a scrambled Sobol sequence over the space.
    """
    if position == 0:
        return {name: within(paper[name], distribution) for name, distribution in space.items()}
    return sobol_point(position - 1, space, derive_seed(seed, "start points"))


def sobol_point(position: int, space: Space, seed: int) -> dict[str, ParameterValue]:
    """The values at ``position``, from 0, of a scrambled Sobol sequence over the space."""
    sequence = qmc.Sobol(d=len(space), scramble=True, rng=np.random.default_rng(seed))
    unit = sequence.random(2 ** math.ceil(math.log2(position + 2)))[position]
    return {
        name: at_unit(float(u), distribution)
        for u, (name, distribution) in zip(unit, sorted(space.items()), strict=True)
    }


def within(value: ParameterValue, distribution: BaseDistribution) -> ParameterValue:
    """The value, cut to the range of its distribution."""
    if isinstance(distribution, IntDistribution):
        return min(max(int(value), distribution.low), distribution.high)
    if isinstance(distribution, FloatDistribution):
        return min(max(float(value), distribution.low), distribution.high)
    return value


def at_unit(u: float, distribution: BaseDistribution) -> ParameterValue:
    """The value at the share ``u`` in [0, 1) of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        choice = distribution.choices[int(u * len(distribution.choices))]
        if choice is None:
            raise TypeError("a choice of None has no column in the results")
        return choice
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"no start points over {type(distribution).__name__}")
    whole = isinstance(distribution, IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if whole:
        low, high = low - 0.5, high + 0.5
    if distribution.log:
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    else:
        value = low + u * (high - low)
    if distribution.step and not distribution.log:
        value = distribution.low + round((value - distribution.low) / distribution.step) * (
            distribution.step
        )
    if whole:
        return min(max(round(value), int(distribution.low)), int(distribution.high))
    return min(max(value, distribution.low), distribution.high)


def setting_at(position: int, space: Space) -> dict[str, ParameterValue]:
    """The setting at ``position``, from 0, of those that a finite space has, in mixed radix."""
    setting: dict[str, ParameterValue] = {}
    for name, distribution in sorted(space.items()):
        count = int(distinct_settings({name: distribution}))
        position, place = divmod(position, count)
        if isinstance(distribution, CategoricalDistribution):
            setting[name] = at_unit((place + 0.5) / count, distribution)
        elif isinstance(distribution, IntDistribution | FloatDistribution):
            setting[name] = distribution.low + place * (distribution.step or 0)
    return setting


def distinct_settings(space: Space) -> float:
    """How many settings a space has; infinite with a continuous range."""
    count = 1.0
    for distribution in space.values():
        if isinstance(distribution, CategoricalDistribution):
            count *= len(distribution.choices)
        elif isinstance(distribution, IntDistribution):
            count *= (distribution.high - distribution.low) // (distribution.step or 1) + 1
        elif isinstance(distribution, FloatDistribution) and distribution.low < distribution.high:
            if distribution.step is None:
                return math.inf
            # Optuna has cut the upper end to whole steps; only rounding keeps it from that.
            count *= round((distribution.high - distribution.low) / distribution.step) + 1
    return count
