"""Distances between embeddings, and the dissimilarity UEM searches with.

Shapes: M, N images or prototypes, D embedding size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def euclidean_distances(u_MD: Tensor, v_ND: Tensor) -> Tensor:
    """Distances (M, N), exact where they are small; their gradient is 0 where they are 0."""
    return torch.cdist(u_MD, v_ND, compute_mode="donot_use_mm_for_euclid_dist")


def squared_distances(u_MD: Tensor, v_ND: Tensor) -> Tensor:
    """Squared Euclidean distances (M, N) by one matrix product: fast, inexact near 0."""
    dot_MN = u_MD @ v_ND.T
    lengths_MN = u_MD.square().sum(1)[:, None] + v_ND.square().sum(1)[None, :]
    return (lengths_MN - 2 * dot_MN).clamp_min(0)


@torch.no_grad()
def dissimilarity(u_MD: Tensor, v_ND: Tensor) -> Tensor:
    """``s(u, v) = (1 - cos(u, v)) |u - v|`` of every pair (M, N), without gradient.

    Wang et al. (NeurIPS 2024), above eq. 15. For unit vectors its order is that of the cosine.
    """
    cosine_MN = F.normalize(u_MD, dim=1) @ F.normalize(v_ND, dim=1).T
    return (1 - cosine_MN) * squared_distances(u_MD, v_ND).sqrt()
