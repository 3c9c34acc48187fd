"""CDS (Kim et al., ICCV 2021), as the authors' code `5b3644c`."""

from dataclasses import dataclass

from harness.methods.query_frame import SCRATCH, QueryFrame, optimiser_rule
from harness.methods.recipe import LossTerm, Recipe
from harness.methods.registry import Method, PairShape, register_method
from harness.methods.space import Space, log_range


@dataclass(frozen=True, kw_only=True)
class CdsParameters:
    """Parameters of CDS.

    Attributes:
        tau: temperature of both terms.
        entropy_weight: weight of the cross-domain entropy.
        neighbours: images of the other domain that take part in it.
        lr: learning rate, constant.
        optimiser: ``sgd`` (momentum 0.9) as the authors, or ``adamw``.
        weight_decay: of every parameter.
        bank_momentum: share of the old slot in the new one.
    """

    tau: float = 0.1
    entropy_weight: float = 1.0
    neighbours: int = 700
    lr: float = 3e-3
    optimiser: str = "sgd"
    weight_decay: float = 5e-4
    bank_momentum: float = 0.5


def _recipe(p: CdsParameters, shape: PairShape) -> Recipe:
    neighbours = min(p.neighbours, shape.n_min)
    notes: tuple[str, ...] = ()
    if neighbours < p.neighbours:
        notes = (
            f"CDS's {p.neighbours} nearest images cut to {neighbours}, the images of the smaller "
            "domain.",
        )
    frame = QueryFrame(
        bank_momentum=p.bank_momentum,
        optimiser=optimiser_rule(p.optimiser, p.lr, weight_decay=p.weight_decay),
        notes=notes,
    )
    terms = (
        LossTerm(loss="instance_contrast", arguments={"tau": p.tau}, parameters=("tau", "lr")),
        LossTerm(
            loss="neighbour_entropy",
            arguments={"tau": p.tau, "neighbours": neighbours},
            weight=p.entropy_weight,
            parameters=("tau", "entropy_weight", "neighbours"),
        ),
    )
    return frame.recipe(terms, None)


def space(n: int) -> Space:
    """The temperature and the weight of the entropy around the authors' values."""
    return {"tau": log_range(0.03, 0.5), "entropy_weight": log_range(0.01, 5.0)}


register_method(
    Method(
        name="cds",
        summary="CDS (Kim et al., ICCV 2021): instance contrast and cross-domain entropy",
        parameters=CdsParameters,
        recipe=_recipe,
        presets={"paper": lambda dataset: {}, "scratch": lambda dataset: SCRATCH},
        space=space,
    )
)
