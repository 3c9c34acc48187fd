"""Agreement of the reference clusterings of two consecutive epochs."""

from harness.validators.contract import PairEmbeddings
from harness.validators.partition_agreement import adjusted_rand_index
from harness.validators.registry import register_validator


@register_validator("cluster_stability", direction="max")
def cluster_stability(embeddings: PairEmbeddings) -> float:
    """Adjusted Rand index of this epoch's clusters and the last one's, mean of the two domains.

    At most 1, about 0 for unrelated clusters; NaN without the epoch before. The two clusterings
    start from different draws, so that an embedding that merely stands still earns nothing: its
    clusters must be found again. Multiplied by the share of the K clusters that own an image, the
    smaller of the two epochs: a collapsed embedding always agrees with itself.
    """
    previous = embeddings.previous_clusters()
    if previous is None:
        return float("nan")
    values = [
        adjusted_rand_index(now.assign_N, before.assign_N) * min(now.occupancy, before.occupancy)
        for now, before in zip(
            (embeddings.clusters_a, embeddings.clusters_b), previous, strict=True
        )
    ]
    return sum(values) / 2
