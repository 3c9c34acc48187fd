"""What a method is made of. A recipe is data: the one training loop reads it.

Epochs are counted from 0. ``progress`` of a stage is the share of its epochs that lies behind, so
that a ramp given in shares equals the paper's epochs at the paper's length.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from harness.arguments import one_of
from harness.training.views import ViewRecipe


class Ramp(Protocol):
    """Factor on a weight as a function of the stage's progress in [0, 1)."""

    def __call__(self, progress: float) -> float:
        """The factor."""
        ...


@dataclass(frozen=True)
class FromStart:
    """Factor 1 always."""

    def __call__(self, progress: float) -> float:
        """The factor."""
        return 1.0


@dataclass(frozen=True)
class StepRamp:
    """Factor 0 before ``start``, 1 from it on."""

    start: float

    def __call__(self, progress: float) -> float:
        """The factor."""
        return 1.0 if progress >= self.start else 0.0


@dataclass(frozen=True)
class LinearRamp:
    """Factor 0 up to ``start``, rising in a straight line to 1 at ``end``."""

    start: float
    end: float

    def __call__(self, progress: float) -> float:
        """The factor."""
        return min(1.0, max(0.0, (progress - self.start) / (self.end - self.start)))


@dataclass(frozen=True)
class SigmoidRamp:
    """``sigmoid(steepness * (progress - centre))``; UEM eq. 10 has steepness E, centre 0.5.

    Factors below ``LEAST`` are 0, so that nothing is computed for them.
    """

    centre: float
    steepness: float

    LEAST: ClassVar[float] = 1e-6

    def __call__(self, progress: float) -> float:
        """The factor."""
        factor = 1.0 / (1.0 + math.exp(-self.steepness * (progress - self.centre)))
        return factor if factor >= self.LEAST else 0.0

    @property
    def start(self) -> float:
        """Progress from which on the factor is not 0."""
        return max(0.0, self.centre - math.log(1 / self.LEAST - 1) / self.steepness)


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One loss of a stage.

    Attributes:
        loss: its registered name.
        arguments: what it is built with.
        weight: constant factor.
        ramp: factor over the stage.
        parameters: the method parameters that act through this term.
        name: what its values are logged as; the loss's name by default.
    """

    loss: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    ramp: Ramp = FromStart()
    parameters: tuple[str, ...] = ()
    name: str = ""

    @property
    def key(self) -> str:
        """Name in the logs."""
        return self.name or self.loss


@dataclass(frozen=True, kw_only=True)
class ClusteringPlan:
    """Which rule makes the prototypes, and when it begins.

    Attributes:
        rule: registered name of the rule (harness/training/clusterings).
        arguments: what it is built with.
        source: cluster the ``features`` (centre crops under the scored encoder) or the ``bank``.
        start: progress of the stage from which on it is made.
        parameters: the method parameters that act through it.
    """

    rule: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: Literal["features", "bank"] = "features"
    start: float = 0.0
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the training with its own losses.

    Attributes:
        name: in logs and in ``StepContext.stage``.
        share: of all epochs.
        terms: the losses.
        clustering: what makes its prototypes, or None.
        freeze_copy: a frozen copy of the query encoder is taken when the stage starts.
    """

    name: str
    share: float
    terms: tuple[LossTerm, ...]
    clustering: ClusteringPlan | None = None
    freeze_copy: bool = False


@dataclass(frozen=True, kw_only=True)
class BankRule:
    """How the memory bank follows the encoder.

    Attributes:
        rule: ``overwrite``: slots take the key embeddings before the losses of the step;
            ``ema``: after the step, ``m <- normalise(beta m + (1 - beta) z)``.
        beta: of ``ema``.
        normalise: whether ``ema`` normalises its slots again (UEM eq. 5 does not).
    """

    rule: Literal["overwrite", "ema"]
    beta: float = 0.0
    normalise: bool = True


@dataclass(frozen=True, kw_only=True)
class MomentumEncoder:
    """The slowly following twin: ``momentum`` per step; splits of its batch norm."""

    momentum: float = 0.999
    splits: int = 2


@dataclass(frozen=True, kw_only=True)
class OptimiserRule:
    """Optimiser and learning-rate schedule.

    Attributes:
        kind: which optimiser.
        lr: of the encoder.
        momentum: of SGD.
        nesterov: of SGD.
        weight_decay: in the optimiser's own way.
        amsgrad: of Adam.
        schedule: ``cosine`` over all epochs (one value per epoch), or ``constant``.
        backbone_lr_factor: learning rate of the backbone relative to the head's.
        loss_lr: learning rate of parameters that losses own; None takes ``lr``.
        loss_weight_decay: of those; None takes ``weight_decay``.
        decay_norm: whether batch-norm parameters and biases decay too.
    """

    kind: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    amsgrad: bool = False
    schedule: Literal["cosine", "constant"] = "cosine"
    backbone_lr_factor: float = 1.0
    loss_lr: float | None = None
    loss_weight_decay: float | None = None
    decay_norm: bool = True

    def __post_init__(self) -> None:
        one_of("optimiser", self.kind, ("sgd", "adam", "adamw"))
        for name, rate in (("lr", self.lr), ("loss_lr", self.loss_lr)):
            if rate is not None and rate <= 0:
                raise ValueError(f"{name} must be above 0, not {rate}")


@dataclass(frozen=True, kw_only=True)
class Readout:
    """What is scored of a domain pair.

    Attributes:
        rule: registered name (harness/training/readouts.py); ``embedding`` is the encoder's
            output as it is.
        arguments: what the rule is called with.
        parameters: the method parameters that act through it.
        detector_rule: readout that the open-set detector compares, where what is scored can be
            compared across the domains only; None for the same.
    """

    rule: str = "embedding"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    detector_rule: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything the loop needs to know of a method.

    Attributes:
        stages: in order; their shares add up to 1. None for a method that trains nothing.
        bank: rule of the memory bank.
        momentum_encoder: or None.
        optimiser: rule of the optimiser.
        scored: which encoder is evaluated.
        head: ``mlp`` (MoCo v2) or ``linear``.
        embedding_size: D.
        views: augmentation.
        readout: what is scored of the scored encoder's output.
        detector: how open-set queries are told (scenario ``open``): by the spread of the query
            domain's clusters, or by the merged pairs of the last stage's clustering rule (UEM).
        notes: sentences on what was cut to fit the pair, printed and kept in the rows.
    """

    stages: tuple[Stage, ...]
    bank: BankRule
    momentum_encoder: MomentumEncoder | None
    optimiser: OptimiserRule
    scored: Literal["momentum", "query"]
    head: Literal["mlp", "linear"] = "mlp"
    embedding_size: int = 128
    views: ViewRecipe = field(default_factory=ViewRecipe)
    readout: Readout = field(default_factory=Readout)
    detector: Literal["cluster_spread", "merged_pairs"] = "cluster_spread"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StagePosition:
    """Where an epoch stands: its stage, the stage's first epoch and number of epochs."""

    index: int
    first_epoch: int
    epochs: int

    def progress(self, epoch: int) -> float:
        """Share of the stage that lies behind at the start of ``epoch``."""
        return (epoch - self.first_epoch) / self.epochs


def stage_positions(recipe: Recipe, epochs: int) -> tuple[StagePosition, ...]:
    """Deals the epochs out to the stages by their shares.

    With at least as many epochs as stages every stage gets at least one; with fewer, the first
    ``epochs`` stages get one each.
    """
    count = min(len(recipe.stages), epochs)
    ends: list[int] = []
    for index in range(count):
        share_behind = sum(stage.share for stage in recipe.stages[: index + 1])
        exact = round(epochs * share_behind)
        lowest = (ends[-1] if ends else 0) + 1
        highest = epochs - (count - index - 1)
        ends.append(epochs if index == count - 1 else min(max(exact, lowest), highest))
    starts = [0, *ends[:-1]][:count]
    return tuple(
        StagePosition(index, start, end - start)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def first_active_epochs(recipe: Recipe, epochs: int) -> dict[str, int]:
    """First epoch (from 0) in which each parameter acts, for those that act at all."""
    active: dict[str, int] = dict.fromkeys(recipe.readout.parameters, 0)
    for position in stage_positions(recipe, epochs):
        stage = recipe.stages[position.index]
        for epoch in range(position.first_epoch, position.first_epoch + position.epochs):
            progress = position.progress(epoch)
            acting: list[str] = []
            if stage.clustering is not None and progress >= stage.clustering.start:
                acting += stage.clustering.parameters
            for term in stage.terms:
                if term.weight * term.ramp(progress) != 0.0:
                    acting += term.parameters
            for name in acting:
                active.setdefault(name, epoch)
    return active
