"""Cluster-wise contrast of an image with all bank entries of its cluster.

Shapes: B batch, N images of the domain, K prototypes, D embedding size.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.arguments import positive
from harness.errors import UsageError
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.zero_loss import zero_loss


def confident(
    key_BD: Tensor, proto_KD: Tensor, cluster_B: Tensor, tau: float, threshold: float
) -> Tensor:
    """1.0 for each image whose key gives its own prototype more than ``threshold``, else 0.0 (B,).

    The share is a softmax over the prototypes of the own domain at temperature ``tau``.
    """
    share_BK = F.softmax(key_BD @ proto_KD.T / tau, dim=1)
    return (share_BK.gather(1, cluster_B[:, None])[:, 0] > threshold).to(key_BD.dtype)


def cluster_contrast_loss(
    z_BD: Tensor,
    key_BD: Tensor,
    bank_ND: Tensor,
    index_B: Tensor,
    clusterings: Sequence[Clustering],
    tau: float,
    cluster_filter: float,
) -> tuple[Tensor, Tensor]:
    """UCDIR's L_CW of one domain.

    Positives of an image are the bank entries of its cluster, its own slot among them. With
    several clusterings the positives of the n-th are those that share the cluster in all of the
    first n, and the losses of the clusterings are averaged, as in the authors' code.

    Returns:
        The loss, averaged over the images that pass the filter (0 where none does), and the share
        of the images that pass; both scalars.
    """
    key_BD, bank_ND = key_BD.detach(), bank_ND.detach()
    scaled_BD = z_BD / tau
    normaliser_B = (scaled_BD @ bank_ND.T).logsumexp(dim=1)
    same_BN: Tensor | None = None
    losses, passed = [], []
    for clustering in clusterings:
        cluster_B = clustering.assign_N[index_B]
        same_here_BN = cluster_B[:, None] == clustering.assign_N[None, :]
        same_BN = same_here_BN if same_BN is None else same_BN & same_here_BN
        weight_BN = same_BN.to(bank_ND.dtype)
        mean_positive_BD = weight_BN @ bank_ND / weight_BN.sum(1, keepdim=True)
        loss_B = normaliser_B - (scaled_BD * mean_positive_BD).sum(1)
        pass_B = confident(key_BD, clustering.proto_KD.detach(), cluster_B, tau, cluster_filter)
        losses.append((pass_B * loss_B).sum() / (pass_B.sum() + 1e-8))
        passed.append(pass_B.mean())
    return torch.stack(losses).mean(), torch.stack(passed).mean()


@register_loss("cluster_contrast")
class ClusterContrast(Loss):
    """Cluster-wise contrastive loss with a confidence filter, mean of the two domains.

    UCDIR's L_CW (Hu & Lee, ECCV 2022). Zero before the first clustering. At tau 0.2 the filter of
    0.2 passes little at K = 65 before the prototypes are well separated, which makes the loss
    exactly 0: watch the logged ``pass_rate`` (share of both batches that passes).

    Args:
        tau: temperature of the contrast and of the filter.
        cluster_filter: the share a key must give its own prototype for its image to count.
    """

    recorded = ("cluster_contrast.pass_rate",)

    def __init__(self, tau: float = 0.2, cluster_filter: float = 0.2) -> None:
        super().__init__()
        self.tau = positive("tau", tau)
        if not 0 <= cluster_filter < 1:
            raise UsageError(f"cluster_filter must lie in [0, 1), not {cluster_filter}.")
        self.cluster_filter = float(cluster_filter)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns half the sum over the two domains.

        Raises:
            UsageError: there is no momentum encoder.
        """
        if not a.clusterings or not b.clusterings:
            return zero_loss(a, b)
        if a.key_BD is None or b.key_BD is None:
            raise UsageError("The loss 'cluster_contrast' needs a method with a momentum encoder.")
        settings = (self.tau, self.cluster_filter)
        loss_a, pass_a = cluster_contrast_loss(
            a.z_BD, a.key_BD, a.bank_ND, a.index_B, a.clusterings, *settings
        )
        loss_b, pass_b = cluster_contrast_loss(
            b.z_BD, b.key_BD, b.bank_ND, b.index_B, b.clusterings, *settings
        )
        step.record("cluster_contrast.pass_rate", (pass_a + pass_b) / 2)
        return (loss_a + loss_b) / 2
