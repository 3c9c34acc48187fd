"""``floor`` and its variants: the backbone's pooled features, scored without any training.

What a trained method must beat. Centring and whitening take each domain's own statistics; CSLS
corrects for images that are near to everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import IntDistribution

from harness.methods.recipe import BankRule, OptimiserRule, Readout, Recipe
from harness.methods.registry import Method, PairShape, register_method
from harness.methods.space import Ranges, log_range


@dataclass(frozen=True, kw_only=True)
class FloorParameters:
    """There is nothing to set."""


@dataclass(frozen=True, kw_only=True)
class WhitenedParameters:
    """Parameters of whitening.

    Attributes:
        whitening_shrinkage: share of the mean variance in the covariance, above 0.
    """

    whitening_shrinkage: float = 0.1


@dataclass(frozen=True, kw_only=True)
class CslsParameters:
    """Parameters of CSLS.

    Attributes:
        csls_neighbours: images of the other domain whose mean similarity is taken off.
    """

    csls_neighbours: int = 10


def _register(
    name: str,
    summary: str,
    rule: str,
    parameters: type[Any] = FloorParameters,
    detector_rule: str | None = None,
    space: Ranges = lambda n: {},
) -> None:
    def recipe(p: Any, shape: PairShape) -> Recipe:
        arguments: Mapping[str, Any] = {
            item.partition("_")[2]: getattr(p, item) for item in parameters.__dataclass_fields__
        }
        return Recipe(
            stages=(),
            bank=BankRule(rule="ema"),
            momentum_encoder=None,
            optimiser=OptimiserRule(kind="sgd", lr=1.0),  # moves nothing: there is no stage
            scored="query",
            readout=Readout(
                rule=rule,
                arguments=arguments,
                parameters=tuple(parameters.__dataclass_fields__),
                detector_rule=detector_rule,
            ),
        )

    register_method(
        Method(
            name=name,
            summary=summary,
            parameters=parameters,
            recipe=recipe,
            presets={"paper": lambda dataset: {}, "scratch": lambda dataset: {}},
            space=space,
            trains=False,
        )
    )


_register("floor", "no training: the backbone's pooled features", "pooled")
_register("floor_centred", "no training: pooled features, each domain centred", "pooled_centred")
_register(
    "floor_whitened",
    "no training: pooled features, each domain whitened",
    "pooled_whitened",
    WhitenedParameters,
    space=lambda n: {"whitening_shrinkage": log_range(0.001, 1.0)},
)
_register(
    "floor_csls",
    "no training: pooled features, re-ranked by CSLS",
    "pooled_csls",
    CslsParameters,
    detector_rule="pooled",
    space=lambda n: {"csls_neighbours": IntDistribution(1, max(1, min(50, n // 2)), log=True)},
)
