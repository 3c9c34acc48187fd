"""ProtoNCE (PCL; Li et al., ICLR 2021) in the frame of UCDIR, each domain by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.methods.cluster_counts import cut_to_images, multiples
from harness.methods.recipe import ClusteringPlan, LossTerm, Recipe, StepRamp
from harness.methods.registry import Method, PairShape, ParameterValue, register_method
from harness.methods.space import Space, cluster_range, first_clusters, log_range
from harness.methods.ucdir import SCRATCH, WARM_UP, InstanceParameters, momentum_frame, only


@dataclass(frozen=True, kw_only=True)
class ProtoNceParameters(InstanceParameters):
    """Parameters of ProtoNCE.

    Attributes:
        tau: temperature of the instance term and mean of the clusters' temperatures.
        K: clusters per domain of the first clustering; the others have its multiples.
        k_factors: which multiples (PCL: 25 000, 50 000, 100 000).
        proto_weight: weight of the prototype term.
    """

    K: int = 65
    k_factors: str = "1,2,4"
    proto_weight: float = 1.0


def _recipe(p: ProtoNceParameters, shape: PairShape) -> Recipe:
    ks, notes = cut_to_images(multiples(p.K, p.k_factors), shape.n_min, "ProtoNCE's clusters")
    terms = (
        LossTerm(loss="instance_contrast", arguments={"tau": p.tau}, parameters=("tau",)),
        LossTerm(
            loss="proto_nce",
            weight=p.proto_weight,
            ramp=StepRamp(WARM_UP),
            parameters=("K", "k_factors", "proto_weight"),
        ),
    )
    clustering = ClusteringPlan(
        rule="kmeans_many",
        arguments={"ks": ks, "density": "pcl", "tau": p.tau},
        start=WARM_UP,
        parameters=("K", "k_factors"),
    )
    return momentum_frame(p, terms, clustering, notes)


def _space(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": log_range(0.05, 0.5),
        "proto_weight": log_range(0.05, 5.0),
    }


def _paper(dataset: str) -> Mapping[str, ParameterValue]:
    return {"K": 7} if dataset == "domainnet7" else {}


register_method(
    Method(
        name="protonce",
        summary="ProtoNCE (PCL; Li et al., ICLR 2021): instance and prototype contrast",
        parameters=ProtoNceParameters,
        recipe=_recipe,
        presets={
            "paper": _paper,
            "scratch": lambda dataset: {**_paper(dataset), **only(ProtoNceParameters, SCRATCH)},
        },
        space=_space,
        first=first_clusters(officehome=65, domainnet7=7),
    )
)
