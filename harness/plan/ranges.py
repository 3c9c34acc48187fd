"""Ranges of a search as ``--space`` gives them."""

import inspect
import math
from collections.abc import Collection, Mapping, Sequence

import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from harness.errors import UsageError, nearest
from harness.methods import Method, PairShape, Recipe, Space
from losses import create_loss, loss_class

FORM = "--space takes NAME=LOW:HIGH or NAME=LOW:HIGH:log with numbers"

_ANY_SHAPE = PairShape(1000, 1000, 64)
_ANY_SIZES = {"pooled_size": 8, "embedding_size": 8}


def parse_ranges(
    texts: Sequence[str],
    method: Method,
    usual: Mapping[str, BaseDistribution],
    assigned: Collection[str],
    smallest: int,
) -> Space:
    """Reads ``NAME=LOW:HIGH[:log]`` into distributions.

    Args:
        texts: what ``--space`` gives.
        method: whose parameters they are.
        usual: the ranges that the method is searched in without ``--space``.
        assigned: parameters that ``--set`` fixes.
        smallest: images of the smaller domain.

    Raises:
        UsageError: an unknown or unfit name, one that is given twice, bounds that are none or in
            which the parameter has no meaning, K above the smaller domain.
    """
    types = method.parameter_types()
    space: Space = {}
    for text in texts:
        name, _, bounds = text.partition("=")
        if name not in types:
            raise UsageError(
                f"The method '{method.name}' has no parameter '{name}'. {nearest(name, types)}"
            )
        if name in space:
            raise UsageError(f"--space gives {name} twice: leave one of the two out.")
        if name in assigned:
            raise UsageError(
                f"--set fixes {name} and --space searches it: leave one of the two out."
            )
        distribution = _range(text, name, types[name], bounds)
        _check_ends(distribution, name, method, usual.get(name))
        if name == "K" and distribution.high > smallest:
            raise UsageError(
                f"--space K goes up to {distribution.high}, but the smaller domain has {smallest} "
                "images."
            )
        space[name] = distribution
    return space


def _range(text: str, name: str, kind: type, bounds: str) -> IntDistribution | FloatDistribution:
    """The distribution between two bounds that are numbers and in order."""
    parts = bounds.split(":")
    try:
        if kind not in (int, float) or len(parts) not in (2, 3):
            raise ValueError
        low, high = (kind(part) for part in parts[:2])
    except ValueError:
        raise UsageError(f"{FORM}, not '{text}'.") from None
    if parts[2:] not in ([], ["log"]):
        raise UsageError(f"--space ends in ':log' or nothing, not in ':{parts[2]}'.")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"--space {name} takes finite bounds, not '{bounds}'.")
    if low > high:
        raise UsageError(
            f"--space {name} goes from {low} down to {high}: give the lower end first."
        )
    log = parts[2:] == ["log"]
    if log and low <= 0:
        raise UsageError(f"--space {name} is logarithmic and begins above 0, not at {low}.")
    if kind is int:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _check_ends(
    distribution: IntDistribution | FloatDistribution,
    name: str,
    method: Method,
    usual: BaseDistribution | None,
) -> None:
    """Refuses a range with values in which the parameter has no meaning.

    Below 0 that is everything whose usual range does not go there; counts begin at 1; and the
    method and its losses have to come about with either end.
    """
    low = distribution.low
    may_be_negative = getattr(usual, "low", 0) < 0
    if isinstance(distribution, IntDistribution) and low < 1 and not may_be_negative:
        raise UsageError(f"--space {name} begins at 1 or above, not at {low}.")
    if low < 0 and not may_be_negative:
        raise UsageError(f"--space {name} begins at 0 or above, not at {low}.")
    values = method.resolve("paper", "", {})
    for end in (distribution.low, distribution.high):
        try:
            _build_losses(method.build({**values, name: end}, _ANY_SHAPE))
        except (UsageError, ValueError, ZeroDivisionError) as error:
            where = f"begins above 0, not at {end}" if end == 0 else f"cannot reach {end}"
            raise UsageError(f"--space {name} {where}: {str(error).rstrip('.')}.") from error


def _build_losses(recipe: Recipe) -> None:
    with torch.random.fork_rng(devices=[]):
        for term in (term for stage in recipe.stages for term in stage.terms):
            accepted = inspect.signature(loss_class(term.loss)).parameters
            sizes = {name: size for name, size in _ANY_SIZES.items() if name in accepted}
            create_loss(term.loss, **{**sizes, **term.arguments})
