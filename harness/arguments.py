"""Checks of the arguments that losses and recipes are built with."""

import math
from collections.abc import Collection

from harness.errors import UsageError, nearest


def positive(name: str, value: float) -> float:
    """Returns ``value`` as a float where it is finite and above 0.

    Raises:
        UsageError: it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} must be a number above 0, not {value}.")
    return float(value)


def one_of(name: str, value: str, choices: Collection[str]) -> str:
    """Returns ``value`` where it is one of ``choices``.

    Raises:
        UsageError: it is not.
    """
    if value not in choices:
        raise UsageError(f"{name} cannot be '{value}'. {nearest(value, choices)}")
    return value
