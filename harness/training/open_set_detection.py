"""Which queries are taken to have their class in the gallery; reads embeddings alone.

Shapes: Q queries, G gallery images, D embedding size.
"""

import math

from torch import Tensor

from harness.evaluation.open_set import (
    accept_by_cluster_spread,
    accept_by_merged_pairs,
    merged_partners,
)
from harness.methods.recipe import Recipe
from harness.seeds import generator
from harness.training.clusterings import NO_CLUSTERINGS, create_clustering
from harness.training.kmeans import kmeans


def accepted_queries(
    recipe: Recipe, query_QD: Tensor, gallery_GD: Tensor, clusters: int | None, seed: int
) -> Tensor:
    """The verdict of the recipe's detector on every query.

    ``merged_pairs``: the clustering rule of the last stage is run on both domains anew (UEM,
    appendix B.1). ``cluster_spread``: K-means on the query domain.

    Args:
        recipe: names the detector.
        query_QD: embeddings of the query domain.
        gallery_GD: embeddings of the gallery domain.
        clusters: K of the K-means; None for a method without clusters, which takes ``sqrt Q``.
        seed: of the clusterings.

    Returns:
        accepted_Q, bool.
    """
    draws = generator(seed, "query"), generator(seed, "gallery")
    if recipe.detector == "merged_pairs":
        plan = recipe.stages[-1].clustering
        if plan is None:
            raise ValueError("the detector merged_pairs needs a clustering in the last stage")
        rule = create_clustering(plan.rule, plan.arguments)
        (query,), (gallery,) = rule.per_epoch(query_QD, gallery_GD, draws, NO_CLUSTERINGS)
        if query.merged is None:
            raise ValueError(f"the clustering rule {plan.rule} does not merge")
        return accept_by_merged_pairs(
            query_QD, gallery_GD, query.assign_N, gallery.assign_N, merged_partners(query.merged)
        )
    count = len(query_QD)
    k = min(clusters if clusters is not None else max(1, math.isqrt(count)), count)
    assign_Q = kmeans(query_QD, k, generator=draws[0]).assign_N
    return accept_by_cluster_spread(query_QD, gallery_GD, assign_Q)
