"""Nearest neighbours of each image in the other domain, computed in blocks.

Shapes: N images of domain A, M images of domain B, D embedding size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 512


@dataclass(frozen=True)
class CrossNeighbours:
    """The nearest neighbour of every image in the other domain; ties go to the lowest index.

    Attributes:
        of_a_N: for each image of A the index of its nearest image of B (int64).
        of_b_M: for each image of B the index of its nearest image of A (int64).
    """

    of_a_N: Tensor
    of_b_M: Tensor


def cross_neighbours(a_ND: Tensor, b_MD: Tensor) -> CrossNeighbours:
    """Nearest neighbours in both directions from one pass over the similarities.

    Args:
        a_ND: L2-normalised embeddings of A.
        b_MD: L2-normalised embeddings of B.
    """
    of_a = []
    cosine_b_M = a_ND.new_full((len(b_MD),), -torch.inf)
    of_b_M = torch.zeros(len(b_MD), dtype=torch.int64, device=b_MD.device)
    for start in range(0, len(a_ND), BLOCK):
        similarity_RM = a_ND[start : start + BLOCK] @ b_MD.T
        of_a.append(similarity_RM.max(1).indices)
        column_best = similarity_RM.max(0)
        # Strictly greater keeps the lowest index over blocks.
        better_M = column_best.values > cosine_b_M
        cosine_b_M = torch.where(better_M, column_best.values, cosine_b_M)
        of_b_M = torch.where(better_M, column_best.indices + start, of_b_M)
    return CrossNeighbours(torch.cat(of_a), of_b_M)
