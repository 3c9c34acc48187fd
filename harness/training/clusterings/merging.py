"""Prototype translation and merging of UEM (Wang, Du & Zhu, NeurIPS 2024, eq. 8-9).

Shapes: A, B prototypes of the two domains, C merged prototypes, N images, D embedding size.
"""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from losses.contract import MergedPrototypes


def smallest_gap(proto_KD: Tensor) -> float:
    """Smallest Euclidean distance between two of the prototypes; infinite for a single one."""
    if len(proto_KD) < 2:
        return float("inf")
    return float(torch.pdist(proto_KD).min())


def matched_pairs(
    proto_a_AD: Tensor, proto_b_BD: Tensor, offset_D: Tensor
) -> tuple[list[int], list[int]]:
    """The pairs that merge: Hungarian match of A with B moved by ``offset_D``, kept where near.

    A pair is near where its distance is below the smallest distance between two prototypes of
    one domain (eq. 9). Where both domains have one prototype, no distance bounds the pair.

    Returns:
        Rows of ``proto_a_AD`` and rows of ``proto_b_BD``, of equal length.
    """
    cost_AB = torch.cdist(
        proto_a_AD, proto_b_BD + offset_D, compute_mode="donot_use_mm_for_euclid_dist"
    ).numpy()
    rows, columns = linear_sum_assignment(cost_AB)
    near = cost_AB[rows, columns] < min(smallest_gap(proto_a_AD), smallest_gap(proto_b_BD))
    return rows[near].tolist(), columns[near].tolist()


def _joined(
    own_AD: Tensor, moved_BD: Tensor, own_pairs: list[int], moved_pairs: list[int]
) -> MergedPrototypes:
    own_alone = sorted(set(range(len(own_AD))) - set(own_pairs))
    moved_alone = sorted(set(range(len(moved_BD))) - set(moved_pairs))
    merged_CD = (own_AD[own_pairs] + moved_BD[moved_pairs]) / 2
    own_to_merged_A = torch.empty(len(own_AD), dtype=torch.int64)
    other_to_merged_B = torch.empty(len(moved_BD), dtype=torch.int64)
    first_merged = len(own_alone) + len(moved_alone)
    size = first_merged + len(own_pairs)
    own_to_merged_A[own_alone] = torch.arange(len(own_alone))
    other_to_merged_B[moved_alone] = torch.arange(len(own_alone), first_merged)
    own_to_merged_A[own_pairs] = torch.arange(first_merged, size)
    other_to_merged_B[moved_pairs] = torch.arange(first_merged, size)
    return MergedPrototypes(
        proto_CD=F.normalize(
            torch.cat([own_AD[own_alone], moved_BD[moved_alone], merged_CD]), dim=1
        ),
        own_to_merged_K=own_to_merged_A,
        other_to_merged_K=other_to_merged_B,
        is_merged_C=torch.arange(size) >= first_merged,
    )


@torch.no_grad()
def merge_prototypes(
    proto_a_AD: Tensor,
    proto_b_BD: Tensor,
    bank_a_ND: Tensor,
    bank_b_ND: Tensor,
    *,
    merge: bool = True,
) -> tuple[MergedPrototypes, MergedPrototypes]:
    """Moves the prototypes of each domain into the other and merges the pairs that meet there.

    B is moved into A by the difference of the bank means (eq. 8), A into B by its opposite; the
    match and the test of eq. 9 are therefore the same seen from either domain. The distances are
    those of the prototypes as given and moved; the rows of the result are L2-normalised, because a
    moved prototype is not a unit vector and a longer one would win every softmax over the set.
    Rows: own prototypes left alone, moved ones left alone, merged pairs. Runs on the CPU, once per
    clustering; the result lies on the device of the prototypes.

    Args:
        proto_a_AD: prototypes of A, of any length.
        proto_b_BD: prototypes of B.
        bank_a_ND: what the prototypes of A were made from.
        bank_b_ND: what those of B were made from.
        merge: False moves the prototypes and merges none (the ablation without merging).

    Returns:
        The merged set in A, and the merged set in B.
    """
    device = proto_a_AD.device
    offset_D = (bank_a_ND.float().mean(0) - bank_b_ND.float().mean(0)).cpu()
    a_AD, b_BD = proto_a_AD.float().cpu(), proto_b_BD.float().cpu()
    pairs_a, pairs_b = matched_pairs(a_AD, b_BD, offset_D) if merge else ([], [])
    in_a = _joined(a_AD, b_BD + offset_D, pairs_a, pairs_b)
    in_b = _joined(b_BD, a_AD - offset_D, pairs_b, pairs_a)
    return _on(in_a, device), _on(in_b, device)


def _on(merged: MergedPrototypes, device: torch.device) -> MergedPrototypes:
    return MergedPrototypes(
        proto_CD=merged.proto_CD.to(device),
        own_to_merged_K=merged.own_to_merged_K.to(device),
        other_to_merged_K=merged.other_to_merged_K.to(device),
        is_merged_C=merged.is_merged_C.to(device),
    )
