"""Effective rank of an embedding: in how many directions its images lie.

Shapes: N images of the domain, D embedding size.
"""

import math

import torch
from torch import Tensor

from harness.validators.reference_clustering import reference_k


def effective_rank(z_ND: Tensor) -> float:
    """Exponential of the entropy of the spectrum of the second moments (Roy & Vetterli, 2007).

    The moments are not centred: L2-normalised embeddings in one narrow cone have an effective rank
    near 1, k equally large groups in orthogonal directions one of k.
    """
    # The smaller of the two Gram matrices has the same spectrum, zeros apart.
    gram = z_ND.T @ z_ND if z_ND.shape[1] <= len(z_ND) else z_ND @ z_ND.T
    spectrum = torch.linalg.eigvalsh(gram).clamp(min=0)
    share = spectrum / spectrum.sum().clamp(min=torch.finfo(spectrum.dtype).tiny)
    return math.exp(torch.special.entr(share).sum().item())


def rank_coverage(z_ND: Tensor) -> float:
    """Log of the effective rank in units of log K, at most 1; K is that of the reference clusters.

    0 for a collapsed embedding, small for one that has shrunk to a narrow cone or to a few points,
    1 for one with at least as many directions as there are reference clusters.
    """
    resolution = min(reference_k(len(z_ND)), z_ND.shape[1])
    if resolution < 2:
        return 0.0
    return min(1.0, max(0.0, math.log(effective_rank(z_ND)) / math.log(resolution)))
