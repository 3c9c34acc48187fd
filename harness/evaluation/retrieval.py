"""Retrieval metrics of one domain's images as queries in a gallery of another domain.

Shapes: Q queries, V valid queries (their class is in the gallery), G gallery images, N images of a
domain, D embedding size, B queries of a block, R relevant images of a query (padded to the most
in the block), H hits of a block (its queries' relevant images, one after the other), K values of k
in P@k.

Everything follows from the ranks of the relevant images alone, so nothing else is ranked: the
similarities of a block become 32-bit integers (``far_BG``: the negated cosine in steps of 2^-30,
smaller is nearer), the lowest bit of which is made to say "relevant"; each row is sorted by value,
and the places of the odd numbers are the ranks.

Exact ties. Embeddings are rounded to multiples of 2^-26, and the products of a float64 matrix
product are then multiples of 2^-52 below 1: every sum is exact in any order. So identical images
get identical similarities, and no figure depends on the block size, the number of threads, the
BLAS library or the device. Similarities nearer than 2^-30 (1e-9) count as equal.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import UsageError
from harness.evaluation.metrics import METRICS, HitRanks
from harness.evaluation.metrics.average_precision import AVERAGE_PRECISION
from harness.evaluation.metrics.contract import Floats, Ints

Labels = Tensor | NDArray[np.integer] | Sequence[int]

_GRID = 2.0**26  # steps per unit of a rounded embedding
_STEPS = 2.0**30  # steps per unit of cosine
_SHRINK = 1.0 - 2.0**-11  # keeps a cosine below 2^30 steps: with the bit "relevant" it fits 32 bits
_SHARED_ELEMENTS = 2**23  # similarities of a pair that are kept for both directions
_BLOCK_ELEMENTS = 2**22  # similarities of a block: 32 MiB, and 16 MiB as integers
_SORT_ELEMENTS = 2**19  # similarities ranked at a time: what a cache holds


@dataclass(frozen=True)
class RetrievalScores:
    """The metrics of one direction, and on request their parts per query.

    Attributes:
        metrics: in percent, NaN where no query is valid: ``P@{k}`` (micro), ``P@{k}.query_mean``,
            and those of ``harness.evaluation.metrics``; and the count ``n_valid_queries``.
        ap_Q: average precision of each query in percent, NaN for an invalid query; None unless
            asked for.
        precision_at_Q: for each k the precision among the first min(k, R), in percent, likewise;
            empty unless asked for.
    """

    metrics: dict[str, float]
    ap_Q: Floats | None = None
    precision_at_Q: dict[int, Floats] = field(default_factory=dict)


def retrieval_metrics(
    query_QD: Tensor,
    gallery_GD: Tensor,
    query_label_Q: Labels,
    gallery_label_G: Labels,
    ks: Sequence[int],
    *,
    block: int | None = None,
    per_query: bool = False,
) -> RetrievalScores:
    """Ranks the gallery for every query by cosine and scores the ranking against the labels.

    With R relevant images in the gallery, a query is valid if R > 0; others are left out. Equal
    similarities are ranked by gallery index.

    - ``P@{k}``: hits among the first min(k, R), summed over queries, by the sum of min(k, R) (the
      form of the UCDIR authors' code).
    - ``P@{k}.query_mean``: hits among the first min(k, R) by min(k, R), mean over queries.
    - The metrics of ``harness.evaluation.metrics``, among them ``mAP@All``.

    Args:
        query_QD: embeddings of the queries, any length and float type; a zero row has similarity 0.
        gallery_GD: embeddings of the gallery on the same device.
        query_label_Q: integer class ids.
        gallery_label_G: integer class ids of the same class list.
        ks: the k of P@k.
        block: queries of which a thread holds the similarities at a time; by default as many as
            fit 48 MiB.
        per_query: also return average precision and P@k of each query.

    Raises:
        UsageError: a k below 1.
        ValueError: shapes that do not fit, or an embedding that is not finite.
    """
    label = _DirectionLabels.of(query_label_Q, gallery_label_G)
    _check(query_QD, gallery_GD, label, ks, block)
    product = _BlockProduct(exact_unit(query_QD)[label.order_on(query_QD)], exact_unit(gallery_GD))
    return _score(product, label, ks, block, per_query, query_QD.device)


def retrieval_metrics_both(
    z_a_ND: Tensor,
    z_b_ND: Tensor,
    label_a_N: Labels,
    label_b_N: Labels,
    ks: Sequence[int],
    *,
    block: int | None = None,
    per_query: bool = False,
) -> tuple[RetrievalScores, RetrievalScores]:
    """Both directions of a pair: queries of a in gallery b, then queries of b in gallery a.

    The same figures as two calls of ``retrieval_metrics``. Where all similarities of the pair fit
    one block they are computed once.

    Args:
        z_a_ND: embeddings of domain a.
        z_b_ND: embeddings of domain b on the same device.
        label_a_N: integer class ids of domain a.
        label_b_N: integer class ids of domain b.
        ks: see ``retrieval_metrics``.
        block: see ``retrieval_metrics``.
        per_query: see ``retrieval_metrics``.

    Raises:
        UsageError: see ``retrieval_metrics``.
        ValueError: see ``retrieval_metrics``.
    """
    ab, ba = _DirectionLabels.of(label_a_N, label_b_N), _DirectionLabels.of(label_b_N, label_a_N)
    _check(z_a_ND, z_b_ND, ab, ks, block)
    a_ND, b_ND = exact_unit(z_a_ND), exact_unit(z_b_ND)
    n_a, n_b = len(a_ND), len(b_ND)
    device = z_a_ND.device
    fits = n_a * n_b <= _SHARED_ELEMENTS if block is None else max(n_a, n_b) <= block
    if not fits:
        return (
            _score(_BlockProduct(a_ND[ab.order_on(a_ND)], b_ND), ab, ks, block, per_query, device),
            _score(_BlockProduct(b_ND[ba.order_on(b_ND)], a_ND), ba, ks, block, per_query, device),
        )
    far_AB = _BlockProduct(a_ND, b_ND)(0, n_a)
    far_of_ab, far_of_ba = far_AB[ab.order_on(a_ND)], far_AB.T.contiguous()[ba.order_on(b_ND)]
    return (
        _score(lambda start, stop: far_of_ab[start:stop], ab, ks, block, per_query, device),
        _score(lambda start, stop: far_of_ba[start:stop], ba, ks, block, per_query, device),
    )


def exact_unit(z_ND: Tensor) -> Tensor:
    """Rows of (nearly) unit length whose products a float64 matrix product sums without error.

    Components are multiples of 2^-26 and rows a little shorter than 1, so every partial sum of a
    product of two rows is a multiple of 2^-52 below 1, which float64 holds exactly.

    Args:
        z_ND: embeddings of any length and float type.

    Returns:
        float64; a zero row stays zero.

    Raises:
        ValueError: an embedding is not finite.
    """
    z_ND = z_ND.detach().double()
    norm_N1 = torch.linalg.vector_norm(z_ND, dim=1, keepdim=True)
    if not bool(torch.isfinite(norm_N1).all()):
        raise ValueError("an embedding is not finite")
    unit_ND = z_ND / torch.where(norm_N1 > 0, norm_N1, 1.0)
    return (unit_ND * (_SHRINK * _GRID)).round_() / _GRID


@dataclass(frozen=True)
class _DirectionLabels:
    """Labels of one direction as codes; an invalid query has code -1 and no relevant image."""

    code_Q: NDArray[np.int32]
    code_G: NDArray[np.int32]
    relevant_Q: Ints  # number of relevant gallery images
    order_V: Ints  # valid queries sorted by class: those of a block have about as many hits

    @classmethod
    def of(cls, query_label_Q: Labels, gallery_label_G: Labels) -> "_DirectionLabels":
        query_Q = torch.as_tensor(query_label_Q).cpu().numpy()
        gallery_G = torch.as_tensor(gallery_label_G).cpu().numpy()
        classes, code_G, count = np.unique(gallery_G, return_inverse=True, return_counts=True)
        valid_V = np.flatnonzero(np.isin(query_Q, classes))
        code_V = np.searchsorted(classes, query_Q[valid_V])
        code_Q = np.full(len(query_Q), -1, dtype=np.int32)
        code_Q[valid_V] = code_V
        relevant_Q = np.zeros(len(query_Q), dtype=np.int64)
        relevant_Q[valid_V] = count[code_V]
        order_V = valid_V[np.argsort(code_V, kind="stable")]
        return cls(code_Q, code_G.astype(np.int32), relevant_Q, order_V)

    def order_on(self, like: Tensor) -> Tensor:
        """``order_V`` on the device of a tensor."""
        return torch.from_numpy(self.order_V).to(like.device)


class _BlockProduct:
    """Gives ``far_BG`` for a run of queries, in work space that each thread keeps for the next."""

    def __init__(self, query_VD: Tensor, gallery_GD: Tensor) -> None:
        self._query_VD, self._gallery_DG = query_VD * -_STEPS, gallery_GD.T
        self._space = threading.local()

    def __call__(self, start: int, stop: int) -> Tensor:
        rows, space = stop - start, self._space.__dict__
        if rows > len(space.get("far_BG", ())):
            space["product_BG"] = self._gallery_DG.new_empty((rows, self._gallery_DG.shape[1]))
            space["far_BG"] = torch.empty_like(space["product_BG"], dtype=torch.int32)
        product_BG = space["product_BG"][:rows]
        torch.mm(self._query_VD[start:stop], self._gallery_DG, out=product_BG)
        return space["far_BG"][:rows].copy_(product_BG)


def _score(
    far_rows: Callable[[int, int], Tensor],
    label: _DirectionLabels,
    ks: Sequence[int],
    block: int | None,
    per_query: bool,
    device: torch.device,
) -> RetrievalScores:
    """Scores one direction.

    Args:
        far_rows: gives ``far_BG`` of the queries ``order_V[start:stop]``.
        label: labels of the direction.
        ks: see ``retrieval_metrics``.
        block: see ``retrieval_metrics``.
        per_query: see ``retrieval_metrics``.
        device: where ``far_BG`` is.
    """
    n_queries, n_valid = len(label.code_Q), len(label.order_V)
    on_host, n_gallery = device.type == "cpu", max(1, len(label.code_G))
    metrics = [METRICS[name] for name in METRICS.names()]
    value_MQ, hits_QK = np.zeros((len(metrics), n_queries)), np.zeros((n_queries, len(ks)))
    cut_QK = np.minimum(np.asarray(ks, dtype=np.int64), label.relevant_Q[:, None])

    def score_rows(start: int, far_BG: Tensor) -> None:
        query_B = label.order_V[start : start + len(far_BG)]
        code_B, count_B = label.code_Q[query_B], label.relevant_Q[query_B]
        if on_host:
            rank_H = _hit_ranks(far_BG.numpy(), code_B, label.code_G, count_B)
        else:
            rank_H = _hit_ranks_on_device(far_BG, code_B, label.code_G)
        rank_BR = _padded(rank_H, count_B)
        hits_QK[query_B] = _hits(rank_BR, cut_QK[query_B])
        ranks = HitRanks(rank_BR, count_B, len(label.code_G))
        for value_Q, metric in zip(value_MQ, metrics, strict=True):
            value_Q[query_B] = metric.score(ranks)

    def score_block(start: int) -> None:
        far_BG = far_rows(start, min(start + block_rows, n_valid))
        for part_BG in far_BG.split(sort_rows):
            score_rows(start, part_BG)
            start += len(part_BG)

    threads = torch.get_num_threads() if on_host else 1
    even_rows = -(-n_valid // threads)
    block_rows = block or max(1, min(_BLOCK_ELEMENTS // n_gallery, even_rows))
    sort_rows = max(1, _SORT_ELEMENTS // n_gallery) if on_host else block_rows
    _for_each(score_block, range(0, n_valid, block_rows), threads)
    value_by_name = dict(zip(METRICS.names(), value_MQ, strict=True))
    return _summary(label, ks, value_by_name, hits_QK, cut_QK, per_query)


def _for_each(act: Callable[[int], None], items: Iterable[int], threads: int) -> None:
    """Acts on every item in that many threads, in each of which torch is single-threaded.

    (Torch's own threads would wait for each other at every product.)
    """
    if threads == 1:
        for item in items:
            act(item)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(act, items):
                pass  # waits, and raises what was raised
    finally:
        torch.set_num_threads(before)


def _hit_ranks(
    far_BG: NDArray[np.int32], code_B: NDArray[np.int32], code_G: NDArray[np.int32], count_B: Ints
) -> Ints:
    """Ranks (from 1) of the relevant images of each query, ascending within a query."""
    relevant_BG = code_B[:, None] == code_G
    key_BG = far_BG << 1
    key_BG |= relevant_BG
    key_BG.sort(axis=1)
    place_H = np.flatnonzero((key_BG & 1).astype(bool))  # several times faster than on integers
    row_H = np.repeat(np.arange(len(code_B)), count_B)
    rank_H = place_H - row_H * len(code_G) + 1
    # An odd key just after an even one of the same value: others as near as a relevant image.
    tied_B = (key_BG[:, 1:] ^ key_BG[:, :-1] == 1).any(axis=1)
    if tied_B.any():
        rank_H[tied_B[row_H]] = _hit_ranks_of_tied(far_BG[tied_B], relevant_BG[tied_B])
    return rank_H


def _hit_ranks_of_tied(far_TG: NDArray[np.int32], relevant_TG: NDArray[np.bool_]) -> Ints:
    """The same for rows with ties: the gallery index is part of the (64-bit) sort key."""
    key_TG = far_TG.astype(np.int64) << 32
    key_TG |= np.arange(far_TG.shape[1], dtype=np.int64) << 1
    key_TG |= relevant_TG
    key_TG.sort(axis=1)
    return np.nonzero((key_TG & 1).astype(bool))[1] + 1


def _hit_ranks_on_device(
    far_BG: Tensor, code_B: NDArray[np.int32], code_G: NDArray[np.int32]
) -> Ints:
    """``_hit_ranks`` on the device of ``far_BG``: a stable sort there, ranks come back."""
    order_BG = torch.sort(far_BG, dim=1, stable=True).indices
    sorted_code_BG = torch.from_numpy(code_G).to(far_BG.device)[order_BG]
    relevant_BG = sorted_code_BG == torch.from_numpy(code_B).to(far_BG.device)[:, None]
    return relevant_BG.nonzero()[:, 1].cpu().numpy() + 1


def _padded(rank_H: Ints, count_B: Ints) -> Floats:
    """The ranks with a row for each query, infinite beyond its own (B, R)."""
    nth_R = np.arange(count_B.max())
    first_B = np.cumsum(count_B) - count_B
    index_BR = np.minimum(first_B[:, None] + nth_R, len(rank_H) - 1)
    return np.where(nth_R < count_B[:, None], rank_H[index_BR], np.inf)


def _hits(rank_BR: Floats, cut_BK: Ints) -> Floats:
    """Relevant images among the first ``cut_BK`` (B, K)."""
    head_BR = rank_BR[:, : cut_BK.max(initial=0)]
    return (head_BR[:, :, None] <= cut_BK[:, None, :]).sum(axis=1, dtype=np.float64)


def _summary(
    label: _DirectionLabels,
    ks: Sequence[int],
    value_by_name: Mapping[str, Floats],
    hits_QK: Floats,
    cut_QK: Ints,
    per_query: bool,
) -> RetrievalScores:
    """Averages over the valid queries, in the order of the queries."""
    valid_Q = label.relevant_Q > 0
    n_valid = int(valid_Q.sum())
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, which is what an invalid query has
        precision_QK = hits_QK / cut_QK
    metrics: dict[str, float] = {}
    for column, k in enumerate(ks):
        metrics[f"P@{k}"] = _percent(hits_QK[:, column].sum(), cut_QK[:, column].sum())
        metrics[f"P@{k}.query_mean"] = _percent(precision_QK[valid_Q, column].sum(), n_valid)
    for name, value_Q in value_by_name.items():
        macro = METRICS[name].averaged_over == "classes"
        value_V, code_V = value_Q[valid_Q], label.code_Q[valid_Q]
        metrics[name] = _class_macro(value_V, code_V) if macro else _percent(value_V.sum(), n_valid)
    metrics["n_valid_queries"] = float(n_valid)
    if not per_query:
        return RetrievalScores(metrics)
    precision_at_Q = {k: 100 * precision_QK[:, column] for column, k in enumerate(ks)}
    ap_Q = np.where(valid_Q, 100 * value_by_name[AVERAGE_PRECISION], np.nan)
    return RetrievalScores(metrics, ap_Q, precision_at_Q)


def _class_macro(value_V: Floats, code_V: NDArray[np.int32]) -> float:
    """Mean over the queries of each class that has any, then over those classes; percent."""
    queries_C, sum_C = np.bincount(code_V), np.bincount(code_V, value_V)
    present = queries_C > 0
    mean_C = sum_C[present] / queries_C[present]
    return _percent(mean_C.sum(), len(mean_C))


def _percent(total: float, count: float) -> float:
    return float(100 * total / count) if count else float("nan")


def _check(
    query_QD: Tensor,
    gallery_GD: Tensor,
    label: _DirectionLabels,
    ks: Sequence[int],
    block: int | None,
) -> None:
    if any(k < 1 for k in ks):
        raise UsageError(f"The k of P@k must be 1 or more, got {', '.join(map(str, ks))}.")
    if block is not None and block < 1:
        raise ValueError(f"block must be 1 or more, got {block}")
    if query_QD.ndim != 2 or gallery_GD.ndim != 2 or query_QD.shape[1] != gallery_GD.shape[1]:
        raise ValueError(
            f"queries {tuple(query_QD.shape)} and gallery {tuple(gallery_GD.shape)} must be "
            "matrices of the same number of columns"
        )
    if len(query_QD) != len(label.code_Q) or len(gallery_GD) != len(label.code_G):
        raise ValueError(
            f"{len(label.code_Q)} and {len(label.code_G)} labels for {len(query_QD)} queries and "
            f"{len(gallery_GD)} gallery images"
        )
