"""What is scored of a pair of domains: the embeddings, or pooled features put to use as they are.

Shapes: N images of a domain, M of the other, D embedding size, F backbone features, X size of what
is scored.

A readout gives unit vectors whose cosines are the scores, so that everything that reads embeddings
(metrics, label-free scores, detectors, files) reads them alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.errors import UsageError
from harness.registry import Registry

BLOCK_IMAGES = 4096


@dataclass(frozen=True)
class PairFeatures:
    """Output of the scored encoder for both domains.

    Attributes:
        z: embeddings (N, D) and (M, D).
        pooled: backbone features (N, F) and (M, F).
    """

    z: tuple[Tensor, Tensor]
    pooled: tuple[Tensor, Tensor]


ReadoutRule = Callable[..., tuple[Tensor, Tensor]]

READOUTS: Registry[ReadoutRule] = Registry("readout")


def register_readout(name: str) -> Callable[[ReadoutRule], ReadoutRule]:
    """Decorator: makes a function from :class:`PairFeatures` and arguments known by name.

    Raises:
        UsageError: the name cannot be one, or another function has it.
    """
    return READOUTS.decorator(name)


@register_readout("embedding")
def embedding(features: PairFeatures) -> tuple[Tensor, Tensor]:
    """The encoder's embeddings."""
    return features.z


@register_readout("pooled")
def pooled(features: PairFeatures) -> tuple[Tensor, Tensor]:
    """The pooled features at unit length."""
    a_NF, b_MF = features.pooled
    return F.normalize(a_NF, dim=1), F.normalize(b_MF, dim=1)


@register_readout("pooled_centred")
def pooled_centred(features: PairFeatures) -> tuple[Tensor, Tensor]:
    """Each domain's pooled features less their mean, at unit length."""
    a_NF, b_MF = (pooled_XF - pooled_XF.mean(0) for pooled_XF in features.pooled)
    return F.normalize(a_NF, dim=1), F.normalize(b_MF, dim=1)


@register_readout("pooled_whitened")
def pooled_whitened(features: PairFeatures, shrinkage: float = 0.1) -> tuple[Tensor, Tensor]:
    """Each domain's pooled features centred and multiplied by its covariance to the power -1/2.

    The symmetric root (ZCA) leaves the axes where they are, so the two domains stay comparable.

    Args:
        features: of both domains.
        shrinkage: share of the mean variance in the covariance, in (0, 1].

    Raises:
        UsageError: ``shrinkage`` outside of its range.
    """
    if not 0 < shrinkage <= 1:
        raise UsageError(f"whitening_shrinkage must lie in (0, 1], not {shrinkage}.")
    a_NF, b_MF = (_whiten(pooled_XF, shrinkage) for pooled_XF in features.pooled)
    return F.normalize(a_NF, dim=1), F.normalize(b_MF, dim=1)


def _whiten(pooled_NF: Tensor, shrinkage: float) -> Tensor:
    centred_NF = pooled_NF.double() - pooled_NF.double().mean(0)
    covariance_FF = centred_NF.T @ centred_NF / max(len(centred_NF) - 1, 1)
    mean_variance = covariance_FF.diagonal().mean().clamp_min(1e-12)
    identity_FF = torch.eye(len(covariance_FF), dtype=torch.float64, device=pooled_NF.device)
    shrunk_FF = (1 - shrinkage) * covariance_FF + shrinkage * mean_variance * identity_FF
    variance_F, axes_FF = torch.linalg.eigh(shrunk_FF)
    return (centred_NF @ (axes_FF * variance_F.rsqrt()) @ axes_FF.T).float()


@register_readout("pooled_csls")
def pooled_csls(features: PairFeatures, neighbours: int = 10) -> tuple[Tensor, Tensor]:
    """Vectors whose cosines rank by CSLS: ``2 cos(a, b) - r(a) - r(b)``.

    ``r`` is the mean cosine of an image with its nearest images in the other domain (Conneau et
    al., ICLR 2018). The score is a dot product of ``(sqrt 2 a, -r(a), 1)`` and
    ``(sqrt 2 b, 1, -r(b))``; one more coordinate per domain, which meets a 0 in the other, gives
    all vectors the same length, so that their cosine has the same order.

    Args:
        features: of both domains.
        neighbours: how many nearest images; cut to the size of the other domain.

    Raises:
        UsageError: ``neighbours`` below 1.
    """
    if neighbours < 1:
        raise UsageError(f"csls_neighbours must be at least 1, not {neighbours}.")
    a_NF, b_MF = (unit.double() for unit in pooled(features))
    near_a_N, near_b_M = (
        _mean_similarity(a_NF, b_MF, neighbours),
        _mean_similarity(b_MF, a_NF, neighbours),
    )
    longest = torch.maximum(near_a_N.abs().max(), near_b_M.abs().max()).square()

    def extended(unit_NF: Tensor, near_N: Tensor, first: bool) -> Tensor:
        one_N, zero_N = torch.ones_like(near_N), torch.zeros_like(near_N)
        fill_N = (longest - near_N.square()).clamp_min(0).sqrt()
        tail = (-near_N, one_N, fill_N, zero_N) if first else (one_N, -near_N, zero_N, fill_N)
        joined_NX = torch.cat([2**0.5 * unit_NF, torch.stack(tail, dim=1)], dim=1)
        return F.normalize(joined_NX, dim=1).float()

    return extended(a_NF, near_a_N, True), extended(b_MF, near_b_M, False)


def _mean_similarity(query_NF: Tensor, gallery_MF: Tensor, neighbours: int) -> Tensor:
    count = min(neighbours, len(gallery_MF))
    parts = [
        (block_BF @ gallery_MF.T).topk(count, dim=1, sorted=False).values.mean(1)
        for block_BF in query_NF.split(BLOCK_IMAGES)
    ]
    return torch.cat(parts)


def read_out(
    name: str, features: PairFeatures, arguments: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """Applies the readout of that name."""
    return READOUTS[name](features, **arguments)
