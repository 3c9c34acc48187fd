"""The embeddings of one domain and what several validators derive from them.

Shapes: N images of the domain, S images of its sample, D embedding size.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harness.seeds import generator
from harness.validators.effective_dimension import dimension_coverage
from harness.validators.reference_clustering import (
    ReferenceClustering,
    reference_clustering,
    reference_k,
)

SAMPLE = 512
"""Images of a domain, at most, in the sample for what grows with the square of their number."""


@dataclass(frozen=True, eq=False)
class DomainEmbeddings:
    """Embeddings of one domain; intermediate results are computed on first use and kept.

    Attributes:
        z_ND: L2-normalised float32 embeddings.
        seed: of the sample and of the reference clustering.
    """

    z_ND: Tensor
    seed: int

    @cached_property
    def order_N(self) -> Tensor:
        """A fixed random order of the images: any head of it is a random sample."""
        # No name of a domain: exchanging the domains of a pair changes no score.
        draws = generator("validator sample", self.seed)
        return torch.randperm(len(self.z_ND), generator=draws).to(self.z_ND.device)

    @property
    def sample_S(self) -> Tensor:
        """Positions of the sampled images."""
        return self.order_N[:SAMPLE]

    @cached_property
    def sample_SD(self) -> Tensor:
        """Embeddings of the sampled images."""
        return self.z_ND[self.sample_S]

    @cached_property
    def sample_cosine_SS(self) -> Tensor:
        """Cosines within the sample."""
        return self.sample_SD @ self.sample_SD.T

    @cached_property
    def clusters(self) -> ReferenceClustering:
        """The reference clustering."""
        return reference_clustering(self.z_ND, self.order_N, self.seed)

    @cached_property
    def spread(self) -> float:
        """Factor in [0, 1] for scores of alignment, which are best for a collapsed embedding.

        The coverage of dimensions about the origin times that about the mean: near 0 for one
        point, a narrow cone, a few points or a line; 1 for at least as many directions, both ways,
        as there are reference clusters.
        """
        return self._coverage(centred=False) * self._coverage(centred=True)

    @cached_property
    def resolved(self) -> float:
        """Factor in [0, 1] for scores of clusters and neighbours, which a few points would flatter.

        The share of reference clusters that own an image times the coverage of dimensions about
        the mean: 0 for one point, small for a few points or a line. Ranking does not mind a cone
        that all images share, and neither does this.
        """
        return self.clusters.occupancy * self._coverage(centred=True)

    def _coverage(self, *, centred: bool) -> float:
        needed = min(reference_k(len(self.z_ND)), self.z_ND.shape[1])
        return dimension_coverage(self.sample_cosine_SS, needed, centred=centred)
