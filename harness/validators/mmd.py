"""Maximum mean discrepancy of the two domains.

Shapes: S sampled images of A, R sampled images of B, D embedding size.
"""

from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.registry import register_validator

TEMPERATURE = 0.5
SAMPLE = 1024


@register_validator("mmd", direction="min")
def mmd(embeddings: PairEmbeddings) -> float:
    """Share of the scatter in kernel space that lies between the domains.

    r = ``(m/4) / (m/4 + V)``, cut to [0, 1], with the squared maximum mean discrepancy m (Gretton
    et al., 2012; unbiased) under the Gaussian kernel ``exp((cos - 1) / 0.5)`` and the mean scatter
    V within the domains. The plain discrepancy vanishes for a collapsed embedding, so the value is
    ``1 - c (1 - r)`` with the rank coverage c: 1, the worst, for a collapsed one. It does not see
    classes. Computed on at most 1 024 images per domain.

    NaN where a domain holds a single image.
    """
    a_SD, b_RD = embeddings.sample_a(SAMPLE), embeddings.sample_b(SAMPLE)
    if min(len(a_SD), len(b_RD)) < 2:
        return float("nan")
    within = ((_mean_kernel_of_pairs(a_SD) + _mean_kernel_of_pairs(b_RD)) / 2).item()
    between = (within - _kernel(a_SD, b_RD).mean().item()) / 2
    total = between + 1 - within
    relative = min(max(between / total, 0.0), 1.0) if total > 0 else 1.0
    return 1 - embeddings.rank_coverage * (1 - relative)


def _kernel(a_SD: Tensor, b_RD: Tensor) -> Tensor:
    return (a_SD @ b_RD.T).sub_(1).div_(TEMPERATURE).exp_()


def _mean_kernel_of_pairs(z_SD: Tensor) -> Tensor:
    n = len(z_SD)
    return (_kernel(z_SD, z_SD).sum() - n) / (n * (n - 1))
