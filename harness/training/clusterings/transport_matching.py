"""Which prototype of one domain stands for which of the other, by optimal transport.

Shapes: A, B prototypes of the two domains, S the larger of the two, D embedding size.
"""

import ot
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from harness.arguments import positive


@torch.no_grad()
def transport_plan(
    proto_a_AD: Tensor, proto_b_BD: Tensor, epsilon: float, iterations: int
) -> Tensor:
    """Entropic plan between the prototypes (A, B): each gives or takes at most 1 / max(A, B).

    The cost is the squared Euclidean distance, between 0 and 4 for unit vectors; Sinkhorn in the
    log domain (POT). Where one domain has fewer prototypes it is filled up with some that are
    equally far from all, which take the surplus of the other: under plain uniform marginals a
    single prototype would be spread evenly over all of the other domain, near or far.
    """
    a_AD, b_BD = proto_a_AD.double().cpu(), proto_b_BD.double().cpu()
    size = max(len(a_AD), len(b_BD))
    cost_SS = torch.zeros(size, size, dtype=torch.float64)
    cost_SS[: len(a_AD), : len(b_BD)] = torch.cdist(a_AD, b_BD).square()
    share_S = torch.full((size,), 1 / size, dtype=torch.float64)
    plan_SS: Tensor = ot.sinkhorn(
        share_S,
        share_S,
        cost_SS,
        positive("epsilon", epsilon),
        method="sinkhorn_log",
        numItermax=iterations,
        stopThr=0.0,
        warn=False,
    )
    return plan_SS[: len(a_AD), : len(b_BD)]


@torch.no_grad()
def match_prototypes(
    proto_a_AD: Tensor, proto_b_BD: Tensor, epsilon: float = 0.05, iterations: int = 100
) -> tuple[Tensor, Tensor]:
    """One-to-one match of the prototypes that carries the most mass of the transport plan.

    The arg-max of an entropic plan can send two prototypes to one; the Hungarian method on the
    plan cannot. With different numbers the surplus of the larger domain stays alone. Runs on the
    CPU, once per clustering.

    Returns:
        For each prototype of A its counterpart in B, and for each of B its counterpart in A;
        -1 for none (int64, on the device of the prototypes).
    """
    plan_AB = transport_plan(proto_a_AD, proto_b_BD, epsilon, iterations)
    rows, columns = (
        torch.from_numpy(chosen) for chosen in linear_sum_assignment(plan_AB.numpy(), maximize=True)
    )
    counterpart_a_A = torch.full((len(proto_a_AD),), -1, dtype=torch.int64)
    counterpart_b_B = torch.full((len(proto_b_BD),), -1, dtype=torch.int64)
    counterpart_a_A[rows], counterpart_b_B[columns] = columns, rows
    device = proto_a_AD.device
    return counterpart_a_A.to(device), counterpart_b_B.to(device)
