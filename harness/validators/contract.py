"""What a label-free validator sees of one epoch, and what it returns.

A validator scores the embeddings of two unlabelled domains. It sees no label and nothing that a
trial searches: temperatures, numbers of clusters and seeds are its own and fixed, so that a search
cannot move the ruler it is measured with.

Shapes: N images of a domain (the two domains may differ), S images of its sample,
D embedding size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from harness.seeds import generator
from harness.validators.effective_rank import rank_coverage
from harness.validators.neighbours import CrossNeighbours, cross_neighbours
from harness.validators.reference_clustering import (
    FIT_SAMPLE,
    ReferenceClustering,
    reference_clustering,
)

Direction = Literal["max", "min"]


@dataclass(frozen=True, eq=False)
class PairEmbeddings:
    """Embeddings of the two domains of a pair after one epoch.

    Intermediate results that several validators need are computed on first use and kept.

    Attributes:
        a_ND: L2-normalised float32 embeddings of the first domain.
        b_ND: of the second domain.
        previous_a_ND: of the first domain one epoch earlier, same order of images, or None.
        previous_b_ND: of the second domain one epoch earlier, or None.
        seed: of samples and reference clusterings; the same for all epochs and trials of a pair.

    Raises:
        ValueError: shapes that do not belong together.
    """

    a_ND: Tensor
    b_ND: Tensor
    previous_a_ND: Tensor | None = None
    previous_b_ND: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, now, previous in (
            ("a", self.a_ND, self.previous_a_ND),
            ("b", self.b_ND, self.previous_b_ND),
        ):
            if now.ndim != 2 or not len(now) or now.dtype != torch.float32:
                raise ValueError(f"{name}_ND must be float32 of shape (N > 0, D), not {now.shape}")
            if previous is not None and previous.shape != now.shape:
                raise ValueError(
                    f"previous_{name}_ND has shape {previous.shape}, the embeddings {now.shape}"
                )
        if self.a_ND.shape[1] != self.b_ND.shape[1]:
            raise ValueError("the embeddings of the two domains differ in size")

    @cached_property
    def is_finite(self) -> bool:
        """Whether every value of all embeddings is finite."""
        tensors = (self.a_ND, self.b_ND, self.previous_a_ND, self.previous_b_ND)
        return all(bool(z_ND.isfinite().all()) for z_ND in tensors if z_ND is not None)

    @cached_property
    def neighbours(self) -> CrossNeighbours:
        """Nearest neighbours across the domains."""
        return cross_neighbours(self.a_ND, self.b_ND)

    @cached_property
    def clusters_a(self) -> ReferenceClustering:
        """Reference clustering of the first domain."""
        return self._clusters(self.a_ND, self._order_a_N)

    @cached_property
    def clusters_b(self) -> ReferenceClustering:
        """Reference clustering of the second domain."""
        return self._clusters(self.b_ND, self._order_b_N)

    def previous_clusters(self) -> tuple[ReferenceClustering, ReferenceClustering] | None:
        """Clusterings of the epoch before from a start of their own, or None without that epoch."""
        if self.previous_a_ND is None or self.previous_b_ND is None:
            return None
        return (
            self._clusters(self.previous_a_ND, self._order_a_N, self.seed + 1),
            self._clusters(self.previous_b_ND, self._order_b_N, self.seed + 1),
        )

    @cached_property
    def rank_coverage(self) -> float:
        """The smaller of the two domains' rank coverages; 0 where a domain has collapsed."""
        return min(rank_coverage(self.a_ND), rank_coverage(self.b_ND))

    def sample_index_a(self, size: int) -> Tensor:
        """Positions of a fixed random sample of the first domain, at most ``size`` images."""
        return self._order_a_N[:size]

    def sample_index_b(self, size: int) -> Tensor:
        """Positions of a fixed random sample of the second domain."""
        return self._order_b_N[:size]

    def sample_a(self, size: int) -> Tensor:
        """Embeddings ``(S, D)`` of that sample of the first domain."""
        return self.a_ND[self.sample_index_a(size)]

    def sample_b(self, size: int) -> Tensor:
        """Embeddings ``(S, D)`` of that sample of the second domain."""
        return self.b_ND[self.sample_index_b(size)]

    @cached_property
    def _order_a_N(self) -> Tensor:
        return self._order(self.a_ND)

    @cached_property
    def _order_b_N(self) -> Tensor:
        return self._order(self.b_ND)

    def _order(self, z_ND: Tensor) -> Tensor:
        # The name holds no domain: exchanging the domains changes no score.
        draws = generator("validator sample", self.seed)
        return torch.randperm(len(z_ND), generator=draws).to(z_ND.device)

    def _clusters(
        self, z_ND: Tensor, order_N: Tensor, seed: int | None = None
    ) -> ReferenceClustering:
        return reference_clustering(z_ND, order_N[:FIT_SAMPLE], self.seed if seed is None else seed)


@dataclass(frozen=True)
class Validator:
    """A named score of :class:`PairEmbeddings`.

    Attributes:
        name: as given to ``--objective``; its column is ``validator.<name>``.
        direction: whether a larger (``max``) or a smaller (``min``) value is better.
        score: the function; NaN where the value cannot be computed.
    """

    name: str
    direction: Direction
    score: Callable[[PairEmbeddings], float]

    def __call__(self, embeddings: PairEmbeddings) -> float:
        """The score, or NaN where it cannot be computed or an embedding is not finite."""
        return self.score(embeddings) if embeddings.is_finite else float("nan")
