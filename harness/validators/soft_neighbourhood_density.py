"""Density of the soft neighbourhoods that images have in the other domain.

Shapes: S sampled images of A, R sampled images of B, D embedding size.
"""

import math

import torch
from torch import Tensor

from harness.validators.contract import PairEmbeddings
from harness.validators.registry import register_validator

TEMPERATURE = 0.1
SAMPLE = 1024


@register_validator("soft_neighbourhood_density", direction="max")
def soft_neighbourhood_density(embeddings: PairEmbeddings) -> float:
    """Entropy of soft neighbourhoods across the domains times how much these differ.

    Soft neighbourhood density (Saito et al., 2021) is the mean entropy H of the softmax, at
    temperature 0.1, of an image's similarities: many near neighbours are good. Here the
    neighbours are those of the other domain. H alone is largest for a collapsed embedding, where
    all images have the same neighbourhood, all of the other domain. It is therefore multiplied by
    the information I that a neighbourhood holds on its image (the entropy of the mean
    neighbourhood minus H): ``4 H I / log(R)^2``, mean of both directions, in [0, 1]. Neither
    coinciding images (I = 0) nor isolated ones (H = 0) score. Computed on at most 1 024 images per
    domain.

    NaN where a domain holds a single image.
    """
    a_SD, b_RD = embeddings.sample_a(SAMPLE), embeddings.sample_b(SAMPLE)
    if min(len(a_SD), len(b_RD)) < 2:
        return float("nan")
    logit_SR = a_SD @ b_RD.T / TEMPERATURE
    return ((_density(logit_SR, 1) + _density(logit_SR, 0)) / 2).item()


def _density(logit_SR: Tensor, over: int) -> Tensor:
    log_p_SR = logit_SR.log_softmax(over)
    p_SR = log_p_SR.exp()
    entropy = -(p_SR * log_p_SR).sum(over).mean()
    information = torch.special.entr(p_SR.mean(1 - over)).sum() - entropy
    return 4 * entropy * information / math.log(logit_SR.shape[over]) ** 2
