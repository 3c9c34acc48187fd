"""``dann``, ``mmd``, ``coral``: instance contrast with one classic alignment of the domains.

Each acts on the pooled backbone features from the first epoch on, in the frame of UCDIR.
"""

from dataclasses import dataclass

from harness.methods.recipe import LossTerm, Recipe
from harness.methods.registry import Method, PairShape, register_method
from harness.methods.space import Space, log_range
from harness.methods.ucdir import SCRATCH, InstanceParameters, momentum_frame, only


@dataclass(frozen=True, kw_only=True)
class AlignmentParameters(InstanceParameters):
    """Adds the alignment term.

    Attributes:
        alignment_weight: its weight.
    """

    alignment_weight: float = 1.0


def _register(name: str, loss: str, summary: str, weights: tuple[float, float]) -> None:
    def space(n: int) -> Space:
        return {"tau": log_range(0.05, 0.5), "alignment_weight": log_range(*weights)}

    def recipe(p: AlignmentParameters, shape: PairShape) -> Recipe:
        terms = (
            LossTerm(loss="instance_contrast", arguments={"tau": p.tau}, parameters=("tau", "lr")),
            LossTerm(
                loss=loss,
                arguments={"features": "pooled"},
                weight=p.alignment_weight,
                parameters=("alignment_weight",),
            ),
        )
        return momentum_frame(p, terms, None)

    register_method(
        Method(
            name=name,
            summary=summary,
            parameters=AlignmentParameters,
            recipe=recipe,
            presets={
                "paper": lambda dataset: {},
                "scratch": lambda dataset: only(AlignmentParameters, SCRATCH),
            },
            space=space,
        )
    )


_register(
    "dann",
    "domain_adversarial",
    "instance contrast + domain classifier behind gradient reversal (DANN)",
    weights=(0.01, 5.0),
)
_register(
    "mmd",
    "mmd",
    "instance contrast + maximum mean discrepancy between the domains",
    weights=(0.05, 50.0),
)
# The distance of covariances is over 4 X^2 for X features, and small beside the instance term.
_register(
    "coral",
    "coral",
    "instance contrast + distance of the domains' covariances",
    weights=(0.1, 1000.0),
)
