"""Cost of transporting one domain into the other.

Shapes: S sampled images of A, R sampled images of B, D embedding size.
"""

import torch

from harness.validators.contract import SPREAD_FLOOR, PairEmbeddings
from harness.validators.registry import register_validator

REGULARISATION = 0.05
ITERATIONS = 30
SAMPLE = 512


@register_validator("sinkhorn_cost", direction="min")
def sinkhorn_cost(embeddings: PairEmbeddings) -> float:
    """Entropic transport cost (Cuturi, 2013) relative to that of pairing images at random.

    ``(<P, C> + f) / (mean C + f)`` with C one minus the cosine, P the plan of POT's Sinkhorn at
    regularisation 0.05 and the spread floor f = 0.01. In [0, 1]. The plain cost is zero for a
    collapsed embedding; the fraction is then 1. Computed on at most 512 images per domain.
    """
    # POT loads every array library it finds: seconds that `--help` need not pay.
    import ot

    a_SD, b_RD = embeddings.sample_a(SAMPLE), embeddings.sample_b(SAMPLE)
    cost_SR = 1 - a_SD @ b_RD.T
    plan_SR = ot.sinkhorn(
        torch.full_like(cost_SR[:, 0], 1 / len(a_SD)),
        torch.full_like(cost_SR[0], 1 / len(b_RD)),
        # The plan is that of C itself; the shift keeps exp(-C / reg) within float32.
        cost_SR - cost_SR.min(),
        REGULARISATION,
        numItermax=ITERATIONS,
        stopThr=0,
        warn=False,
    )
    # After a fixed number of steps the plan's mass is one only up to rounding.
    paid = (plan_SR * cost_SR).sum() / plan_SR.sum()
    return ((paid + SPREAD_FLOOR) / (cost_SR.mean() + SPREAD_FLOOR)).item()
