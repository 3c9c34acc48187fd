"""What a loss sees of one training step, what it must return, and the losses by name.

Shapes: B batch of this domain, N images of the domain, K prototypes, C merged prototypes,
D embedding size, F backbone features. The two domains may differ in B, N and K.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from harness.errors import UsageError, nearest
from harness.registry import Registry


@dataclass(frozen=True)
class MergedPrototypes:
    """A domain's prototypes joined with those of the other domain moved into it (UEM eq. 8-9).

    Attributes:
        proto_CD: the merged set P'.
        own_to_merged_K: for each own prototype its row in ``proto_CD``.
        other_to_merged_K: for each prototype of the *other* domain its row in ``proto_CD``.
        is_merged_C: True where a row stands for a matched pair of both domains.
    """

    proto_CD: Tensor
    own_to_merged_K: Tensor
    other_to_merged_K: Tensor
    is_merged_C: Tensor

    def to(self, device: torch.device) -> "MergedPrototypes":
        """The same on another device."""
        moved = {item.name: getattr(self, item.name).to(device) for item in fields(self)}
        return replace(self, **moved)


@dataclass(frozen=True)
class Clustering:
    """One clustering of one domain. Prototypes are L2-normalised and carry no gradient.

    Attributes:
        proto_KD: prototypes; a prototype may own no image.
        assign_N: cluster of each image of the domain (int64).
        density_K: concentration per cluster (PCL's phi), where the rule computes it.
        marginal_K: share of the images per prototype, where the rule computes it (ProtoOT's beta).
        merged: the set merged with the other domain, where the rule computes it (UEM).
        counterpart_K: for each prototype the one of the other domain it is matched with, -1 for
            none (int64), where the rule matches (ucdir_ot). All prototypes of the domain with
            fewer have one.
    """

    proto_KD: Tensor
    assign_N: Tensor
    density_K: Tensor | None = None
    marginal_K: Tensor | None = None
    merged: MergedPrototypes | None = None
    counterpart_K: Tensor | None = None

    def to(self, device: torch.device) -> "Clustering":
        """The same on another device."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        moved = {name: value.to(device) for name, value in tensors.items() if value is not None}
        return replace(self, **moved)


@dataclass(frozen=True)
class DomainView:
    """What a loss sees of one domain in one step. Floating tensors are made float32.

    Attributes:
        z_BD: query-encoder embeddings, L2-normalised; the gradient flows.
        pooled_BF: backbone features before the head; the gradient flows.
        key_BD: momentum-encoder embeddings of the second view, no gradient; None without
            a momentum encoder.
        frozen_BD: embeddings of the frozen copy of an earlier stage, no gradient, or None.
        index_B: position of each image in its domain (int64; may hold duplicates).
        bank_ND: memory bank, no gradient. Under the rule ``overwrite`` slot ``index_B`` already
            holds ``key_BD``.
        clusterings: the clusterings in force; empty before clustering starts.
    """

    z_BD: Tensor
    pooled_BF: Tensor
    key_BD: Tensor | None
    frozen_BD: Tensor | None
    index_B: Tensor
    bank_ND: Tensor
    clusterings: tuple[Clustering, ...] = ()

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor) and value.is_floating_point():
                object.__setattr__(self, item.name, value.float())


@dataclass(frozen=True)
class StepContext:
    """Where in the training a step stands.

    Attributes:
        epoch: epoch over all stages, from 0.
        progress: share of the present stage that lies behind, in [0, 1).
        stage: name of the present stage.
        generator: the seeded generator of this step's draws (on the CPU).
        record: takes a name and a scalar that is worth logging beside the loss, such as the pass
            rate of a filter. Means over the epoch are logged as ``loss.<name>``.
    """

    epoch: int
    progress: float
    stage: str
    generator: torch.Generator
    record: Callable[[str, Tensor], None] = field(default=lambda name, value: None)


class Loss(nn.Module):
    """One term of a method. Weights and ramps are the harness's, never the loss's.

    A loss may own parameters (a domain classifier); they are trained with the encoder.
    It must accept ``B_a != B_b``, ``K_a != K_b`` and prototypes that own no image, must return a
    float32 scalar, and must let no gradient into keys, banks or prototypes.

    Attributes:
        recorded: names of what the loss passes to ``StepContext.record``; each is a column.
    """

    recorded: tuple[str, ...] = ()

    def begin_stage(
        self,
        a: tuple[Clustering, ...],
        b: tuple[Clustering, ...],
        bank_a_ND: Tensor,
        bank_b_ND: Tensor,
    ) -> None:
        """Called once when the stage of this loss starts, with the clusterings in force then.

        The place to set own parameters from prototypes (CoDA's classifiers). Draws nothing.
        """

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the loss of one step over both domains as a scalar."""
        raise TypeError(f"{type(self).__name__} does not define forward(a, b, step)")


LossClass = TypeVar("LossClass", bound=type[Loss])

LOSSES: Registry[type[Loss]] = Registry("loss")


def register_loss(name: str) -> Callable[[LossClass], LossClass]:
    """Class decorator: makes a loss known under ``name``.

    Raises:
        UsageError: the name cannot be one, or another class has it.
    """
    return LOSSES.decorator(name)


def loss_names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(LOSSES))


def loss_class(name: str) -> type[Loss]:
    """The class registered under ``name``.

    Raises:
        UsageError: no loss has the name.
    """
    return LOSSES[name]


def create_loss(name: str, **arguments: Any) -> Loss:
    """Builds a loss; an argument it does not take is an error, never dropped.

    Raises:
        UsageError: unknown name or unknown argument.
    """
    cls = loss_class(name)
    accepted = inspect.signature(cls).parameters
    for argument in arguments:
        if argument not in accepted:
            raise UsageError(
                f"The loss '{name}' takes no argument '{argument}'. {nearest(argument, accepted)}"
            )
    return cls(**arguments)
