"""UEM (Wang, Du & Zhu, NeurIPS 2024) and its ablations, from the paper's text alone.

Stage ``idse``: instance, prototype and semantic-enhanced terms within each domain. Stage ``cdsm``:
adversarial alignment, preservation of the first stage's geometry, and the switchable
nearest-neighbour match.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.arguments import one_of
from harness.errors import UsageError
from harness.methods.recipe import (
    BankRule,
    ClusteringPlan,
    LossTerm,
    OptimiserRule,
    Recipe,
    SigmoidRamp,
    Stage,
)
from harness.methods.registry import Method, PairShape, ParameterValue, register_method
from harness.methods.space import Space, log_range

ELBOW = "elbow"

SCRATCH: Mapping[str, ParameterValue] = {"lr": 1e-3, "optimiser": "adamw", "bank_momentum": 0.5}


@dataclass(frozen=True, kw_only=True)
class UemFrame:
    """What UEM and its ablations share.

    Attributes:
        tau: temperature of all terms.
        clusters: ``elbow``, or the number of clusters per domain.
        adversarial_weight: weight of the domain-adversarial term.
        negatives: of the instance term: the whole ``bank`` of the domain, or the ``batch``.
        lr: learning rate, cosine to 0 over both stages.
        classifier_lr: of the domain classifier, under the same cosine. The paper gives none; it
            has the last third of the cosine to learn in, and at the network's rate it would stay
            at chance and align nothing.
        optimiser: ``sgd`` (momentum 0.9) as the paper, or ``adamw``.
        weight_decay: of every parameter.
        bank_momentum: share of the old slot in the new one; the sum is not normalised (eq. 5).
        idse_share: share of the epochs that the first stage takes.
        ramp_steepness: of the sigmoid over the first stage (its epochs in the paper; eq. 10).
    """

    tau: float = 0.07
    clusters: str = ELBOW
    adversarial_weight: float = 1.0
    negatives: str = "bank"
    lr: float = 2e-4
    classifier_lr: float = 2e-2
    optimiser: str = "sgd"
    weight_decay: float = 1e-4
    bank_momentum: float = 0.99
    idse_share: float = 100 / 150
    ramp_steepness: float = 100.0


@dataclass(frozen=True, kw_only=True)
class WithSemanticEnhanced(UemFrame):
    """Adds ``sel_weight``, the weight of the semantic-enhanced term."""

    sel_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class WithPreserving(UemFrame):
    """Adds ``preserving_weight``, the weight of the semantic preservation (SPR)."""

    preserving_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class WithMatch(UemFrame):
    """Adds ``match_weight``, the weight of the nearest-neighbour match (SN2M)."""

    match_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class UemParameters(WithSemanticEnhanced, WithPreserving, WithMatch):
    """All of UEM."""


@dataclass(frozen=True, kw_only=True)
class NoSelParameters(WithPreserving, WithMatch):
    """Without the semantic-enhanced term."""


@dataclass(frozen=True, kw_only=True)
class NoSpdaParameters(WithSemanticEnhanced, WithMatch):
    """Without the semantic preservation."""


@dataclass(frozen=True, kw_only=True)
class NoSn2mParameters(WithSemanticEnhanced, WithPreserving):
    """Without the nearest-neighbour match."""


Term = Callable[[Any, str], LossTerm]


def _instance(p: UemFrame, prototypes: str) -> LossTerm:
    return LossTerm(
        loss="uem_instance",
        arguments={"tau": p.tau, "negatives": p.negatives},
        parameters=("tau", "negatives"),
    )


def _prototype(p: UemFrame, prototypes: str) -> LossTerm:
    return LossTerm(
        loss="uem_prototype",
        arguments={"tau": p.tau, "prototypes": prototypes},
        ramp=SigmoidRamp(0.5, p.ramp_steepness),
        parameters=("tau", "clusters"),
    )


def _semantic_enhanced(p: WithSemanticEnhanced, prototypes: str) -> LossTerm:
    return LossTerm(
        loss="semantic_enhanced",
        arguments={"tau": p.tau, "prototypes": prototypes},
        weight=p.sel_weight,
        ramp=SigmoidRamp(0.5, p.ramp_steepness),
        parameters=("tau", "clusters", "sel_weight"),
    )


def _adversarial(p: UemFrame, prototypes: str) -> LossTerm:
    return LossTerm(
        loss="domain_adversarial",
        arguments={"features": "embedding"},
        weight=p.adversarial_weight,
        parameters=("adversarial_weight",),
    )


def _preserving(p: WithPreserving, prototypes: str) -> LossTerm:
    return LossTerm(
        loss="semantic_preserving",
        weight=p.preserving_weight,
        parameters=("preserving_weight",),
    )


def _match(p: WithMatch, prototypes: str) -> LossTerm:
    return LossTerm(
        loss="switchable_neighbour",
        arguments={"tau": p.tau},
        weight=p.match_weight,
        parameters=("tau", "clusters", "match_weight"),
    )


def cluster_number(text: str, images: int) -> int | None:
    """The number of clusters that ``clusters`` names; None for the elbow estimate.

    Raises:
        UsageError: neither ``elbow`` nor a number from 1 to the images of the smaller domain.
    """
    if text == ELBOW:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= images:
        raise UsageError(
            f"clusters takes elbow or a number up to {images}, the images of the smaller domain, "
            f"not '{text}'."
        )
    return int(text)


def _recipe(
    p: UemFrame,
    shape: PairShape,
    idse: tuple[Term, ...],
    cdsm: tuple[Term, ...],
    merge: bool,
) -> Recipe:
    kind: Any = p.optimiser
    one_of("negatives", p.negatives, ("bank", "batch"))
    prototypes = "merged" if merge else "own"

    def plan(start: float) -> ClusteringPlan:
        return ClusteringPlan(
            rule="elbow_merged",
            arguments={"clusters": cluster_number(p.clusters, shape.n_min), "merge": merge},
            source="bank",
            start=start,
            parameters=("clusters",),
        )

    return Recipe(
        stages=(
            Stage(
                name="idse",
                share=p.idse_share,
                terms=tuple(term(p, prototypes) for term in idse),
                clustering=plan(SigmoidRamp(0.5, p.ramp_steepness).start),
            ),
            Stage(
                name="cdsm",
                share=1.0 - p.idse_share,
                terms=tuple(term(p, prototypes) for term in cdsm),
                clustering=plan(0.0),
                freeze_copy=True,
            ),
        ),
        bank=BankRule(rule="ema", beta=p.bank_momentum, normalise=False),
        momentum_encoder=None,
        optimiser=OptimiserRule(
            kind=kind, lr=p.lr, weight_decay=p.weight_decay, loss_lr=p.classifier_lr
        ),
        scored="query",
        detector="merged_pairs" if merge else "cluster_spread",
    )


def _paper(dataset: str) -> Mapping[str, ParameterValue]:
    if dataset == "domainnet7":
        return {"idse_share": 200 / 250, "ramp_steepness": 200.0}
    return {}


def _ranges(n: int) -> Space:
    """Tau and the weights around the paper's values. Clusters are estimated, not searched."""
    return {
        "tau": log_range(0.03, 0.5),
        "sel_weight": log_range(0.05, 5.0),
        "adversarial_weight": log_range(0.01, 5.0),
        "match_weight": log_range(0.05, 5.0),
    }


def _register(
    name: str,
    summary: str,
    parameters: type[Any],
    *,
    idse: tuple[Term, ...] = (_instance, _prototype, _semantic_enhanced),
    cdsm: tuple[Term, ...] = (_adversarial, _preserving, _match),
    merge: bool = True,
) -> None:
    def space(n: int) -> Space:
        names = parameters.__dataclass_fields__
        return {name: values for name, values in _ranges(n).items() if name in names}

    register_method(
        Method(
            name=name,
            summary=summary,
            parameters=parameters,
            recipe=lambda p, shape: _recipe(p, shape, idse, cdsm, merge),
            presets={
                "paper": _paper,
                "scratch": lambda dataset: {**_paper(dataset), **SCRATCH, "classifier_lr": 1e-2},
            },
            space=space,
        )
    )


_register("uem", "UEM (Wang et al., NeurIPS 2024), for any overlap of classes", UemParameters)
_register(
    "uem_no_merge",
    "UEM without merging prototypes across the domains",
    UemParameters,
    merge=False,
)
_register(
    "uem_no_sel",
    "UEM without the semantic-enhanced loss",
    NoSelParameters,
    idse=(_instance, _prototype),
)
_register(
    "uem_no_spda",
    "UEM with plain adversarial alignment: no semantic preservation",
    NoSpdaParameters,
    cdsm=(_adversarial, _match),
)
_register(
    "uem_no_sn2m",
    "UEM without the switchable nearest-neighbour match",
    NoSn2mParameters,
    cdsm=(_adversarial, _preserving),
)
