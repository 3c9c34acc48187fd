"""How firmly images belong to their reference cluster.

Shapes: N images of the domain, K reference clusters, D embedding size.
"""

import torch

from harness.validators.contract import PairEmbeddings
from harness.validators.domain_embeddings import DomainEmbeddings
from harness.validators.registry import register_validator

TEMPERATURE = 0.1


@register_validator("cluster_confidence", direction="max")
def cluster_confidence(embeddings: PairEmbeddings) -> float:
    """Mean probability of an image's own reference prototype, mean of the two domains.

    The softmax runs over the prototypes of the image's domain at temperature 0.1. In [0, 1].
    Multiplied by the share of resolved clusters of the domain: coinciding embeddings would
    otherwise be certain of the one cluster they have.
    """
    return (_confidence(embeddings.a) + _confidence(embeddings.b)) / 2


def _confidence(domain: DomainEmbeddings) -> float:
    clusters = domain.clusters
    logit_NK = domain.z_ND @ clusters.proto_KD.T / TEMPERATURE
    logit_NK = logit_NK.masked_fill(clusters.count_K == 0, -torch.inf)
    own_N = logit_NK.softmax(1).gather(1, clusters.assign_N[:, None])
    return own_N.mean().item() * domain.resolved
