"""Random steps for trying out a loss: every field of the contract, and the awkward cases.

Shapes: B batch, N images of the domain, K prototypes, D embedding size, F backbone features.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from losses.contract import Clustering, DomainView, MergedPrototypes

EMBEDDING_SIZE = 16
POOLED_SIZE = 24


@dataclass(frozen=True)
class Situation:
    """One case a loss must cope with; sizes are given for the domains a and b.

    Attributes:
        name: how a failure names it.
        batch: images per batch.
        images: images per domain.
        clusters: prototypes of each clustering of a, then of b; the last of several is empty.
        duplicates: the first image is in the batch twice.
        collapsed: all embeddings and features of both domains are the same vector.
        key: there is a momentum encoder.
        frozen: there is a frozen copy of an earlier stage.
        dtype: of the embeddings and features.
    """

    name: str
    batch: tuple[int, int] = (4, 6)
    images: tuple[int, int] = (30, 41)
    clusters: tuple[tuple[int, ...], tuple[int, ...]] = ((4,), (6,))
    duplicates: bool = False
    collapsed: bool = False
    key: bool = True
    frozen: bool = True
    dtype: torch.dtype = torch.float32


SITUATIONS = (
    Situation("unequal domains with an empty cluster"),
    Situation("more prototypes in the first domain", clusters=((7,), (3,))),
    Situation("equal domains", batch=(6, 6), images=(30, 30), clusters=((5,), (5,))),
    Situation("one prototype", clusters=((1,), (1,))),
    Situation("two clusterings", clusters=((4, 6), (5, 3))),
    Situation("no clustering yet", clusters=((), ())),
    Situation("an image twice in a batch", duplicates=True),
    Situation("collapsed embeddings", collapsed=True),
    Situation("bfloat16 inputs", dtype=torch.bfloat16),
    Situation("float16 inputs", dtype=torch.float16),
    Situation("no momentum encoder", key=False),
    Situation("no frozen copy", frozen=False),
)


@dataclass(frozen=True)
class ExampleStep:
    """The views of one step and the tensors they were made of.

    Attributes:
        a: view of the first domain.
        b: view of the second domain.
        trained: leaves a gradient may reach: embeddings and pooled features.
        constant: leaves no gradient may reach: keys, frozen embeddings, banks, prototypes.
    """

    a: DomainView
    b: DomainView
    trained: dict[str, Tensor]
    constant: dict[str, Tensor]


def _unit(generator: torch.Generator, *shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def _domain_fields(
    situation: Situation, side: int, generator: torch.Generator
) -> dict[str, Tensor]:
    batch, images = situation.batch[side], situation.images[side]
    index_B = torch.randperm(images, generator=generator)[:batch]
    if situation.duplicates:
        index_B[1] = index_B[0]
    fields = {
        "z_BD": _unit(generator, batch, EMBEDDING_SIZE),
        "pooled_BF": torch.rand(batch, POOLED_SIZE, generator=generator),
        "key_BD": _unit(generator, batch, EMBEDDING_SIZE),
        "frozen_BD": _unit(generator, batch, EMBEDDING_SIZE),
        "bank_ND": _unit(generator, images, EMBEDDING_SIZE),
    }
    if situation.collapsed:
        fields = {n: F.normalize(torch.ones_like(value), dim=1) for n, value in fields.items()}
    fields["bank_ND"][index_B] = fields["key_BD"]
    fields = {name: value.to(situation.dtype) for name, value in fields.items()}
    return {**fields, "index_B": index_B}


def _clustering_fields(clusters: int, images: int, generator: torch.Generator) -> dict[str, Tensor]:
    assign_N = torch.randint(max(clusters - 1, 1), (images,), generator=generator)
    return {
        "proto_KD": _unit(generator, clusters, EMBEDDING_SIZE),
        "assign_N": assign_N,
        "density_K": 0.1 + 0.2 * torch.rand(clusters, generator=generator),
        "marginal_K": torch.bincount(assign_N, minlength=clusters) / images,
    }


def _first_pair_merged(own_KD: Tensor, other_KD: Tensor) -> dict[str, Tensor]:
    own_alone, other_alone = len(own_KD) - 1, len(other_KD) - 1
    last = own_alone + other_alone
    pair_1D = F.normalize(own_KD[:1] + other_KD[:1], dim=1)
    return {
        "proto_CD": torch.cat([own_KD[1:], other_KD[1:], pair_1D]),
        "own_to_merged_K": torch.tensor([last, *range(own_alone)]),
        "other_to_merged_K": torch.tensor([last, *range(own_alone, last)]),
        "is_merged_C": torch.arange(last + 1) == last,
    }


def _counterpart(prototypes: int, others: int) -> Tensor:
    """Prototype k stands for prototype k of the other domain, as far as both have it."""
    number_K = torch.arange(prototypes)
    return torch.where(number_K < others, number_K, -1)


def example_step(situation: Situation, seed: int = 0) -> ExampleStep:
    """Random views that fill every field of the contract; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    fields = [_domain_fields(situation, side, generator) for side in (0, 1)]
    clusterings = [
        [
            _clustering_fields(count, situation.images[side], generator)
            for count in situation.clusters[side]
        ]
        for side in (0, 1)
    ]
    trained: dict[str, Tensor] = {}
    constant: dict[str, Tensor] = {}

    def leaf(name: str, value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        tensor = value.clone().requires_grad_()
        flows = name.endswith(("z_BD", "pooled_BF"))
        (trained if flows else constant)[name] = tensor
        return tensor

    def view(side: int) -> DomainView:
        domain, other = "ab"[side], 1 - side
        values: dict[str, Any] = {n: leaf(f"{domain}.{n}", v) for n, v in fields[side].items()}
        if not situation.key:
            values["key_BD"] = None
        if not situation.frozen:
            values["frozen_BD"] = None
        made = []
        for number, parts in enumerate(clusterings[side]):
            prefix = f"{domain}.clusterings[{number}]"
            merged = _first_pair_merged(parts["proto_KD"], clusterings[other][number]["proto_KD"])
            merged["proto_CD"] = leaf(f"{prefix}.merged", merged["proto_CD"])
            leaves = {n: leaf(f"{prefix}.{n}", v) for n, v in parts.items()}
            counterpart_K = _counterpart(
                len(parts["proto_KD"]), len(clusterings[other][number]["proto_KD"])
            )
            made.append(
                Clustering(**leaves, merged=MergedPrototypes(**merged), counterpart_K=counterpart_K)
            )
        return DomainView(**values, clusterings=tuple(made))

    return ExampleStep(view(0), view(1), trained, constant)
