"""The reference clustering of one domain: the fixed ruler of the cluster-based validators.

It depends on the embedding, on its number of images and on a seed, never on what a trial searches.

Shapes: N images of the domain, S of them to fit on, K reference prototypes, D embedding size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.seeds import generator

K_MAX = 64
FIT_SAMPLE = 1024
ITERATIONS = 6


@dataclass(frozen=True, eq=False)
class ReferenceClustering:
    """Spherical k-means of one domain.

    Attributes:
        proto_KD: L2-normalised prototypes; one that owns no image stands where it was left.
        assign_N: cluster of each image (int64).
        count_K: images per cluster (float32); an image-less cluster has 0.
    """

    proto_KD: Tensor
    assign_N: Tensor
    count_K: Tensor

    @property
    def occupancy(self) -> float:
        """Share of the K clusters that own an image: 1 unless embeddings coincide."""
        return (self.count_K > 0).float().mean().item()


def reference_k(n_images: int) -> int:
    """Number of reference clusters: the rounded square root of N, held within 2 and 64."""
    return min(n_images, max(2, min(K_MAX, round(n_images**0.5))))


def reference_clustering(z_ND: Tensor, order_N: Tensor, seed: int) -> ReferenceClustering:
    """Clusters one domain with spherical k-means (k-means++ start, six Lloyd steps).

    The prototypes are fitted on at most 1 024 images, then every image is assigned. Before any draw
    these images are sorted by the cosine to their own mean, so that neither the order of the images
    nor a rotation of the embedding changes the result, rounding apart.

    Args:
        z_ND: L2-normalised embeddings.
        order_N: a fixed random order of the images; prototypes are fitted on its head.
        seed: of the draws of k-means++.
    """
    fit_SD = z_ND[order_N[:FIT_SAMPLE]]
    fit_SD = fit_SD[(fit_SD @ fit_SD.mean(0)).argsort(stable=True)]
    k = reference_k(len(z_ND))
    proto_KD = _spread_start(fit_SD, k, seed)
    for _ in range(ITERATIONS):
        assign_S = (fit_SD @ proto_KD.T).argmax(1)
        sum_KD = torch.zeros_like(proto_KD).index_add_(0, assign_S, fit_SD)
        empty_K1 = torch.bincount(assign_S, minlength=k)[:, None] == 0
        proto_KD = torch.where(empty_K1, proto_KD, F.normalize(sum_KD, dim=1))
    assign_N = (z_ND @ proto_KD.T).argmax(1)
    return ReferenceClustering(proto_KD, assign_N, torch.bincount(assign_N, minlength=k).float())


def _spread_start(z_SD: Tensor, k: int, seed: int) -> Tensor:
    """K-means++ (Arthur & Vassilvitskii, 2007): each start is drawn by its distance to the last.

    An image wins a draw with a chance in proportion to its distance where distances are divided by
    exponential variates and the largest quotient wins.
    """
    uniform_KS = torch.rand(k, len(z_SD), generator=generator("reference clustering", seed))
    weight_KS = (-1 / uniform_KS.clamp(min=1e-30).log()).to(z_SD.device)
    proto_KD = z_SD.new_empty(k, z_SD.shape[1])
    closeness_S = z_SD.new_zeros(len(z_SD))
    for index in range(k):
        place = ((1 - closeness_S) * weight_KS[index]).argmax()
        proto_KD[index] = z_SD[place]
        cosine_S = z_SD @ proto_KD[index]
        closeness_S = torch.maximum(closeness_S, cosine_S) if index else cosine_S
    return proto_KD
