"""How tight each cluster is: the temperatures of ProtoNCE.

Shapes: N images of the domain, K prototypes, D embedding size.
"""

import torch
from torch import Tensor

from harness.arguments import positive

SMOOTHING = 10.0
PCS_LEAST = 0.05


def _concentration(
    points_ND: Tensor, centroid_KD: Tensor, assign_N: Tensor
) -> tuple[Tensor, Tensor]:
    count_K = torch.bincount(assign_N, minlength=len(centroid_KD)).to(points_ND.dtype)
    distance_N = torch.linalg.vector_norm(points_ND - centroid_KD[assign_N], dim=1)
    total_K = torch.zeros_like(count_K).index_add_(0, assign_N, distance_N)
    return total_K / (count_K.clamp_min(1) * torch.log(count_K + SMOOTHING)), count_K


@torch.no_grad()
def pcl_density(
    points_ND: Tensor, centroid_KD: Tensor, assign_N: Tensor, tau: float = 0.2
) -> Tensor:
    """PCL's concentration phi per cluster (K,), mean ``tau`` (Li et al., ICLR 2021).

    Mean distance to the centroid over ``log(n + 10)``; clusters of one image or none take the
    largest value; cut to the 10 and 90 percentiles, then scaled to the mean ``tau``. Where every
    image lies on its centroid, all are ``tau``.
    """
    density_K, count_K = _concentration(points_ND, centroid_KD, assign_N)
    density_K = torch.where(count_K > 1, density_K, density_K.max())
    low, high = torch.quantile(density_K, torch.tensor([0.1, 0.9]).to(density_K)).unbind()
    density_K = density_K.clamp(low, high)
    mean = density_K.mean()
    scaled_K = positive("tau", tau) * density_K / mean.clamp_min(torch.finfo(mean.dtype).tiny)
    return torch.where(mean > 0, scaled_K, torch.full_like(scaled_K, tau))


@torch.no_grad()
def pcs_density(points_ND: Tensor, centroid_KD: Tensor, assign_N: Tensor) -> Tensor:
    """PCS's concentration phi per cluster (K,), at least 0.05 (Yue et al., CVPR 2021).

    An empty cluster takes 0.05 as well; the authors' code leaves it at -1, which no temperature
    can be.
    """
    density_K, _ = _concentration(points_ND, centroid_KD, assign_N)
    return density_K.clamp_min(PCS_LEAST)
