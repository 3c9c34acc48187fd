"""The frame of the methods without a momentum encoder: CDS, PCS and CoDA.

A bank that follows the query features, a linear head of size 512, and the query encoder scored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.methods.recipe import BankRule, ClusteringPlan, LossTerm, OptimiserRule, Recipe, Stage
from harness.methods.registry import ParameterValue
from harness.training.views import ViewRecipe

EMBEDDING_SIZE = 512

SCRATCH: Mapping[str, ParameterValue] = {"lr": 1e-3, "optimiser": "adamw", "bank_momentum": 0.5}
"""Random weights move fast: a bank of momentum 0.95 would hold the start for all of a short run."""


@dataclass(frozen=True, kw_only=True)
class QueryFrame:
    """What differs between the three beside their losses.

    Attributes:
        bank_momentum: share of the old slot in the new one.
        optimiser: rule of the optimiser.
        views: augmentation.
        notes: what was cut.
    """

    bank_momentum: float
    optimiser: OptimiserRule
    views: ViewRecipe = field(default_factory=ViewRecipe)
    notes: tuple[str, ...] = ()

    def recipe(self, terms: tuple[LossTerm, ...], clustering: ClusteringPlan | None) -> Recipe:
        """The frame around the terms, in one stage."""
        return Recipe(
            stages=(Stage(name="train", share=1.0, terms=terms, clustering=clustering),),
            bank=BankRule(rule="ema", beta=self.bank_momentum),
            momentum_encoder=None,
            optimiser=self.optimiser,
            scored="query",
            head="linear",
            embedding_size=EMBEDDING_SIZE,
            views=self.views,
            notes=self.notes,
        )


def optimiser_rule(name: str, lr: float, **more: Any) -> OptimiserRule:
    """Constant learning rate, the optimiser by name."""
    kind: Any = name
    return OptimiserRule(kind=kind, lr=lr, schedule="constant", **more)
