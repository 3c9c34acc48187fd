"""Cost of transporting one domain into the other.

Shapes: S sampled images of A, R sampled images of B.
"""

import torch

from harness.validators.contract import PairEmbeddings
from harness.validators.registry import register_validator

REGULARISATION = 0.05
ITERATIONS = 20
TRANSPORTED = 384


@register_validator("sinkhorn_cost", direction="min")
def sinkhorn_cost(embeddings: PairEmbeddings) -> float:
    """Entropic transport cost (Cuturi, 2013) relative to that of pairing images at random.

    r = ``<P, C> / mean C``, cut to [0, 1], with C one minus the cosine and P the plan of POT's
    Sinkhorn after 20 steps at regularisation 0.05. The plain cost is zero for a collapsed
    embedding and r is small where a few points hold everything, so the value is ``1 - c (1 - r)``
    with the rank coverage c: 1, the worst, for a collapsed one. Computed on at most 384 images per
    domain.
    """
    # POT loads every array library it finds: seconds that `--help` need not pay.
    import ot

    cost_SR = 1 - embeddings.cosine_SR[:TRANSPORTED, :TRANSPORTED]
    plan_SR = ot.sinkhorn(
        torch.full_like(cost_SR[:, 0], 1 / cost_SR.shape[0]),
        torch.full_like(cost_SR[0], 1 / cost_SR.shape[1]),
        # The plan is that of C itself; the shift keeps exp(-C / reg) within float32.
        cost_SR - cost_SR.min(),
        REGULARISATION,
        numItermax=ITERATIONS,
        stopThr=0,
        warn=False,
    )
    # After a fixed number of steps the plan's mass is one only up to rounding.
    paid = ((plan_SR * cost_SR).sum() / plan_SR.sum()).item()
    at_random = cost_SR.mean().item()
    relative = min(max(paid / at_random, 0.0), 1.0) if at_random > 0 else 1.0
    return 1 - embeddings.spread * (1 - relative)
