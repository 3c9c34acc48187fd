"""UCDIR (Hu & Lee, ECCV 2022) and its ablation ladder, as the authors' code `ad7fa42`.

``instance`` (L_IW), ``cluster`` (+ L_CW), ``cluster_se`` (+ L_SE), ``ucdir`` (+ L_DD). Schedule at
the paper's 200 epochs: instance term alone for 20, cluster term rising to full weight at 100,
self-entropy and distance-of-distance from 100 on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.methods.recipe import (
    BankRule,
    ClusteringPlan,
    LinearRamp,
    LossTerm,
    MomentumEncoder,
    OptimiserRule,
    Recipe,
    Stage,
    StepRamp,
)
from harness.methods.registry import Method, PairShape, ParameterValue, register_method
from harness.methods.space import Space, cluster_range, first_clusters, log_range

WARM_UP = 20 / 200
SATURATED = 100 / 200
PAPER_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class InstanceParameters:
    """Parameters of the instance-wise term and of the frame it stands in.

    Attributes:
        tau: temperature of the contrastive terms.
        lr: learning rate, cosine to 0.
        optimiser: ``sgd`` (momentum 0.9) as the authors, or ``adamw``.
        weight_decay: of every parameter.
        encoder_momentum: of the momentum encoder, per step.
    """

    tau: float = 0.2
    lr: float = 2e-4
    optimiser: str = "sgd"
    weight_decay: float = 1e-4
    encoder_momentum: float = 0.999


@dataclass(frozen=True, kw_only=True)
class ClusterParameters(InstanceParameters):
    """Adds the cluster-wise term.

    Attributes:
        K: clusters per domain.
        cluster_weight: weight of the cluster-wise term after its ramp.
        cluster_filter: least own-cluster probability of the key for an image to count.
    """

    K: int = 65
    cluster_weight: float = 0.5
    cluster_filter: float = 0.2


@dataclass(frozen=True, kw_only=True)
class ClusterSeParameters(ClusterParameters):
    """Adds the self-entropy term.

    Attributes:
        lambda_se: its weight.
        se_temperature: its temperature.
    """

    lambda_se: float = 1.0
    se_temperature: float = 0.01


@dataclass(frozen=True, kw_only=True)
class UcdirParameters(ClusterSeParameters):
    """Adds the distance-of-distance term.

    Attributes:
        lambda_dd: its weight at a batch of 64; the recipe scales it by 64/B because the term
            grows with the batch.
        dd_temperature: its temperature.
    """

    lambda_dd: float = 0.5
    dd_temperature: float = 0.01


def _instance_terms(p: InstanceParameters, shape: PairShape) -> tuple[LossTerm, ...]:
    return (LossTerm(loss="instance_contrast", arguments={"tau": p.tau}, parameters=("tau",)),)


def _cluster_terms(p: ClusterParameters, shape: PairShape) -> tuple[LossTerm, ...]:
    return (
        *_instance_terms(p, shape),
        LossTerm(
            loss="cluster_contrast",
            arguments={"tau": p.tau, "cluster_filter": p.cluster_filter},
            weight=p.cluster_weight,
            ramp=LinearRamp(WARM_UP, SATURATED),
            parameters=("K", "tau", "cluster_weight", "cluster_filter"),
        ),
    )


def _cluster_se_terms(p: ClusterSeParameters, shape: PairShape) -> tuple[LossTerm, ...]:
    return (
        *_cluster_terms(p, shape),
        LossTerm(
            loss="self_entropy",
            arguments={"temperature": p.se_temperature},
            weight=p.lambda_se,
            ramp=StepRamp(SATURATED),
            parameters=("K", "lambda_se", "se_temperature"),
        ),
    )


def _ucdir_terms(p: UcdirParameters, shape: PairShape) -> tuple[LossTerm, ...]:
    return (
        *_cluster_se_terms(p, shape),
        LossTerm(
            loss="distance_of_distance",
            arguments={"temperature": p.dd_temperature},
            weight=p.lambda_dd * PAPER_BATCH / shape.batch_size,
            ramp=StepRamp(SATURATED),
            parameters=("K", "lambda_dd", "dd_temperature"),
        ),
    )


def momentum_frame(
    p: InstanceParameters,
    terms: tuple[LossTerm, ...],
    clustering: ClusteringPlan | None,
    notes: tuple[str, ...] = (),
) -> Recipe:
    """The frame of UCDIR around any terms: momentum twin, overwritten bank, cosine schedule."""
    kind: Any = p.optimiser
    return Recipe(
        stages=(Stage(name="train", share=1.0, terms=terms, clustering=clustering),),
        bank=BankRule(rule="overwrite"),
        momentum_encoder=MomentumEncoder(momentum=p.encoder_momentum, splits=2),
        optimiser=OptimiserRule(kind=kind, lr=p.lr, weight_decay=p.weight_decay),
        scored="momentum",
        notes=notes,
    )


def _kmeans(p: ClusterParameters) -> ClusteringPlan:
    return ClusteringPlan(rule="kmeans", arguments={"k": p.K}, start=WARM_UP, parameters=("K",))


def paper_preset(dataset: str) -> Mapping[str, ParameterValue]:
    """The authors' settings: Office-Home's are the defaults, DomainNet's differ."""
    if dataset == "domainnet7":
        return {
            "K": 7,
            "cluster_weight": 1.0,
            "lambda_se": 0.5,
            "se_temperature": 0.1,
            "lambda_dd": 0.1,
        }
    return {}


SCRATCH: Mapping[str, ParameterValue] = {
    "lr": 1e-3,
    "optimiser": "adamw",
    "encoder_momentum": 0.99,
}


def only(parameters: type[Any], values: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    """Those of ``values`` that ``parameters`` has."""
    return {
        name: value for name, value in values.items() if name in parameters.__dataclass_fields__
    }


FIRST_CLUSTERS = first_clusters(officehome=65, domainnet7=7)


def _ranges(n: int) -> Space:
    """K from the image count; tau and the weights around the authors' values, log-uniform."""
    return {
        "K": cluster_range(n),
        "tau": log_range(0.05, 0.5),
        "lambda_dd": log_range(0.01, 2.0),
        "lambda_se": log_range(0.05, 4.0),
    }


def _register(
    name: str,
    summary: str,
    parameters: type[Any],
    terms: Any,
    clusters: bool,
) -> None:
    def space(n: int) -> Space:
        names = parameters.__dataclass_fields__
        return {name: values for name, values in _ranges(n).items() if name in names}

    def recipe(p: Any, shape: PairShape) -> Recipe:
        return momentum_frame(p, terms(p, shape), _kmeans(p) if clusters else None)

    register_method(
        Method(
            name=name,
            summary=summary,
            parameters=parameters,
            recipe=recipe,
            presets={
                "paper": lambda dataset: only(parameters, paper_preset(dataset)),
                "scratch": lambda dataset: only(parameters, {**paper_preset(dataset), **SCRATCH}),
            },
            space=space,
            first=lambda dataset, n: only(parameters, FIRST_CLUSTERS(dataset, n)),
        )
    )


_register(
    "instance",
    "L_IW alone: instance contrast against the own bank",
    InstanceParameters,
    _instance_terms,
    clusters=False,
)
_register(
    "cluster",
    "L_IW + L_CW: adds the cluster-wise contrast",
    ClusterParameters,
    _cluster_terms,
    clusters=True,
)
_register(
    "cluster_se",
    "L_IW + L_CW + L_SE: adds the self-entropy over both prototype sets",
    ClusterSeParameters,
    _cluster_se_terms,
    clusters=True,
)
_register(
    "ucdir",
    "UCDIR (Hu & Lee, ECCV 2022): adds the distance-of-distance loss",
    UcdirParameters,
    _ucdir_terms,
    clusters=True,
)
