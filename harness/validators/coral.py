"""Distance of the covariances of the two domains.

Shapes: N images of the domain, D embedding size.
"""

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.registry import register_validator


@register_validator("coral", direction="min")
def coral(embeddings: PairEmbeddings) -> float:
    """CORAL's distance of covariances (Sun & Saenko, 2016) relative to their size.

    r = ``|C_a - C_b|^2 / (|C_a|^2 + |C_b|^2)`` with Frobenius norms, in [0, 1]. The plain distance
    shrinks with the spread of the embedding and r forgives one direction for all images, so the
    value is ``1 - c (1 - r)`` with the spread c: 1, the worst, for a collapsed embedding.
    It sees neither means nor classes.
    """
    a_DD, b_DD = _covariance(embeddings.a_ND), _covariance(embeddings.b_ND)
    size = a_DD.square().sum() + b_DD.square().sum()
    distance = (a_DD - b_DD).square().sum()
    relative = (distance / size.clamp(min=torch.finfo(size.dtype).tiny)).item()
    return 1 - embeddings.spread * (1 - relative)


def _covariance(z_ND: Tensor) -> Tensor:
    centred_ND = z_ND - z_ND.mean(0)
    return centred_ND.T @ centred_ND / len(z_ND)
