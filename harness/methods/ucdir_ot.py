"""``ucdir_ot``: distance-of-distance between centroids that optimal transport has matched.

Not the published UCDIR but the variant that a public review describes, with the decisions of
docs/methods.md. All terms act from the first epoch on, as the review has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.methods.recipe import ClusteringPlan, LossTerm, Recipe
from harness.methods.registry import Method, PairShape, ParameterValue, register_method
from harness.methods.space import Space, cluster_range, first_clusters, log_range
from harness.methods.ucdir import SCRATCH, InstanceParameters, momentum_frame, only


@dataclass(frozen=True, kw_only=True)
class UcdirOtParameters(InstanceParameters):
    """Parameters of ``ucdir_ot``.

    Attributes:
        tau: temperature of the soft assignment, of the cluster term and of the self-entropy.
        K: clusters per domain.
        instance_tau: temperature of the instance term, UCDIR's own.
        lambda_dd: weight of the matched distance-of-distance.
        lambda_se: weight of the self-entropy over the own domain's prototypes.
        centroid_momentum: share of the prototype in the soft centroid of an average cluster.
        epsilon: entropic regularisation of the transport, on costs between 0 and 4.
    """

    tau: float = 0.1
    K: int = 65
    instance_tau: float = 0.2
    lambda_dd: float = 0.1
    lambda_se: float = 0.01
    centroid_momentum: float = 0.9
    epsilon: float = 0.05


def _recipe(p: UcdirOtParameters, shape: PairShape) -> Recipe:
    centroids: dict[str, Any] = {"temperature": p.tau, "momentum": p.centroid_momentum}
    of_centroids = ("K", "tau", "centroid_momentum")
    terms = (
        LossTerm(
            loss="instance_contrast",
            arguments={"tau": p.instance_tau},
            parameters=("instance_tau",),
        ),
        LossTerm(loss="soft_centroid_contrast", arguments=centroids, parameters=of_centroids),
        LossTerm(
            loss="optimal_transport_distance",
            arguments=centroids,
            weight=p.lambda_dd,
            parameters=("lambda_dd", "epsilon", *of_centroids),
        ),
        LossTerm(
            loss="self_entropy",
            arguments={"temperature": p.tau, "prototypes": "own"},
            weight=p.lambda_se,
            parameters=("lambda_se", "K", "tau"),
        ),
    )
    clustering = ClusteringPlan(
        rule="kmeans_matched",
        arguments={"k": p.K, "epsilon": p.epsilon},
        parameters=("K", "epsilon"),
    )
    return momentum_frame(p, terms, clustering)


def _space(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": log_range(0.03, 0.5),
        "lambda_dd": log_range(0.005, 2.0),
        "lambda_se": log_range(0.001, 1.0),
    }


def _paper(dataset: str) -> Mapping[str, ParameterValue]:
    return {"K": 7} if dataset == "domainnet7" else {}


register_method(
    Method(
        name="ucdir_ot",
        summary="variant of UCDIR: distance-of-distance between transport-matched centroids",
        parameters=UcdirOtParameters,
        recipe=_recipe,
        presets={
            "paper": _paper,
            "scratch": lambda dataset: {**_paper(dataset), **only(UcdirOtParameters, SCRATCH)},
        },
        space=_space,
        first=first_clusters(officehome=65, domainnet7=7),
    )
)
