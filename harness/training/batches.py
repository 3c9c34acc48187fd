"""Which images stand in which step.

Shapes: S steps of an epoch, B batch per domain.
"""

import torch
from torch import Tensor


def batch_size_for(wanted: int, n_a: int, n_b: int) -> int:
    """Batch per domain: ``min(wanted, N_A, N_B)`` rounded down to even, at least 2.

    Even because the key batch is normalised in two halves.
    """
    return max(2, min(wanted, n_a, n_b) // 2 * 2)


def steps_per_epoch(batch_size: int, n_a: int, n_b: int) -> int:
    """``floor(max(N_A, N_B) / B)`` as the authors (last batch dropped), at least one."""
    return max(1, max(n_a, n_b) // batch_size)


def epoch_batches(n: int, n_max: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Positions of one domain's images for every step of an epoch.

    The epoch has ``n_max`` places, the larger domain's size: place ``i < n`` is image ``i``, any
    other a uniformly drawn image of the smaller domain. The places are
    shuffled; a batch of the smaller domain can hold an image twice.

    Returns:
        index_SB: int64 on the CPU.
    """
    place_M = torch.arange(n_max)
    if n < n_max:
        place_M[n:] = torch.randint(n, (n_max - n,), generator=generator)
    shuffled_M = place_M[torch.randperm(n_max, generator=generator)]
    steps = max(1, n_max // batch_size)
    if n_max < batch_size:
        extra = torch.randint(n, (batch_size - n_max,), generator=generator)
        shuffled_M = torch.cat([shuffled_M, extra])
    return shuffled_M[: steps * batch_size].view(steps, batch_size)
