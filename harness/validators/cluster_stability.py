"""Agreement of the reference clusterings of two consecutive epochs."""

from harness.validators.contract import PairEmbeddings
from harness.validators.domain_embeddings import DomainEmbeddings
from harness.validators.partition_agreement import adjusted_rand_index
from harness.validators.registry import register_validator


@register_validator("cluster_stability", direction="max")
def cluster_stability(embeddings: PairEmbeddings) -> float:
    """Adjusted Rand index of this epoch's clusters and the last one's, mean of the two domains.

    At most 1, about 0 for unrelated clusters; NaN without the epoch before. The two clusterings
    start from different draws, so that an embedding that merely stands still earns nothing: its
    clusters must be found again. Multiplied by the share of resolved clusters of the domain:
    a collapsed embedding always agrees with itself.
    """
    if embeddings.previous is None:
        return float("nan")
    before_a, before_b = embeddings.previous
    return (_found_again(embeddings.a, before_a) + _found_again(embeddings.b, before_b)) / 2


def _found_again(now: DomainEmbeddings, before: DomainEmbeddings) -> float:
    return now.resolved * adjusted_rand_index(now.clusters.assign_N, before.clusters.assign_N)
