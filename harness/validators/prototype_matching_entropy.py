"""How clearly the reference prototypes of one domain find a partner in the other.

Shapes: K reference prototypes of the domain that asks, L of the domain that answers.
"""

import math

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.reference_clustering import ReferenceClustering
from harness.validators.registry import register_validator

TEMPERATURE = 0.1


@register_validator("prototype_matching_entropy", direction="min")
def prototype_matching_entropy(embeddings: PairEmbeddings) -> float:
    """Entropy of the matching between prototypes, corrected for matches that all agree.

    Each prototype is matched with those of the other domain by a softmax at temperature 0.1,
    weighted by its share of images. The value is the mean entropy of the matches plus what the
    entropy of the mean match lacks of its maximum log L, in units of log L: one minus the
    normalised mutual information, mean of both directions, in [0, 1]. Matching every prototype
    firmly with the same partner, which the plain entropy takes for perfect, gives 1, and so does
    a collapsed embedding.
    """
    a, b = embeddings.a.clusters, embeddings.b.clusters
    return (_entropy(a, b) + _entropy(b, a)) / 2


def _entropy(asking: ReferenceClustering, answering: ReferenceClustering) -> float:
    logit_KL = asking.proto_KD @ answering.proto_KD.T / TEMPERATURE
    match_KL = logit_KL.masked_fill(answering.count_K == 0, -torch.inf).softmax(1)
    share_K = asking.count_K / asking.count_K.sum()
    mean_entropy = (share_K * _entropy_of(match_KL)).sum()
    information = _entropy_of(share_K @ match_KL) - mean_entropy
    return 1 - information.item() / math.log(max(len(answering.count_K), 2))


def _entropy_of(probability: Tensor) -> Tensor:
    return torch.special.entr(probability).sum(-1)
