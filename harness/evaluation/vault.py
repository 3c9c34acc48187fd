"""The label vault: holds the labels of a pair, scores embeddings, gives nothing away unsealed.

Shapes: N images of a domain, D embedding size.

What trains and what searches passes the sealed figures on without reading them (``oracle`` has
the one exception); the driver opens them when it writes the trial's file.
"""

import base64
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.contract import DatasetIndex
from harness.evaluation.chance import chance_metrics
from harness.evaluation.open_set import open_set_metrics
from harness.evaluation.query_scores import QueryScores, relevant_counts, seal_queries
from harness.evaluation.retrieval import Labels, retrieval_metrics, retrieval_metrics_both

DIRECTIONS = ("ab", "ba")
Scores = dict[str, dict[str, float]]
Positions = NDArray[np.int64]


class Sealed(str):
    """Scores that only ``unseal`` opens. A string, so it travels through any report."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Sealed(...)"


def unseal(sealed: str) -> Scores:
    """Opens sealed scores; for the driver only.

    Args:
        sealed: what a vault returned, possibly after a journey as plain text.

    Returns:
        For each direction (``ab``: queries of a in gallery b; ``ba``) its metrics.

    Raises:
        ValueError: it is not a sealed text.
    """
    scores: Scores = json.loads(base64.b64decode(sealed, validate=True))
    return scores


class LabelVault:
    """The labels of one pair of domains, after the scenario split."""

    def __init__(
        self,
        labels_a_N: Labels,
        labels_b_N: Labels,
        ks: Sequence[int],
        directions: Sequence[str] = DIRECTIONS,
    ) -> None:
        """Locks the labels in.

        Args:
            labels_a_N: global class ids of the images of domain a, in their order.
            labels_b_N: the same for domain b.
            ks: the k of P@k.
            directions: those to score; ``("ab",)`` in the scenarios ``partial`` and ``open``.

        Raises:
            ValueError: an unknown direction, or none.
        """
        if not directions or not set(directions) <= set(DIRECTIONS):
            raise ValueError(f"directions must be among {DIRECTIONS}, got {tuple(directions)}")
        self._labels = {
            "a": torch.as_tensor(labels_a_N).cpu().numpy(),
            "b": torch.as_tensor(labels_b_N).cpu().numpy(),
        }
        self._ks, self._directions = tuple(ks), tuple(directions)

    @classmethod
    def of_pair(
        cls,
        index: DatasetIndex,
        a: str,
        b: str,
        *,
        subset_a: Positions | None = None,
        subset_b: Positions | None = None,
        directions: Sequence[str] = DIRECTIONS,
    ) -> "LabelVault":
        """The vault of two domains of a data set, with the data set's ks.

        Args:
            index: the data set as found.
            a: name of domain a.
            b: name of domain b.
            subset_a: positions of the images that the scenario leaves in domain a; None for all.
            subset_b: the same for domain b.
            directions: see the constructor.
        """
        label_a_N, label_b_N = index.domain(a).class_id_N, index.domain(b).class_id_N
        return cls(
            label_a_N if subset_a is None else label_a_N[subset_a],
            label_b_N if subset_b is None else label_b_N[subset_b],
            index.spec.ks,
            directions,
        )

    def permuted(self, seed: int) -> "LabelVault":
        """The same vault with the labels of all images of the pair permuted, once and for all.

        What must not depend on labels (proposals, stops, weights) comes out the same under it.
        """
        n_a = len(self._labels["a"])
        pool = np.concatenate([self._labels["a"], self._labels["b"]])
        pool = np.random.default_rng(seed).permutation(pool)
        return LabelVault(pool[:n_a], pool[n_a:], self._ks, self._directions)

    def score(
        self,
        z_a_ND: Tensor,
        z_b_ND: Tensor,
        *,
        accepted: Mapping[str, Tensor] | None = None,
    ) -> Sealed:
        """Scores embeddings of all images of the pair.

        Args:
            z_a_ND: embeddings of domain a, in the order of its labels.
            z_b_ND: embeddings of domain b, likewise.
            accepted: for some of the scored directions, whether each query was judged to have its
                class in the gallery (``open_set``); those get the open-set metrics too.

        Returns:
            The sealed metrics per direction.

        Raises:
            ValueError: embeddings that do not fit the labels or are not finite.
        """
        accepted = accepted or {}
        ks, per_query = self._ks, bool(accepted)
        z = {"a": z_a_ND, "b": z_b_ND}
        if set(self._directions) == set(DIRECTIONS):
            both = retrieval_metrics_both(
                z_a_ND, z_b_ND, *self._pair("ab"), ks, per_query=per_query
            )
            results = dict(zip(DIRECTIONS, both, strict=True))
        else:
            results = {
                way: retrieval_metrics(
                    z[way[0]], z[way[1]], *self._pair(way), ks, per_query=per_query
                )
                for way in self._directions
            }
        scores = {way: result.metrics for way, result in results.items()}
        for way, accepted_Q in accepted.items():
            scores[way] |= open_set_metrics(accepted_Q, results[way].ap_Q, *self._pair(way))
        return _seal(scores)

    def score_queries(self, z_a_ND: Tensor, z_b_ND: Tensor) -> Sealed:
        """Scores every single query of the scored directions; ``unseal_queries`` opens them.

        Args:
            z_a_ND: embeddings of domain a, in the order of its labels.
            z_b_ND: embeddings of domain b, likewise.
        """
        z = {"a": z_a_ND, "b": z_b_ND}
        scores = {}
        for way in self._directions:
            query_Q, gallery_G = self._pair(way)
            found = retrieval_metrics(
                z[way[0]], z[way[1]], query_Q, gallery_G, self._ks, per_query=True
            )
            assert found.ap_Q is not None
            scores[way] = QueryScores(
                class_Q=query_Q.astype(np.int64),
                relevant_Q=relevant_counts(query_Q, gallery_G),
                ap_Q=found.ap_Q,
                precision_at_Q=found.precision_at_Q,
            )
        return Sealed(seal_queries(scores))

    def chance(self) -> Sealed:
        """The sealed expected metrics of a random ranking, per direction."""
        return _seal({way: chance_metrics(*self._pair(way), self._ks) for way in self._directions})

    def _pair(self, way: str) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        return self._labels[way[0]], self._labels[way[1]]

    def __repr__(self) -> str:
        return "LabelVault(...)"


def _seal(scores: Scores) -> Sealed:
    return Sealed(base64.b64encode(json.dumps(scores).encode()).decode())
