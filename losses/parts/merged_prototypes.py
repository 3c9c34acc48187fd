"""The prototypes an image is compared with: its domain's own, or those merged with the other's.

Shapes: B batch, C prototypes of the set, D embedding size.
"""

from typing import Literal

from torch import Tensor

from harness.errors import UsageError
from losses.contract import Clustering, DomainView, MergedPrototypes

PrototypeSet = Literal["merged", "own"]
PROTOTYPE_SETS: tuple[PrototypeSet, ...] = ("merged", "own")


def merged_of(clustering: Clustering) -> MergedPrototypes:
    """The merged set of a clustering.

    Raises:
        UsageError: its rule does not merge.
    """
    if clustering.merged is None:
        raise UsageError("This loss needs a clustering rule that merges prototypes (uem).")
    return clustering.merged


def prototypes_of(view: DomainView, prototypes: PrototypeSet) -> tuple[Tensor, Tensor]:
    """The set of the view's first clustering (C, D), and the row of each image's prototype (B,).

    Raises:
        UsageError: the merged set is wanted and the clustering rule does not merge.
    """
    clustering = view.clusterings[0]
    own_B = clustering.assign_N[view.index_B]
    if prototypes == "own":
        return clustering.proto_KD.detach(), own_B
    merged = merged_of(clustering)
    return merged.proto_CD.detach(), merged.own_to_merged_K[own_B]
