"""Density of the soft neighbourhoods that images have in the other domain.

Shapes: S sampled images of A, R sampled images of B.
"""

import math

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.registry import register_validator

TEMPERATURE = 0.1


@register_validator("soft_neighbourhood_density", direction="max")
def soft_neighbourhood_density(embeddings: PairEmbeddings) -> float:
    """Entropy of soft neighbourhoods across the domains times how much these differ.

    Soft neighbourhood density (Saito et al., 2021) is the mean entropy H of the softmax, at
    temperature 0.1, of an image's similarities: many near neighbours are good. Here the
    neighbours are those of the other domain. H alone is largest for a collapsed embedding, where
    all images have the same neighbourhood, all of the other domain. It is therefore multiplied by
    the information I that a neighbourhood holds on its image (the entropy of the mean
    neighbourhood minus H): ``4 H I / log(R)^2``, mean of both directions, in [0, 1]. Neither
    coinciding images (I = 0) nor isolated ones (H = 0) score. Multiplied by the share of resolved
    clusters, the smaller of the two domains, against a few dense points. Computed on at most 512
    images per domain.

    NaN where a domain holds a single image.
    """
    if min(embeddings.cosine_SR.shape) < 2:
        return float("nan")
    logit_SR = embeddings.cosine_SR / TEMPERATURE
    # A cosine is at most 1: no exponential can overflow, and both directions share them.
    weight_SR = logit_SR.exp()
    weighted_logit_SR = weight_SR * logit_SR
    density = _density(weight_SR, weighted_logit_SR) + _density(weight_SR.T, weighted_logit_SR.T)
    return embeddings.resolved * density / 2


def _density(weight_SR: Tensor, weighted_logit_SR: Tensor) -> float:
    """``4 H I / log(R)^2`` of the softmax over the columns."""
    total_S = weight_SR.sum(1)
    entropy = (total_S.log() - weighted_logit_SR.sum(1) / total_S).mean()
    mean_R = (1 / total_S) @ weight_SR / len(total_S)
    information = (torch.special.entr(mean_R).sum() - entropy).clamp(min=0)
    return (4 * entropy * information).item() / math.log(weight_SR.shape[1]) ** 2
