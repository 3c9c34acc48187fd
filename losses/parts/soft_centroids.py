"""Centroids that follow the batch and carry its gradient.

Shapes: B batch, K prototypes, D embedding size.
"""

import torch.nn.functional as F
from torch import Tensor

from harness.errors import UsageError


def centroid_momentum(value: float) -> float:
    """Returns ``value`` where it lies in [0, 1).

    Raises:
        UsageError: it does not.
    """
    if not 0 <= value < 1:
        raise UsageError(f"momentum must lie in [0, 1), not {value}.")
    return float(value)


def soft_assignment(z_BD: Tensor, proto_KD: Tensor, temperature: float) -> Tensor:
    """Softmax of the images over the prototypes of their domain (B, K)."""
    return F.softmax(z_BD @ proto_KD.detach().T / temperature, dim=1)


def soft_centroids(share_BK: Tensor, z_BD: Tensor, proto_KD: Tensor, momentum: float) -> Tensor:
    """Weighted means of the batch and the prototypes (K, D), not normalised.

    ``c_j = (w mu_j + sum_i p_ij z_i) / (w + sum_i p_ij)`` with ``w = B/K m/(1 - m)``: a cluster
    with its even share B/K of the batch moves by 1 - m, as a moving average of momentum m would,
    and one that the batch hardly touches stays at its prototype.
    """
    clusters = len(proto_KD)
    prior = len(z_BD) / clusters * momentum / (1 - momentum)
    mass_K = share_BK.sum(0)
    total_KD = prior * proto_KD.detach() + share_BK.T @ z_BD
    return total_KD / (prior + mass_K)[:, None].clamp_min(1e-12)
