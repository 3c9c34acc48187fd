"""ProtoOT (Li, Shi, Yu & Wang, AAAI 2024), as the authors' code `ebe94d7`.

In-domain contrast against prototypes that every step replaces; cross-domain contrast from half of
the training on. No clustering warm-up, a constant learning rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.arguments import one_of
from harness.methods.recipe import (
    BankRule,
    ClusteringPlan,
    LossTerm,
    MomentumEncoder,
    OptimiserRule,
    Recipe,
    Stage,
    StepRamp,
)
from harness.methods.registry import Method, PairShape, ParameterValue, register_method
from harness.methods.space import Space, cluster_range, first_clusters, log_range
from harness.methods.ucdir import SCRATCH

CROSS_START = 100 / 200


@dataclass(frozen=True, kw_only=True)
class ProtoOtParameters:
    """Parameters of ProtoOT.

    Attributes:
        K: prototypes per domain.
        tau: temperature of both contrasts.
        cross_weight: weight of the cross-domain term.
        epsilon: entropic regularisation of the transport.
        neighbour_weight: weight of the nearest other bank entry as a positive.
        prototype_weight: weight of the own prototype as a positive.
        beta_mode: ``fixed``, or ``official`` for the authors' order of the marginals.
        lr: learning rate, constant.
        optimiser: ``adam`` (with amsgrad) as the authors, or ``adamw``.
        weight_decay: of every parameter.
        encoder_momentum: of the momentum encoder, per step.
    """

    K: int = 65
    tau: float = 0.2
    cross_weight: float = 0.01
    epsilon: float = 0.05
    neighbour_weight: float = 0.5
    prototype_weight: float = 0.1
    beta_mode: str = "fixed"
    lr: float = 2.5e-4
    optimiser: str = "adam"
    weight_decay: float = 5e-4
    encoder_momentum: float = 0.999


def _recipe(p: ProtoOtParameters, shape: PairShape) -> Recipe:
    kind: Any = p.optimiser
    one_of("beta_mode", p.beta_mode, ("fixed", "official"))
    terms = (
        LossTerm(
            loss="protoot_in_domain",
            arguments={
                "tau": p.tau,
                "neighbour_weight": p.neighbour_weight,
                "prototype_weight": p.prototype_weight,
            },
            parameters=("K", "tau", "epsilon", "neighbour_weight", "prototype_weight"),
        ),
        LossTerm(
            loss="protoot_cross_domain",
            arguments={"tau": p.tau, "epsilon": p.epsilon, "beta_mode": p.beta_mode},
            weight=p.cross_weight,
            ramp=StepRamp(CROSS_START),
            parameters=("cross_weight",),
        ),
    )
    clustering = ClusteringPlan(
        rule="protoot",
        arguments={"k": p.K, "beta_mode": p.beta_mode, "epsilon": p.epsilon},
        source="bank",
        parameters=("K", "epsilon", "beta_mode"),
    )
    return Recipe(
        stages=(Stage(name="train", share=1.0, terms=terms, clustering=clustering),),
        bank=BankRule(rule="overwrite"),
        momentum_encoder=MomentumEncoder(momentum=p.encoder_momentum, splits=2),
        optimiser=OptimiserRule(
            kind=kind, lr=p.lr, weight_decay=p.weight_decay, amsgrad=True, schedule="constant"
        ),
        scored="momentum",
    )


def _space(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": log_range(0.05, 0.5),
        "epsilon": log_range(0.02, 0.5),
        "cross_weight": log_range(0.001, 1.0),
    }


def _paper(dataset: str) -> Mapping[str, ParameterValue]:
    return {"K": 7} if dataset == "domainnet7" else {}


register_method(
    Method(
        name="protoot",
        summary="ProtoOT (Li et al., AAAI 2024): prototypes by transport with modified marginals",
        parameters=ProtoOtParameters,
        recipe=_recipe,
        presets={
            "paper": _paper,
            "scratch": lambda dataset: {**_paper(dataset), **SCRATCH},
        },
        space=_space,
        first=first_clusters(officehome=65, domainnet7=7),
    )
)
