"""Scores of single queries, and their journey as sealed text.

Shapes: Q queries of a direction, in the order of the query domain.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class QueryScores:
    """The queries of one direction.

    Attributes:
        class_Q: global class id of each query.
        relevant_Q: gallery images of its class; where it is 0 the query has no score.
        ap_Q: average precision in percent, NaN for a query without a score.
        precision_at_Q: for each k the precision among the first min(k, relevant), likewise.
    """

    class_Q: NDArray[np.int64]
    relevant_Q: NDArray[np.int64]
    ap_Q: NDArray[np.float64]
    precision_at_Q: Mapping[int, NDArray[np.float64]]


def relevant_counts(
    query_label_Q: NDArray[np.integer], gallery_label_G: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Gallery images of each query's class."""
    classes, count = np.unique(gallery_label_G, return_counts=True)
    place_Q = np.searchsorted(classes, query_label_Q).clip(max=len(classes) - 1)
    return np.where(classes[place_Q] == query_label_Q, count[place_Q], 0).astype(np.int64)


def seal_queries(by_direction: Mapping[str, QueryScores]) -> str:
    """The scores as text that travels through any report; see ``unseal_queries``."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for way, scores in by_direction.items():
        arrays[f"{way}/class"] = scores.class_Q
        arrays[f"{way}/relevant"] = scores.relevant_Q
        arrays[f"{way}/ap"] = scores.ap_Q
        for k, precision_Q in scores.precision_at_Q.items():
            arrays[f"{way}/{k}"] = precision_Q
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return base64.b64encode(packed.getvalue()).decode()


def unseal_queries(sealed: str) -> dict[str, QueryScores]:
    """Opens sealed scores of queries, by direction; for the driver only.

    Raises:
        ValueError: it is not a sealed text.
    """
    with np.load(io.BytesIO(base64.b64decode(sealed, validate=True))) as arrays:
        parts: dict[str, dict[str, NDArray[np.float64]]] = {}
        for name in arrays.files:
            way, _, part = name.partition("/")
            parts.setdefault(way, {})[part] = arrays[name]
    return {
        way: QueryScores(
            class_Q=found.pop("class").astype(np.int64),
            relevant_Q=found.pop("relevant").astype(np.int64),
            ap_Q=found.pop("ap"),
            precision_at_Q={int(k): precision_Q for k, precision_Q in found.items()},
        )
        for way, found in parts.items()
    }
