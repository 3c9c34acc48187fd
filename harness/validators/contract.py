"""What a label-free validator sees of one epoch, and what it returns.

A validator scores the embeddings of two unlabelled domains. It sees no label and nothing that a
trial searches: temperatures, numbers of clusters and seeds are its own and fixed, so that a search
cannot move the ruler it is measured with.

Shapes: N images of a domain (the two domains may differ), S and R images of the samples of the
first and second domain, D embedding size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from harness.validators.domain_embeddings import DomainEmbeddings
from harness.validators.neighbours import CrossNeighbours, cross_neighbours

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
        ValueError: shapes or types that do not belong together.
    """

    a_ND: Tensor
    b_ND: Tensor
    previous_a_ND: Tensor | None = None
    previous_b_ND: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for z_ND, previous_ND in (
            (self.a_ND, self.previous_a_ND),
            (self.b_ND, self.previous_b_ND),
        ):
            if z_ND.ndim != 2 or not len(z_ND) or z_ND.dtype != torch.float32:
                raise ValueError(
                    f"embeddings must be float32 of shape (N > 0, D), not "
                    f"{z_ND.dtype} of shape {tuple(z_ND.shape)}"
                )
            if previous_ND is not None and previous_ND.shape != z_ND.shape:
                raise ValueError(
                    f"embeddings of shape {tuple(z_ND.shape)} cannot follow "
                    f"embeddings of shape {tuple(previous_ND.shape)}"
                )
        if self.a_ND.shape[1] != self.b_ND.shape[1]:
            raise ValueError("the embeddings of the two domains differ in size")
        if (self.previous_a_ND is None) != (self.previous_b_ND is None):
            raise ValueError("the epoch before needs the embeddings of both domains")

    @cached_property
    def a(self) -> DomainEmbeddings:
        """The first domain."""
        return DomainEmbeddings(self.a_ND, self.seed)

    @cached_property
    def b(self) -> DomainEmbeddings:
        """The second domain."""
        return DomainEmbeddings(self.b_ND, self.seed)

    @cached_property
    def previous(self) -> tuple[DomainEmbeddings, DomainEmbeddings] | None:
        """Both domains one epoch earlier, with draws of their own, or None."""
        if self.previous_a_ND is None or self.previous_b_ND is None:
            return None
        return (
            DomainEmbeddings(self.previous_a_ND, self.seed + 1),
            DomainEmbeddings(self.previous_b_ND, self.seed + 1),
        )

    @cached_property
    def is_finite(self) -> bool:
        """Whether every value of all embeddings is finite."""
        domains = (self.a, self.b, *(self.previous or ()))
        return all(bool(domain.z_ND.sum().isfinite()) for domain in domains)

    @cached_property
    def neighbours(self) -> CrossNeighbours:
        """Nearest neighbours across the domains."""
        return cross_neighbours(self.a_ND, self.b_ND)

    @cached_property
    def cosine_SR(self) -> Tensor:
        """Cosines between the samples of the two domains."""
        return self.a.sample_SD @ self.b.sample_SD.T

    @property
    def spread(self) -> float:
        """The smaller of the two domains' spreads; 0 where a domain has collapsed."""
        return min(self.a.spread, self.b.spread)

    @property
    def resolved(self) -> float:
        """The smaller of the two domains' shares of resolved clusters."""
        return min(self.a.resolved, self.b.resolved)


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

    @property
    def defined_by(self) -> Callable[[PairEmbeddings], float]:
        """What the registry tells one validator from another by."""
        return self.score
