"""Mutual nearest neighbours across the domains that carry their surroundings with them.

Shapes: N images of domain A, M images of domain B, S sampled images of one domain.
"""

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.partition_agreement import cohen_kappa
from harness.validators.registry import register_validator


@register_validator("mutual_nn", direction="max")
def mutual_nn(embeddings: PairEmbeddings) -> float:
    """Mutual-nearest-neighbour rate times the agreement of neighbours on where they match.

    The rate is the number of pairs (a, b), each the other's nearest image across the domains, over
    the number of images of the smaller domain. On its own it is highest for structureless
    embeddings: two samples of one isotropic distribution pair up at a rate of 1/2, tight classes
    at less. So it is multiplied by an agreement: do an image and the nearest image of its *own*
    domain have cross-domain neighbours in the same reference cluster? This is Cohen's kappa, mean
    of both directions, cut off at 0: 0 for unrelated answers and where one hub answers everything.
    It is measured on at most 512 images per domain.

    Multiplied, last, by the share of resolved clusters, the smaller of the two domains: matches
    along a line are mutual and agree.

    In [0, 1], the same for (A, B) and (B, A), 0 for a collapsed embedding.
    """
    forth_N, back_M = embeddings.neighbours.of_a_N, embeddings.neighbours.of_b_M
    mutual_N = back_M[forth_N] == torch.arange(len(forth_N), device=forth_N.device)
    rate = mutual_N.sum().item() / min(len(forth_N), len(back_M))
    answer_a_S = embeddings.b.clusters.assign_N[forth_N[embeddings.a.sample_S]]
    answer_b_S = embeddings.a.clusters.assign_N[back_M[embeddings.b.sample_S]]
    agreement = (
        _agreement(embeddings.a.sample_cosine_SS, answer_a_S)
        + _agreement(embeddings.b.sample_cosine_SS, answer_b_S)
    ) / 2
    return rate * max(agreement, 0.0) * embeddings.resolved


def _agreement(cosine_SS: Tensor, answer_S: Tensor) -> float:
    """Kappa of each image's answer with that of the nearest other image of the sample."""
    itself_SS = torch.eye(len(cosine_SS), dtype=torch.bool, device=cosine_SS.device)
    return cohen_kappa(answer_S, answer_S[cosine_SS.masked_fill(itself_SS, -torch.inf).argmax(1)])
