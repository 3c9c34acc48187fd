"""Numbers on the command line that cannot be meant."""

import math
from collections.abc import Mapping

from harness.config import ParameterValue
from harness.errors import UsageError
from harness.options import TrainOptions

AT_LEAST_ONE = (
    "epochs",
    "batch_size",
    "image_size",
    "trials",
    "cpus_per_trial",
    "max_concurrent",
)


def check_numbers(options: TrainOptions) -> None:
    """Refuses counts below 1 and shares outside their range.

    Raises:
        UsageError: names the flag.
    """
    for name in AT_LEAST_ONE:
        value = getattr(options, name, None)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
    if options.batch_size == 1:
        raise UsageError("--batch-size must be at least 2: the batch is normalised in two halves.")
    share = getattr(options, "gpus_per_trial", None)
    if share is not None and not 0 < share < math.inf:
        raise UsageError(f"--gpus-per-trial must be above 0, not {share}.")
    if getattr(options, "confirm", 0) < 0:
        raise UsageError(f"--confirm must be 0 or more seeds, not {options.confirm}.")  # type: ignore[attr-defined]


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
