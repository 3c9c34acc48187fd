"""Open-set retrieval: which queries have a class of the gallery at all, and metrics of that call.

Shapes: Q queries, G gallery images, D embedding size, K clusters of the query domain, M and P
members of two clusters.

A detector compares distances only with distances. On unit vectors the cosine distance, the
Euclidean distance and UEM's (1 - cos) * distance all fall as the cosine grows, so they decide
alike, and the detectors below compare cosines. "The largest distance" is the smallest cosine.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.evaluation.retrieval import Labels, exact_unit
from losses.contract import MergedPrototypes

_BLOCK_ELEMENTS = 2**22  # cosines held at a time: 32 MiB


def open_set_metrics(
    accepted_Q: Tensor | NDArray[np.bool_],
    ap_Q: NDArray[np.float64] | None,
    query_label_Q: Labels,
    gallery_label_G: Labels,
) -> dict[str, float]:
    """Scores a detector's verdicts, and retrieval with and without them.

    A query is shared if its class is in the gallery, private otherwise.

    - ``open_acc``: share of the private queries that are rejected (the literal reading of UEM).
    - ``shared_acceptance``: share of the shared queries that are accepted.
    - ``open_balanced_acc``: mean of the two.
    - ``mAP@All.shared``: mean average precision of the shared queries, whatever the verdict.
    - ``mAP@All.shared_rejecting``: the same with 0 for a shared query that is rejected.

    Args:
        accepted_Q: True where the detector takes a query to be shared.
        ap_Q: average precision in percent (``RetrievalScores.ap_Q``); read for shared queries.
        query_label_Q: integer class ids.
        gallery_label_G: integer class ids of the same class list.

    Returns:
        Percent; NaN where there is no query to average over.

    Raises:
        ValueError: lengths that differ, or no average precision.
    """
    if ap_Q is None:
        raise ValueError("average precision per query is needed: score with per_query=True")
    accepted = torch.as_tensor(accepted_Q).cpu().numpy().astype(bool)
    label = torch.as_tensor(query_label_Q).cpu().numpy()
    if not len(accepted) == len(ap_Q) == len(label):
        raise ValueError(
            f"{len(accepted)} verdicts, {len(ap_Q)} average precisions and {len(label)} labels"
        )
    shared = np.isin(label, torch.as_tensor(gallery_label_G).cpu().numpy())
    private_rejected = _mean(100.0 * ~accepted[~shared])
    shared_accepted = _mean(100.0 * accepted[shared])
    return {
        "open_acc": private_rejected,
        "shared_acceptance": shared_accepted,
        "open_balanced_acc": (private_rejected + shared_accepted) / 2,
        "mAP@All.shared": _mean(ap_Q[shared]),
        "mAP@All.shared_rejecting": _mean(np.where(accepted, ap_Q, 0.0)[shared]),
    }


def accept_by_cluster_spread(query_QD: Tensor, gallery_GD: Tensor, assign_Q: Tensor) -> Tensor:
    """The detector for any method: clusters of the query domain set the scale.

    A query is private if its nearest gallery image is farther away than any two images of its
    own cluster are from each other. A cluster of one image accepts only a copy of it.

    Args:
        query_QD: embeddings of the queries, of any length and float type.
        gallery_GD: embeddings of the gallery on the same device.
        assign_Q: cluster of each query.

    Returns:
        accepted_Q, bool.
    """
    query_QD, gallery_GD = exact_unit(query_QD), exact_unit(gallery_GD)
    least_Q = torch.empty(len(query_QD), dtype=torch.float64, device=query_QD.device)
    for cluster in assign_Q.unique():
        own_M = (assign_Q == cluster).nonzero()[:, 0]
        least_Q[own_M] = _row_extreme(query_QD[own_M], query_QD[own_M], "amin").min()
    return _row_extreme(query_QD, gallery_GD, "amax") >= least_Q


def accept_by_merged_pairs(
    query_QD: Tensor,
    gallery_GD: Tensor,
    assign_Q: Tensor,
    assign_G: Tensor,
    partner_K: Tensor,
) -> Tensor:
    """UEM's detector (appendix B.1): clusters of the two domains that merged set the scale.

    A query is private if its cluster merged with none of the gallery, or if its nearest gallery
    image is farther away than any image of its cluster is from any image of the partner.

    Args:
        query_QD: embeddings of the queries, of any length and float type.
        gallery_GD: embeddings of the gallery on the same device.
        assign_Q: cluster of each query.
        assign_G: cluster of each gallery image.
        partner_K: for each cluster of the queries the cluster of the gallery it merged with, or
            -1 (``merged_partners``). A partner without images counts as none.

    Returns:
        accepted_Q, bool.
    """
    query_QD, gallery_GD = exact_unit(query_QD), exact_unit(gallery_GD)
    least_Q = torch.full((len(query_QD),), torch.inf, dtype=torch.float64, device=query_QD.device)
    for cluster, partner in enumerate(partner_K.tolist()):
        own_M = (assign_Q == cluster).nonzero()[:, 0]
        other_P = (assign_G == partner).nonzero()[:, 0] if partner >= 0 else own_M[:0]
        if len(own_M) and len(other_P):
            least_Q[own_M] = _row_extreme(query_QD[own_M], gallery_GD[other_P], "amin").min()
    return _row_extreme(query_QD, gallery_GD, "amax") >= least_Q


def merged_partners(merged: MergedPrototypes) -> Tensor:
    """For each own prototype the prototype of the other domain it merged with, or -1.

    Args:
        merged: the own domain's set joined with the other's (``Clustering.merged``).

    Returns:
        partner_K, int64.
    """
    partner_C = torch.full_like(merged.is_merged_C, -1, dtype=torch.int64)
    other = merged.other_to_merged_K
    partner_C[other] = torch.arange(len(other), device=other.device)
    partner_C[~merged.is_merged_C] = -1
    return partner_C[merged.own_to_merged_K]


def _row_extreme(left_MD: Tensor, right_PD: Tensor, extreme: str) -> Tensor:
    """Smallest (``amin``) or largest (``amax``) cosine of each left row with the right rows."""
    rows = max(1, _BLOCK_ELEMENTS // len(right_PD))
    reduce = getattr(torch, extreme)
    parts = [reduce(part_BD @ right_PD.T, dim=1) for part_BD in left_MD.split(rows)]
    return torch.cat(parts)


def _mean(value: NDArray[np.float64]) -> float:
    return float(value.mean()) if len(value) else float("nan")
