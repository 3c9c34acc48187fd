"""Values of ``--set`` that cannot be meant."""

import math
from collections.abc import Mapping

from harness.config import ParameterValue
from harness.errors import UsageError


def check_assignments(assigned: Mapping[str, ParameterValue], smaller: int) -> None:
    """Refuses values of ``--set`` that no training can take.

    Args:
        assigned: by parameter.
        smaller: images of the smallest domain that the run trains on.

    Raises:
        UsageError: names the parameter.
    """
    for name, value in assigned.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--set {name} takes a finite number, not {value}.")
    k = assigned.get("K")
    if k is None:
        return
    if int(k) < 1:
        raise UsageError(f"--set K must be at least 1, not {k}.")
    if int(k) > smaller:
        raise UsageError(
            f"--set K={k} asks for more clusters than the smaller domain has images "
            f"({smaller}); choose K up to {smaller}."
        )
