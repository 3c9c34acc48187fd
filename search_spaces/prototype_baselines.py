"""Ranges of the baselines with banks and prototypes: CoDA, CDS, PCS and ProtoNCE."""

from collections.abc import Mapping

from optuna.distributions import FloatDistribution

from harness.config import ParameterValue
from search_spaces.contract import SearchSpace, Space, cluster_range, register_space
from search_spaces.ucdir import paper_point

CODA_K = 100
"""CoDA's smallest classifier, on every data set (methods.md 4.6); cut to the range."""


def _coda(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": FloatDistribution(0.005, 0.1, log=True),
        "alignment_weight": FloatDistribution(0.001, 1.0, log=True),
    }


def _coda_paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
    return {"K": CODA_K, "tau": 0.01, "alignment_weight": 0.01}


def _cds(n: int) -> Space:
    return {
        "tau": FloatDistribution(0.03, 0.5, log=True),
        "entropy_weight": FloatDistribution(0.01, 5.0, log=True),
    }


def _cds_paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
    return {"tau": 0.1, "entropy_weight": 1.0}


def _pcs(n: int) -> Space:
    return {"K": cluster_range(n), **_cds(n)}


def _pcs_paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
    k = 31 if dataset == "office31" else paper_point(dataset, n)["K"]
    return {"K": k, "tau": 0.1, "entropy_weight": 1.0}


def _protonce(n: int) -> Space:
    return {
        "K": cluster_range(n),
        "tau": FloatDistribution(0.05, 0.5, log=True),
        "proto_weight": FloatDistribution(0.05, 5.0, log=True),
    }


def _protonce_paper(dataset: str, n: int) -> Mapping[str, ParameterValue]:
    return {"K": paper_point(dataset, n)["K"], "tau": 0.2, "proto_weight": 1.0}


register_space(SearchSpace(method="coda", space=_coda, paper=_coda_paper))
register_space(SearchSpace(method="cds", space=_cds, paper=_cds_paper))
register_space(SearchSpace(method="pcs", space=_pcs, paper=_pcs_paper))
register_space(SearchSpace(method="protonce", space=_protonce, paper=_protonce_paper))
