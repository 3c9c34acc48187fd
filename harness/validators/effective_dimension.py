"""In how many directions the images of a domain lie.

Shapes: S sampled images of the domain.
"""

import math

from torch import Tensor

RESOLVED = 1e-6
"""Mean squared distance from the mean below which float32 cosines hold rounding only."""


def effective_dimension(cosine_SS: Tensor, *, centred: bool) -> float:
    """Participation ratio of the spectrum of a Gram matrix: squared trace over squared norm.

    k equally large groups in orthogonal directions have dimension k.

    Args:
        cosine_SS: cosines of the images with each other.
        centred: count directions about the mean of the images instead of about the origin.
            Embeddings in a narrow cone have dimension 1 about the origin, any about their mean.

    Returns:
        At least 1; 1 for images that coincide.
    """
    gram_SS = cosine_SS
    if centred:
        mean_S = cosine_SS.mean(0)
        gram_SS = cosine_SS - mean_S - mean_S[:, None] + mean_S.mean()
    trace = gram_SS.trace().item()
    if trace < RESOLVED * len(gram_SS):
        return 1.0
    return max(1.0, trace**2 / gram_SS.square().sum().item())


def dimension_coverage(cosine_SS: Tensor, needed: int, *, centred: bool) -> float:
    """Log of the effective dimension in units of ``log(needed)``, at most 1.

    0 for a collapsed embedding, small for a few points or one line, 1 for one with at least the
    number of directions needed to tell as many clusters apart.
    """
    if needed < 2:
        return 0.0
    return min(1.0, math.log(effective_dimension(cosine_SS, centred=centred)) / math.log(needed))
