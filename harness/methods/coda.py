"""CoDA (Wang et al., AAAI 2023), as the authors' code `67735cd`."""

from dataclasses import dataclass

from harness.methods.cluster_counts import cut_to_images, multiples
from harness.methods.query_frame import SCRATCH, QueryFrame, optimiser_rule
from harness.methods.recipe import ClusteringPlan, LossTerm, Recipe
from harness.methods.registry import Method, PairShape, register_method
from harness.methods.space import Space, cluster_range, log_range
from harness.training.views import ViewRecipe

VIEWS = ViewRecipe(resized_crop=False, jitter_p=0, grey_p=0, blur_p=0)


@dataclass(frozen=True, kw_only=True)
class CodaParameters:
    """Parameters of CoDA.

    Attributes:
        K: rows of the smallest classifier; the others have its multiples.
        k_factors: which multiples.
        tau: temperature of the targets of self-matching.
        alignment_weight: weight of the classifier alignment.
        lr: learning rate of the network, constant.
        classifier_lr: learning rate of the classifiers, constant, without weight decay.
        optimiser: ``sgd`` (momentum 0.9) as the authors, or ``adamw``.
        weight_decay: of the network.
        bank_momentum: share of the old slot in the new one.
    """

    K: int = 100
    k_factors: str = "1,2,3,4"
    tau: float = 0.01
    alignment_weight: float = 0.01
    lr: float = 3e-3
    classifier_lr: float = 1e-4
    optimiser: str = "sgd"
    weight_decay: float = 1e-5
    bank_momentum: float = 0.95


def _recipe(p: CodaParameters, shape: PairShape) -> Recipe:
    ks, notes = cut_to_images(multiples(p.K, p.k_factors), shape.n_min, "CoDA's classifiers")
    frame = QueryFrame(
        bank_momentum=p.bank_momentum,
        optimiser=optimiser_rule(
            p.optimiser,
            p.lr,
            weight_decay=p.weight_decay,
            loss_lr=p.classifier_lr,
            loss_weight_decay=0.0,
        ),
        views=VIEWS,
        notes=notes,
    )
    term = LossTerm(
        loss="coda",
        arguments={
            "heads": len(ks),
            "temperature": p.tau,
            "alignment_weight": p.alignment_weight,
        },
        parameters=("K", "k_factors", "tau", "alignment_weight", "lr", "classifier_lr"),
    )
    clustering = ClusteringPlan(
        rule="kmeans_once_union",
        arguments={"ks": ks},
        source="bank",
        parameters=("K", "k_factors"),
    )
    return frame.recipe((term,), clustering)


def _space(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": log_range(0.005, 0.1),
        "alignment_weight": log_range(0.001, 1.0),
    }


register_method(
    Method(
        name="coda",
        summary="CoDA (Wang et al., AAAI 2023): self-matching and classifier alignment",
        parameters=CodaParameters,
        recipe=_recipe,
        presets={"paper": lambda dataset: {}, "scratch": lambda dataset: SCRATCH},
        space=_space,
    )
)
