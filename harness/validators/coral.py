"""Distance of the second moments of the two domains.

Shapes: N images of the domain, D embedding size.
"""

from torch import Tensor

from harness.validators.contract import SPREAD_FLOOR, PairEmbeddings
from harness.validators.registry import register_validator


@register_validator("coral", direction="min")
def coral(embeddings: PairEmbeddings) -> float:
    """Deep CORAL's distance of covariances (Sun & Saenko, 2016) relative to their size.

    ``(|C_a - C_b|^2 + f) / (|C_a|^2 + |C_b|^2 + f)`` with Frobenius norms and f = 1e-4 (the spread
    floor squared), in [0, 1]. The plain distance shrinks with the embedding's spread and is best
    for a collapsed one; the fraction is then 1. It sees neither means nor classes.
    """
    a_DD, b_DD = _covariance(embeddings.a_ND), _covariance(embeddings.b_ND)
    distance = (a_DD - b_DD).square().sum()
    size = a_DD.square().sum() + b_DD.square().sum()
    return ((distance + SPREAD_FLOOR**2) / (size + SPREAD_FLOOR**2)).item()


def _covariance(z_ND: Tensor) -> Tensor:
    centred_ND = z_ND - z_ND.mean(0)
    return centred_ND.T @ centred_ND / len(z_ND)
