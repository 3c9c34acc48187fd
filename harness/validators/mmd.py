"""Maximum mean discrepancy of the two domains.

Shapes: S sampled images of A, R sampled images of B, D embedding size.
"""

from torch import Tensor

from harness.validators.contract import SPREAD_FLOOR, PairEmbeddings
from harness.validators.registry import register_validator

TEMPERATURE = 0.5
SAMPLE = 1024


@register_validator("mmd", direction="min")
def mmd(embeddings: PairEmbeddings) -> float:
    """Share of the scatter in kernel space that lies between the domains.

    The squared maximum mean discrepancy (Gretton et al., 2012; unbiased) under the Gaussian kernel
    ``exp((cos - 1) / 0.5)``, a quarter of which is the scatter between the domains, is set against
    the mean scatter V within them: ``(mmd/4 + f) / (mmd/4 + V + f)`` with the spread floor
    f = 0.01. In about [0, 1]. The plain discrepancy vanishes for a collapsed embedding; the
    fraction is then 1. Computed on at most 1 024 images per domain. It does not see classes.

    NaN where a domain holds a single image.
    """
    a_SD, b_RD = embeddings.sample_a(SAMPLE), embeddings.sample_b(SAMPLE)
    if min(len(a_SD), len(b_RD)) < 2:
        return float("nan")
    within_a, within_b = _mean_kernel_of_pairs(a_SD), _mean_kernel_of_pairs(b_RD)
    between = (within_a + within_b) / 4 - _kernel(a_SD, b_RD).mean() / 2
    scatter = 1 - (within_a + within_b) / 2
    return ((between + SPREAD_FLOOR) / (between + scatter + SPREAD_FLOOR)).item()


def _kernel(a_SD: Tensor, b_RD: Tensor) -> Tensor:
    return (a_SD @ b_RD.T).sub_(1).div_(TEMPERATURE).exp_()


def _mean_kernel_of_pairs(z_SD: Tensor) -> Tensor:
    n = len(z_SD)
    return (_kernel(z_SD, z_SD).sum() - n) / (n * (n - 1))
