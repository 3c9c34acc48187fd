"""Maximum mean discrepancy of the two domains.

Shapes: S sampled images of a domain.
"""

from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.registry import register_validator

TEMPERATURE = 0.5


@register_validator("mmd", direction="min")
def mmd(embeddings: PairEmbeddings) -> float:
    """Share of the scatter in kernel space that lies between the domains.

    r = ``(m/4) / (m/4 + V)``, cut to [0, 1], with the squared maximum mean discrepancy m (Gretton
    et al., 2012; unbiased) under the Gaussian kernel ``exp((cos - 1) / 0.5)`` and the mean scatter
    V within the domains. The plain discrepancy vanishes for a collapsed embedding, so the value is
    ``1 - c (1 - r)`` with the spread c: 1, the worst, for a collapsed one. It does not see
    classes. Computed on at most 512 images per domain.

    NaN where a domain holds a single image.
    """
    if min(embeddings.cosine_SR.shape) < 2:
        return float("nan")
    within = (
        _mean_of_pairs(embeddings.a.sample_cosine_SS)
        + _mean_of_pairs(embeddings.b.sample_cosine_SS)
    ) / 2
    between = (within - _kernel(embeddings.cosine_SR).mean().item()) / 2
    total = between + 1 - within
    relative = min(max(between / total, 0.0), 1.0) if total > 0 else 1.0
    return 1 - embeddings.spread * (1 - relative)


def _kernel(cosine_SS: Tensor) -> Tensor:
    return ((cosine_SS - 1) / TEMPERATURE).exp_()


def _mean_of_pairs(cosine_SS: Tensor) -> float:
    """Mean kernel of two different images."""
    n = len(cosine_SS)
    return (_kernel(cosine_SS).sum().item() - n) / (n * (n - 1))
