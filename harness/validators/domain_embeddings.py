"""The embeddings of one domain and what several validators derive from them.

Shapes: N images of the domain, S images of its sample, D embedding size.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harness.seeds import generator
from harness.validators.effective_rank import rank_coverage
from harness.validators.reference_clustering import ReferenceClustering, reference_clustering

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
    def rank_coverage(self) -> float:
        """See :func:`harness.validators.effective_rank.rank_coverage`."""
        return rank_coverage(self.z_ND)
