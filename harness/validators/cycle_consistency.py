"""Round trips from one domain to the other and back.

Shapes: N images of domain A, M images of domain B.
"""

from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.domain_embeddings import DomainEmbeddings
from harness.validators.partition_agreement import cohen_kappa
from harness.validators.registry import register_validator


@register_validator("cycle_consistency", direction="max")
def cycle_consistency(embeddings: PairEmbeddings) -> float:
    """Whether the nearest neighbour's nearest neighbour lies in the cluster one started from.

    From each image to its nearest image of the other domain and from there to the nearest image of
    the first: Cohen's kappa of the reference clusters at start and end, mean of A -> B -> A and
    B -> A -> B. At most 1; about 0 where round trips end anywhere, or all in the same place.
    Multiplied by the share of resolved clusters of the domain: from a few coinciding groups, and
    along a line, one always comes back.
    """
    forth_N, back_M = embeddings.neighbours.of_a_N, embeddings.neighbours.of_b_M
    return (_returned(embeddings.a, back_M[forth_N]) + _returned(embeddings.b, forth_N[back_M])) / 2


def _returned(domain: DomainEmbeddings, end_N: Tensor) -> float:
    start_cluster_N = domain.clusters.assign_N
    return cohen_kappa(start_cluster_N, start_cluster_N[end_N]) * domain.resolved
