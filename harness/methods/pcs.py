"""PCS (Yue et al., CVPR 2021) without its few labels, as the authors' code `1b82dd0`.

Of its terms those that need no label: ``proto-each`` and ``I2C-cross``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.methods import cds
from harness.methods.cluster_counts import cut_to_images, multiples
from harness.methods.query_frame import SCRATCH, QueryFrame, optimiser_rule
from harness.methods.recipe import ClusteringPlan, LossTerm, Recipe
from harness.methods.registry import Method, PairShape, ParameterValue, register_method
from harness.methods.space import Space, cluster_range, first_clusters


@dataclass(frozen=True, kw_only=True)
class PcsParameters:
    """Parameters of PCS.

    Attributes:
        K: clusters per domain of the first clustering; the others have its multiples.
        k_factors: which multiples.
        repeats: how often the list of clusterings is made.
        tau: temperature of the cross-domain entropy; in-domain, each cluster has its own.
        entropy_weight: weight of the cross-domain entropy over the other domain's prototypes.
        lr: learning rate of the head, constant.
        backbone_lr_factor: learning rate of the backbone relative to the head's.
        optimiser: ``sgd`` (Nesterov momentum 0.9) as the authors, or ``adamw``.
        weight_decay: of every parameter but batch norm and biases.
        bank_momentum: share of the old slot in the new one.
    """

    K: int = 65
    k_factors: str = "1,2"
    repeats: int = 15
    tau: float = 0.1
    entropy_weight: float = 1.0
    lr: float = 0.01
    backbone_lr_factor: float = 0.1
    optimiser: str = "sgd"
    weight_decay: float = 5e-4
    bank_momentum: float = 0.5


def _recipe(p: PcsParameters, shape: PairShape) -> Recipe:
    ks, notes = cut_to_images(
        multiples(p.K, p.k_factors) * p.repeats, shape.n_min, "PCS's cluster numbers"
    )
    frame = QueryFrame(
        bank_momentum=p.bank_momentum,
        optimiser=optimiser_rule(
            p.optimiser,
            p.lr,
            weight_decay=p.weight_decay,
            nesterov=True,
            backbone_lr_factor=p.backbone_lr_factor,
            decay_norm=False,
        ),
        notes=notes,
    )
    terms = (
        LossTerm(loss="proto_nce", parameters=("K", "k_factors", "repeats", "lr")),
        LossTerm(
            loss="self_entropy",
            arguments={"temperature": p.tau, "prototypes": "other"},
            weight=p.entropy_weight,
            parameters=("tau", "entropy_weight"),
        ),
    )
    clustering = ClusteringPlan(
        rule="kmeans_many",
        arguments={"ks": ks, "density": "pcs"},
        source="bank",
        parameters=("K", "k_factors", "repeats"),
    )
    return frame.recipe(terms, clustering)


def _paper(dataset: str) -> Mapping[str, ParameterValue]:
    if dataset == "office31":
        return {"K": 31, "k_factors": "1,1,2", "repeats": 10}
    return {}


def _space(n: int) -> Space:
    return {"K": cluster_range(n), **cds.space(n)}


register_method(
    Method(
        name="pcs",
        summary="PCS (Yue et al., CVPR 2021), its unsupervised part: prototypes, own and other",
        parameters=PcsParameters,
        recipe=_recipe,
        presets={
            "paper": _paper,
            "scratch": lambda dataset: {
                **_paper(dataset),
                **SCRATCH,
                "backbone_lr_factor": 1.0,
                "repeats": 2,
            },
        },
        space=_space,
        first=first_clusters(officehome=65, domainnet7=7, office31=31),
    )
)
